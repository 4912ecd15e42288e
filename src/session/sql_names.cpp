#include "session/sql_names.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

#include "pgproxy/base/text.hpp"

namespace pgproxy::session {
namespace {

constexpr std::size_t npos = std::string_view::npos;
/// PostgreSQL cuts longer names (NAMEDATALEN).
constexpr std::size_t max_name_bytes = 63;

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '_' || byte == '$' || byte >= 0x80 || (byte >= '0' && byte <= '9') ||
         ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

/// Where the comment that `text` begins with ends; they nest. npos: nowhere.
std::size_t comment_end(std::string_view text) {
  std::size_t depth = 1;
  std::size_t at = 2;
  while (depth > 0) {
    at = text.find_first_of("*/", at);
    if (at == npos) return npos;
    const std::string_view two = text.substr(at, 2);
    const bool is_mark = two == "/*" || two == "*/";
    if (is_mark) two == "/*" ? ++depth : --depth;
    at += is_mark ? 2 : 1;
  }
  return at;
}

/// Drops blanks and comments from the front.
void skip_blanks(std::string_view& text) {
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n\f\v"), text.size()));
    std::size_t end = 0;
    if (text.starts_with("--")) {
      end = text.find_first_of("\r\n");
    } else if (text.starts_with("/*")) {
      end = comment_end(text);
    } else {
      return;
    }
    text.remove_prefix(std::min(end, text.size()));
  }
}

std::string_view take_word(std::string_view& text) {
  skip_blanks(text);
  const auto end = std::ranges::find_if_not(text, is_word_byte);
  const std::string_view word = text.substr(0, static_cast<std::size_t>(end - text.begin()));
  text.remove_prefix(word.size());
  return word;
}

/// nullopt: not as a name should be.
std::optional<std::string> take_name(std::string_view& text) {
  skip_blanks(text);
  std::string name;
  if (!text.starts_with('"')) {
    name = lower_case(take_word(text));
    return name.empty() ? std::nullopt : std::optional(name);
  }
  text.remove_prefix(1);
  while (true) {
    const std::size_t quote = text.find('"');
    if (quote == npos) return std::nullopt;
    name += text.substr(0, quote);
    text.remove_prefix(quote + 1);
    if (!text.starts_with('"')) return name;
    name += '"';
    text.remove_prefix(1);
  }
}

SqlNames kind_of(std::string_view& statement) {
  const std::string_view word = take_word(statement);
  if (equals_ignoring_case(word, "execute")) return SqlNames::execute;
  if (equals_ignoring_case(word, "prepare")) return SqlNames::prepare;
  if (equals_ignoring_case(word, "deallocate")) return SqlNames::deallocate;
  if (equals_ignoring_case(word, "discard")) return SqlNames::discard;
  const bool may_hold_one =
      equals_ignoring_case(word, "explain") || equals_ignoring_case(word, "create");
  return may_hold_one && contains_ignoring_case(statement, "execute") ? SqlNames::any
                                                                      : SqlNames::none;
}

/// The name behind the word that told the kind.
SqlNamesFound with_name(SqlNames what, std::string_view rest) {
  if (what == SqlNames::any || what == SqlNames::discard) return {what};
  std::string_view ahead = rest;
  const std::string_view word = take_word(ahead);
  if (what == SqlNames::deallocate && equals_ignoring_case(word, "prepare")) rest = ahead;
  if (what == SqlNames::prepare && equals_ignoring_case(word, "transaction")) return {};
  skip_blanks(rest);
  const bool is_quoted = rest.starts_with('"');
  auto name = take_name(rest);
  const bool is_escaped = !is_quoted && rest.starts_with('&');  // U&"name"
  if (!name || is_escaped || name->size() > max_name_bytes) {
    return {.what = SqlNames::any,
            .deallocates = what == SqlNames::deallocate,
            .prepares = what == SqlNames::prepare};
  }
  if (what == SqlNames::deallocate && !is_quoted && *name == "all")
    return {SqlNames::deallocate_all};
  return {.what = what, .name = std::move(*name), .prepares = what == SqlNames::prepare};
}

}  // namespace

SqlNamesFound find_sql_names(std::string_view text) {
  SqlNamesFound found;
  std::string_view rest = text;
  for (bool is_first = true;; is_first = false) {
    skip_blanks(rest);
    std::string_view statement = rest;
    const SqlNames what = kind_of(statement);
    const std::size_t end = rest.find(';');
    std::string_view behind = end == npos ? std::string_view{} : rest.substr(end + 1);
    skip_blanks(behind);
    if (what != SqlNames::none) {
      found = is_first && behind.empty()
                  ? with_name(what, statement)
                  : SqlNamesFound{.what = SqlNames::any,
                                  .deallocates = contains_ignoring_case(text, "deallocate"),
                                  .prepares = contains_ignoring_case(text, "prepare")};
      if (found.what != SqlNames::none) return found;
    }
    if (behind.empty()) break;
    rest = behind;
  }
  if (contains_ignoring_case(text, "pg_prepared_statement")) return {SqlNames::any};
  return found;
}

bool mentions_sql_names(std::string_view text) {
  return contains_ignoring_case(text, "execute") || contains_ignoring_case(text, "prepare") ||
         contains_ignoring_case(text, "deallocate") || contains_ignoring_case(text, "u&\"");
}

}  // namespace pgproxy::session
