#pragma once

#include <array>
#include <cstdint>
#include <string>

// The values that SCRAM-SHA-256 is made of (RFC 5802 section 3, RFC 7677).
namespace pgproxy::auth {

/// A SHA-256 output: every key and signature of the exchange.
using ScramKey = std::array<std::uint8_t, 32>;

/// What the verifying side knows of a password.
struct ScramVerifier {
  std::uint32_t iterations = 0;
  std::string salt;  ///< raw bytes
  ScramKey stored_key{};
  ScramKey server_key{};
};

/// What the proving side derives from a password.
struct ScramClientKeys {
  ScramKey client_key{};
  ScramKey server_key{};
};

/// What a client has proved by SCRAM that it knows: with it we can prove the same to a server that
/// has this very verifier, without a password ("pass-through").
struct ProvenScram {
  ScramVerifier verifier;
  ScramKey client_key{};
};

}  // namespace pgproxy::auth
