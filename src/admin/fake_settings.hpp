#pragma once

#include <algorithm>
#include <string_view>
#include <utility>

namespace pgproxy::admin {

/// What drivers ask and set before their user gets a word in.
inline constexpr std::pair<std::string_view, std::string_view> fake_settings[] = {
    {"client_encoding", "UTF8"},
    {"default_transaction_isolation", "read committed"},
    {"standard_conforming_strings", "on"},
    {"datestyle", "ISO"},
    {"timezone", "GMT"},
};

/// `name` in lower case; nullptr: it is none of them.
inline const std::pair<std::string_view, std::string_view>* find_fake_setting(
    std::string_view name) {
  const auto* const found =
      std::ranges::find(fake_settings, name, [](const auto& fake) { return fake.first; });
  return found == std::end(fake_settings) ? nullptr : found;
}

}  // namespace pgproxy::admin
