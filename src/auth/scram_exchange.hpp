#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pgproxy/auth/client_key_cache.hpp"
#include "pgproxy/auth/scram.hpp"
#include "pgproxy/base/result.hpp"

// Both sides of one SCRAM-SHA-256 exchange, with channel binding tls-server-end-point where there
// is TLS (RFC 5802 sections 3, 5, 6 and 7; RFC 5929 section 4; PostgreSQL docs 55.3.1). Errors are
// 08P01: what the peer sent is not SCRAM. No user name takes part: PostgreSQL authenticates the one
// of the startup packet and ignores SCRAM's.
namespace pgproxy::auth {

inline constexpr std::string_view scram_mechanism = "SCRAM-SHA-256";
inline constexpr std::string_view scram_plus_mechanism = "SCRAM-SHA-256-PLUS";

/// PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH; ours for both directions.
inline constexpr std::size_t max_sasl_message_bytes = 1024;

/// A server that asks for more would keep our loop busy for seconds (CVE-2026-6665).
inline constexpr std::uint32_t max_server_iterations = 1'000'000;

/// 18 random bytes in base64, as many as PostgreSQL takes.
std::string random_nonce();

/// The keys that both sides derive from a password, which is prepared first (SASLprep).
ScramClientKeys derive_keys(std::string_view password, std::string_view salt,
                            std::uint32_t iterations);
/// H(client key): what a verifier keeps of it.
ScramKey stored_key_of(const ScramKey& client_key);
ScramVerifier make_verifier(std::string_view password, std::string salt, std::uint32_t iterations);
/// ClientKey XOR HMAC(StoredKey, AuthMessage); its own inverse when given a proof for `key`.
ScramKey apply_signature(const ScramKey& key, const ScramKey& stored_key,
                         std::string_view auth_message);

/// The verifying side. Each call is made once, in this order.
class ScramServer {
 public:
  explicit ScramServer(ScramVerifier verifier, std::string nonce = random_nonce())
      : verifier_(std::move(verifier)), nonce_(std::move(nonce)) {}

  /// Takes the client-first-message; the server-first-message to answer with. `is_bound`: the
  /// client chose SCRAM-SHA-256-PLUS. `channel_binding`: what it then has to name, raw bytes;
  /// empty: that mechanism was not offered.
  Result<std::string> on_client_first(std::string_view message, bool is_bound = false,
                                      std::string_view channel_binding = {});
  /// Takes the client-final-message; the server-final-message, or nullopt for a wrong proof.
  Result<std::optional<std::string>> on_client_final(std::string_view message);
  /// Once the proof was right.
  ProvenScram proven() const { return {verifier_, client_key_}; }

 private:
  Result<void> take_binding_flag(std::string_view& message, bool is_bound, bool can_bind);

  ScramVerifier verifier_;
  std::string nonce_;    ///< ours at first, then the client's and ours
  std::string binding_;  ///< the GS2 header and, with channel binding, its data
  std::string auth_message_;
  ScramKey client_key_{};
};

/// What the server's challenge asks the keys of a password for.
struct ScramChallenge {
  std::string nonce;
  std::string salt;  ///< raw bytes
  std::uint32_t iterations = 0;
};

/// The proving side. Each call is made once, in this order.
class ScramClient {
 public:
  enum class Binding {
    none,         ///< there is nothing to bind to
    not_offered,  ///< the server offers no SCRAM-SHA-256-PLUS: it shall notice if it did
    end_point,    ///< SCRAM-SHA-256-PLUS
  };
  explicit ScramClient(std::string nonce = random_nonce()) : nonce_(std::move(nonce)) {}

  /// `channel_binding`: raw bytes, for Binding::end_point.
  std::string client_first(Binding binding = Binding::none, std::string_view channel_binding = {});
  /// Reads the server-first-message.
  Result<ScramChallenge> on_server_first(std::string_view message);
  /// The client-final-message that answers it.
  std::string client_final(const ScramChallenge& challenge, const ScramClientKeys& keys);
  /// Takes the server-final-message; fine only if the server knows the password's verifier.
  Result<void> on_server_final(std::string_view message) const;

 private:
  std::string nonce_;
  std::string binding_;  ///< the GS2 header and, with channel binding, its data
  std::string auth_message_;
  ScramKey server_signature_{};
};

}  // namespace pgproxy::auth
