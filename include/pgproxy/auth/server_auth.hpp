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
  /// `secret`: plain password, "md5…" hash, "SCRAM-SHA-256$…" secret, or empty when none is known.
  /// A SCRAM secret logs in with what a client has `proven` for it, to a server that has the same;
  /// nullptr: none did. `channel_binding`: tls-server-end-point data of the TLS connection (RFC
  /// 5929, raw bytes), which goes into SCRAM-SHA-256-PLUS if the server offers that; empty: no TLS.
  /// `cache` must outlive the object.
  ServerAuth(std::string user, const std::string& secret, ClientKeyCache& cache,
             const ProvenScram* proven = nullptr, std::string channel_binding = {});
  ~ServerAuth();

  /// Takes the body of one Authentication message ('R'); appends the answer to `out`. True when it
  /// was AuthenticationOk and is acceptable: after SCRAM it is not before the server has proved
  /// itself. Errors: 28P01 without a usable secret (with hint), 08P01 for a hostile or malformed
  /// server, 0A000 for a method that we do not speak.
  Result<bool> on_authentication(Bytes body, std::string& out);
  /// The server's ErrorResponse, with what we know of why.
  Error explain(Error refusal) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgproxy::auth
