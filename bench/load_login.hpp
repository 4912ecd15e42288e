#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "pgproxy/base/bytes.hpp"

// The client's side of authentication (PostgreSQL docs 55.3; SCRAM-SHA-256: RFC 5802, RFC 7677).
namespace pgproxy::bench {

/// What the password hash of SCRAM gives for one salt: all that a further login needs.
struct ScramKeys {
  std::string client_key;
  std::string stored_key;
  std::string server_key;
};

/// User and password, shared by all clients. The thousands of hash rounds of SCRAM are done once
/// per salt: the load must not be what costs.
class Credentials {
 public:
  Credentials(std::string user, std::string password)
      : user_(std::move(user)), password_(std::move(password)) {}

  const std::string& user() const { return user_; }
  const std::string& password() const { return password_; }
  std::string md5_answer(std::string_view salt) const;
  const ScramKeys& scram_keys(const std::string& salt_base64, int iterations);

 private:
  std::string user_;
  std::string password_;
  std::map<std::string, ScramKeys> keys_;
};

/// One login's answers to the server's Authentication messages.
class Login {
 public:
  explicit Login(Credentials& credentials) : credentials_(credentials) {}

  /// Appends the answer to the Authentication message with this body, if it wants one.
  /// Throws std::runtime_error when the server asks for what we cannot do or proves to be another.
  void on_authentication(Bytes body, std::string& out);

 private:
  void send_first(std::string_view mechanisms, std::string& out);
  void send_proof(std::string_view server_first, std::string& out);
  void check_server(std::string_view server_final) const;

  Credentials& credentials_;
  std::string nonce_;
  std::string server_signature_;
};

}  // namespace pgproxy::bench
