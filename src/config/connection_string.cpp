#include "config/connection_string.hpp"

#include <fmt/format.h>
#include <optional>
#include <utility>

#include "config/text.hpp"

namespace pgproxy::config {

namespace {

constexpr std::string_view kBlanks = " \t";

/// Takes a value off the front of `text`; nullopt: a quote is not closed.
std::optional<std::string> take_value(std::string_view& text) {
  if (!text.starts_with('\'')) {
    std::string word(text.substr(0, text.find_first_of(kBlanks)));
    text.remove_prefix(word.size());
    return word;
  }
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\'') {
      const bool doubled = i + 1 < text.size() && text[i + 1] == '\'';
      if (!doubled) {
        text.remove_prefix(i + 1);
        return value;
      }
      ++i;
    }
    value += text[i];
  }
  return {};
}

std::unexpected<Error> broken(std::string message, std::string hint = {}) {
  return std::unexpected(
      Error{.sqlstate = {}, .message = std::move(message), .hint = std::move(hint)});
}

}  // namespace

Result<std::vector<KeyValue>> parse_connection_string(std::string_view text) {
  std::vector<KeyValue> pairs;
  for (text = trim(text); !text.empty(); text = trim(text)) {
    const std::string key(text.substr(0, text.find_first_of("= \t")));
    text = trim(text.substr(key.size()));
    if (key.empty()) return broken("there is no key before =");
    if (!text.starts_with('=')) {
      // Without its "=" the word may be a part of a password: it is not shown.
      return broken(pairs.empty() ? "want key=value pairs"
                                  : fmt::format("want key=value after {}", pairs.back().key),
                    "a value with blanks is written in single quotes, 'a b'");
    }
    text = trim(text.substr(1));
    auto value = take_value(text);
    if (!value) return broken(fmt::format("{}: no closing quote", key));
    if (value->empty()) {
      return broken(fmt::format("{}: empty", key), "leave the key out instead");
    }
    if (!text.empty() && !kBlanks.contains(text.front())) {
      return broken(fmt::format("{}: want a blank after the closing quote", key),
                    "a quote within quotes is written twice, 'it''s'");
    }
    pairs.push_back({key, *std::move(value)});
  }
  return pairs;
}

}  // namespace pgproxy::config
