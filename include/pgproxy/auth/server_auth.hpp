#pragma once

#include <memory>
#include <string>

#include "pgproxy/auth/client_key_cache.hpp"
#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"

namespace pgproxy::auth {

/// How we prove ourselves to a server (55.2.1, 55.3; RFC 5802): messages in, messages out. One
/// object per login; after an error it takes no more messages.
class ServerAuth {
 public:
  /// `secret`: plain password, "md5…" hash, or empty when none is known. A "SCRAM-SHA-256$…" secret
  /// verifies others but cannot log in anywhere. `cache` must outlive the object.
  ServerAuth(std::string user, const std::string& secret, ClientKeyCache& cache);
  ~ServerAuth();

  /// Takes the body of one Authentication message ('R'); appends the answer to `out`. True when it
  /// was AuthenticationOk and is acceptable: after SCRAM it is not before the server has proved
  /// itself. Errors: 28P01 without a usable secret (with hint), 08P01 for a hostile or malformed
  /// server, 0A000 for a method that we do not speak.
  Result<bool> on_authentication(Bytes body, std::string& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgproxy::auth
