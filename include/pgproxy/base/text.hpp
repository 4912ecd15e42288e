#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace pgproxy {

/// What a server is called in plans, limits, the log and all lists: "10.0.0.1:5432",
/// "/run/postgresql:5432".
inline std::string server_name(std::string_view host, std::uint16_t port) {
  return std::string(host) + ":" + std::to_string(port);
}

// ASCII letters in either case, whatever the locale.

constexpr char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

inline std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), to_lower);
  return lower;
}

/// The letters that a text begins with, blanks aside, in lower case: its command, when no comment
/// stands in front.
inline std::string first_word(std::string_view text) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n\f\v"), text.size()));
  return lower_case(text.substr(0, text.find_first_not_of(letters)));
}

constexpr bool equals_ignoring_case(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, {}, to_lower, to_lower);
}

constexpr bool contains_ignoring_case(std::string_view text, std::string_view part) {
  return !std::ranges::search(text, part, {}, to_lower, to_lower).empty();
}

}  // namespace pgproxy
