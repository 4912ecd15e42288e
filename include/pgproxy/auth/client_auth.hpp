#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"
#include "pgproxy/config/settings.hpp"

namespace pgproxy::auth {

/// SCRAM verifiers made from plain passwords, one per user, so that a login storm does not pay
/// PBKDF2 each time. Not thread safe: one per loop. Also knows the mock verifiers of unknown
/// users: their salt is stable per name for the life of the process.
class VerifierCache;

/// How one client proves who it is (PostgreSQL docs 55.2.1, 55.3 "SASL Authentication"; RFC 5802,
/// RFC 7677). Messages in, messages out: no sockets, no clock. One object per login.
class ClientAuth {
 public:
  enum class Outcome { need_more, accepted, refused };

  /// `secret`: what auth_file holds for the user, nullptr for an unknown user, who is challenged like
  /// a known one and then refused alike. Must outlive the object. `cache` too.
  ClientAuth(config::AuthType type, std::string user, const std::string* secret,
             VerifierCache& cache);
  ~ClientAuth();

  /// Appends the first request to `out`, nothing with trust and any (accepted at once, except for
  /// an unknown user under trust).
  Outcome start(std::string& out);
  /// Takes the body of one PasswordMessage/SASLInitialResponse/SASLResponse ('p'). May append.
  Outcome on_password_message(Bytes body, std::string& out);
  /// After refused: 28P01 for a wrong password or unknown user, 08P01 for a malformed message.
  const Error& error() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgproxy::auth
