#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "pgproxy/auth/client_key_cache.hpp"
#include "pgproxy/auth/scram.hpp"
#include "pgproxy/base/result.hpp"

// Both sides of one SCRAM-SHA-256 exchange without channel binding (RFC 5802 sections 3, 5 and 7;
// PostgreSQL docs 55.3.1). Errors are 08P01: what the peer sent is not SCRAM. No user name takes
// part: PostgreSQL authenticates the one of the startup packet and ignores SCRAM's.
namespace pgproxy::auth {

inline constexpr std::string_view scram_mechanism = "SCRAM-SHA-256";

/// PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH; ours for both directions.
inline constexpr std::size_t max_sasl_message_bytes = 1024;

/// A server that asks for more would keep our loop busy for seconds (CVE-2026-6665).
inline constexpr std::uint32_t max_server_iterations = 1'000'000;

/// 18 random bytes in base64, as many as PostgreSQL takes.
std::string random_nonce();

/// The keys that both sides derive from a password.
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

  /// Takes the client-first-message; the server-first-message to answer with.
  Result<std::string> on_client_first(std::string_view message);
  /// Takes the client-final-message; the server-final-message, or nullopt for a wrong proof.
  Result<std::optional<std::string>> on_client_final(std::string_view message);

 private:
  ScramVerifier verifier_;
  std::string nonce_;  ///< ours at first, then the client's and ours
  std::string gs2_header_;
  std::string auth_message_;
};

/// The proving side. Each call is made once, in this order.
class ScramClient {
 public:
  explicit ScramClient(std::string nonce = random_nonce()) : nonce_(std::move(nonce)) {}

  std::string client_first() const;
  /// Takes the server-first-message; the client-final-message to answer with.
  Result<std::string> on_server_first(std::string_view message, const std::string& password,
                                      ClientKeyCache& cache);
  /// Takes the server-final-message; fine only if the server knows the password's verifier.
  Result<void> on_server_final(std::string_view message) const;

 private:
  std::string nonce_;
  ScramKey server_signature_{};
};

}  // namespace pgproxy::auth
