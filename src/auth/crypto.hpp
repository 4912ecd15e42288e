#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pgproxy/auth/scram.hpp"
#include "pgproxy/base/bytes.hpp"

// The few primitives that authentication needs, over OpenSSL's EVP. All thread safe; algorithms are
// fetched once and HMAC contexts kept per thread, so that a call costs little more than the hash.
namespace pgproxy::auth {

ScramKey sha256(Bytes data);
ScramKey hmac_sha256(Bytes key, std::string_view text);
/// `iterations` at least 1; about a millisecond for 4096.
ScramKey pbkdf2_sha256(std::string_view password, std::string_view salt, std::uint32_t iterations);

/// 32 hex digits; empty when OpenSSL has no MD5 (FIPS mode).
std::string md5_hex(std::string_view text);

std::string encode_base64(Bytes bytes);
/// Strict: padded, canonical, no white space; nullopt otherwise. Raw bytes.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace pgproxy::auth
