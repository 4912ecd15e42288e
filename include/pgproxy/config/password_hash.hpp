#pragma once

#include <string_view>

namespace pgproxy::config {

/// Whether what is stored for a user recognises his password, and is none ("md5…",
/// "SCRAM-SHA-256$…"): nobody can log in with it.
constexpr bool is_password_hash(std::string_view secret) {
  return secret.starts_with("SCRAM-SHA-256$") || (secret.starts_with("md5") && secret.size() == 35);
}

}  // namespace pgproxy::config
