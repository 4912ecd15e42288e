#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "pgproxy/auth/verifier_cache.hpp"
#include "pgproxy/base/bytes.hpp"
#include "pgproxy/base/result.hpp"
#include "pgproxy/config/settings.hpp"

namespace pgproxy::auth {

/// How one client proves who it is (PostgreSQL docs 55.2.1, 55.3 "SASL Authentication"; RFC 5802,
/// RFC 7677). Messages in, messages out: no sockets, no clock. One object per login, used by one
/// thread at a time.
class ClientAuth {
 public:
  enum class Outcome { need_more, accepted, refused };

  /// Largest body of a password message that is looked at (PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH):
  /// whoever frames messages need not wait for more.
  static constexpr std::uint32_t max_message_bytes = 65535;

  /// `secret`: what auth_file holds for the user, nullptr for an unknown user, who is challenged
  /// like a known one and then refused alike; copied. With
  /// AuthType::md5 a stored SCRAM secret leads to SCRAM, as in PostgreSQL and PgBouncer. `type` is
  /// neither hba nor reject: decide_login() has dealt with these. `channel_binding`:
  /// tls-server-end-point data of the client's TLS connection (RFC 5929, raw bytes); with it
  /// SCRAM-SHA-256-PLUS is offered. Empty: no TLS.
  ClientAuth(config::AuthType type, std::string user, const std::string* secret,
             std::shared_ptr<VerifierCache> cache, std::string channel_binding = {});
  ~ClientAuth();

  /// Whatever the client proves, it is refused as for a wrong password; `reason` is for the log.
  void must_fail(std::string reason);

  /// Appends the first request to `out`, nothing with trust and any (accepted at once, except for
  /// an unknown user under trust), nor with peer and cert, which were found to be right before (an
  /// unknown user is refused like anybody else who is not: 28000). Call it once. AuthenticationOk
  /// is the caller's to send.
  Outcome start(std::string& out);
  /// The next message, if it is a good one, costs a millisecond or more (PBKDF2): better not on a
  /// loop's thread.
  bool is_next_slow() const;
  /// Takes the body of one PasswordMessage/SASLInitialResponse/SASLResponse ('p'). May append.
  Outcome on_password_message(Bytes body, std::string& out);
  /// After refused: 28P01 for a wrong password or unknown user, 08P01 for a malformed message.
  const Error& error() const;
  /// After refused: why, for the log only; the client must not learn it.
  const std::string& log_reason() const;
  /// After accepted: the client proved by SCRAM, or by its password in clear, that it knows what
  /// the stored SCRAM secret was made of; nullptr: it proved something else.
  const ProvenScram* proven() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgproxy::auth
