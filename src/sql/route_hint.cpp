#include "pgproxy/sql/route_hint.hpp"

#include <algorithm>

#include "pgproxy/base/text.hpp"

namespace pgproxy::sql {
namespace {

constexpr std::string_view blanks = " \t\n\v\f\r";

std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

/// Takes `prefix` away, whatever its case.
bool skip(std::string_view& text, std::string_view prefix) {
  if (!equals_ignoring_case(text.substr(0, prefix.size()), prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<RouteHint> hint_of(std::string_view comment) {
  comment = without_blanks(comment);
  if (!skip(comment, "pgproxy")) return std::nullopt;
  comment = without_blanks(comment);
  if (!skip(comment, ":")) return std::nullopt;
  comment = without_blanks(comment);
  if (equals_ignoring_case(comment, "replica")) return RouteHint::replica;
  if (equals_ignoring_case(comment, "primary")) return RouteHint::primary;
  return std::nullopt;
}

/// Takes a comment from the beginning of `text` and gives what is in it. Block comments nest
/// (4.1.5). nullopt: there is none, or it does not end.
std::optional<std::string_view> take_comment(std::string_view& text) {
  const std::string_view whole = text;
  if (whole.starts_with("--")) {
    const std::size_t end = std::min(whole.find_first_of("\r\n"), whole.size());
    text.remove_prefix(end);
    return whole.substr(2, end - 2);
  }
  if (!whole.starts_with("/*")) return std::nullopt;
  std::size_t depth = 1;
  for (std::size_t at = 2; at + 1 < whole.size();) {
    const bool opens = whole[at] == '/' && whole[at + 1] == '*';
    const bool closes = whole[at] == '*' && whole[at + 1] == '/';
    at += opens || closes ? 2 : 1;
    if (opens) ++depth;
    if (!closes || --depth != 0) continue;
    text.remove_prefix(at);
    return whole.substr(2, at - 4);
  }
  return std::nullopt;
}

}  // namespace

std::optional<RouteHint> route_hint(std::string_view text) {
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
    const auto comment = take_comment(text);
    if (!comment) return std::nullopt;
    if (const auto hint = hint_of(*comment)) return hint;
  }
}

}  // namespace pgproxy::sql
