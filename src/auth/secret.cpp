#include "auth/secret.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "auth/crypto.hpp"
#include "auth/scram_exchange.hpp"

namespace pgproxy::auth {
namespace {

bool is_md5(std::string_view text) {
  return text.size() == 35 && text.starts_with("md5") &&
         text.find_first_not_of("0123456789abcdef", 3) == std::string_view::npos;
}

/// The text before the first `separator`, which is taken off `rest` with it.
std::string_view take_before(std::string_view& rest, char separator) {
  const std::size_t at = rest.find(separator);
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return part;
}

bool read_key(std::string_view text, ScramKey& key) {
  const auto bytes = decode_base64(text);
  if (!bytes || bytes->size() != key.size()) return false;
  std::ranges::transform(*bytes, key.begin(), [](char c) { return static_cast<std::uint8_t>(c); });
  return true;
}

/// `rest`: what follows "SCRAM-SHA-256$".
std::optional<ScramVerifier> parse_verifier(std::string_view rest) {
  ScramVerifier verifier;
  const std::string_view count = take_before(rest, ':');
  const auto [end, failure] =
      std::from_chars(count.data(), count.data() + count.size(), verifier.iterations);
  constexpr std::uint32_t max_iterations = std::numeric_limits<std::int32_t>::max();
  if (failure != std::errc{} || end != count.data() + count.size() || verifier.iterations < 1 ||
      verifier.iterations > max_iterations) {
    return std::nullopt;
  }
  auto salt = decode_base64(take_before(rest, '$'));
  if (!salt || salt->empty()) return std::nullopt;
  verifier.salt = std::move(*salt);
  if (!read_key(take_before(rest, ':'), verifier.stored_key)) return std::nullopt;
  if (!read_key(rest, verifier.server_key)) return std::nullopt;
  return verifier;
}

}  // namespace

Secret parse_secret(const std::string* stored) {
  using enum Secret::Kind;
  if (stored == nullptr) return {.kind = unknown};
  if (stored->empty()) return {.kind = empty};
  if (is_md5(*stored)) return {.kind = md5, .text = *stored};
  std::string_view rest = *stored;
  if (!rest.starts_with(scram_mechanism) || !rest.substr(scram_mechanism.size()).starts_with('$')) {
    return {.kind = plain, .text = *stored};
  }
  rest.remove_prefix(scram_mechanism.size() + 1);
  auto verifier = parse_verifier(rest);
  if (!verifier) return {.kind = malformed};
  return {.kind = scram, .verifier = std::move(*verifier)};
}

std::string md5_of_user(const Secret& secret, std::string_view user) {
  if (secret.kind == Secret::Kind::md5) return secret.text.substr(3);
  return md5_hex(secret.text + std::string(user));
}

std::string md5_answer(std::string_view md5_of_user, std::string_view salt) {
  const std::string digits = md5_hex(std::string(md5_of_user) + std::string(salt));
  return digits.empty() ? digits : "md5" + digits;
}

}  // namespace pgproxy::auth
