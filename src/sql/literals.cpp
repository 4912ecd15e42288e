#include "sql/literals.hpp"

#include <algorithm>
#include <array>

#include "pgproxy/base/text.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::sql {
namespace {

constexpr std::size_t longest_name_bytes = 63;  // NAMEDATALEN - 1

/// Statements that are read when they are run, and not before: their literals mean what they mean
/// then.
bool is_read_late(std::string_view text) {
  static constexpr std::array<std::string_view, 37> words = {
      "abort",    "alter",    "analyze",   "begin",      "checkpoint", "close",   "cluster",
      "comment",  "commit",   "copy",      "deallocate", "discard",    "do",      "drop",
      "end",      "execute",  "fetch",     "grant",      "listen",     "load",    "lock",
      "move",     "notify",   "prepare",   "refresh",    "reindex",    "release", "reset",
      "revoke",   "rollback", "savepoint", "set",        "show",       "start",   "truncate",
      "unlisten", "vacuum",
  };
  const std::string word = first_word(text);
  // CREATE TABLE … AS SELECT is read like a SELECT.
  if (word == "create") {
    return !contains_ignoring_case(text, "select") && !contains_ignoring_case(text, "values");
  }
  return std::ranges::find(words, word) != words.end();
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = to_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

/// The parts of one literal: '…' and, behind a newline, '…' again.
class StringReader {
 public:
  explicit StringReader(const Token& token)
      : rest_(token.text.substr(token.text.find('\''))), has_escapes_(token.has_escapes) {}

  std::optional<std::string> read() {
    rest_.remove_prefix(1);
    while (!rest_.empty()) {
      const char c = take();
      if (c == '\'') {
        if (rest_.starts_with('\'')) {
          value_ += take();
        } else {
          skip_to_next_part();
        }
      } else if (c == '\\' && has_escapes_) {
        if (!escape()) return std::nullopt;
      } else {
        value_ += c;
      }
    }
    return std::move(value_);
  }

 private:
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  /// To behind the next opening quote, or the end. There may be comments between.
  void skip_to_next_part() {
    while (!rest_.empty() && rest_.front() != '\'') {
      if (rest_.starts_with("--")) {
        const std::size_t line = rest_.find_first_of("\r\n");
        rest_.remove_prefix(std::min(line, rest_.size()));
      } else {
        rest_.remove_prefix(1);
      }
    }
    if (!rest_.empty()) rest_.remove_prefix(1);
  }
  /// Behind a backslash (4.1.2.2).
  bool escape() {
    if (rest_.empty()) return false;
    const char c = take();
    switch (c) {
      case 'b': value_ += '\b'; return true;
      case 'f': value_ += '\f'; return true;
      case 'n': value_ += '\n'; return true;
      case 'r': value_ += '\r'; return true;
      case 't': value_ += '\t'; return true;
      case 'u':
      case 'U': return false;
      case 'x':
        return digit_value(rest_.empty() ? ' ' : rest_.front()) < 16 ? byte(16, 2, 0) : plain(c);
      default: break;
    }
    return c >= '0' && c <= '7' ? byte(8, 2, c - '0') : plain(c);
  }
  bool plain(char c) {
    value_ += c;
    return true;
  }
  /// Up to `count` more digits. Bytes beyond ASCII are the encoding's business.
  bool byte(int base, int count, int value) {
    while (count-- > 0 && !rest_.empty() && digit_value(rest_.front()) < base) {
      value = value * base + digit_value(take());
    }
    value_ += static_cast<char>(value);
    return value > 0 && value < 0x80;
  }

  std::string_view rest_;
  const bool has_escapes_;
  std::string value_;
};

}  // namespace

std::optional<std::string> string_value(const Token& token) {
  switch (token.kind) {
    case TokenKind::string:
    case TokenKind::escape_string: return StringReader(token).read();
    case TokenKind::dollar_string: {
      const std::size_t tag_bytes = token.text.find('$', 1) + 1;
      return std::string(token.text.substr(tag_bytes, token.text.size() - 2 * tag_bytes));
    }
    default: return std::nullopt;
  }
}

bool keeps_literals(std::string_view text) {
  bool may_keep = contains_ignoring_case(text, "null");  // transform_null_equals
  for (std::size_t at = 0; at < text.size() && !may_keep; ++at) {
    const char next = at + 1 < text.size() ? text[at + 1] : '0';
    const bool is_dollar_quote = text[at] == '$' && (next < '0' || next > '9');
    may_keep = text[at] == '\'' || is_dollar_quote || (static_cast<unsigned char>(text[at]) & 0x80);
  }
  return may_keep && !is_read_late(text);
}

std::optional<std::string> name_value(const Token& token) {
  std::string name;
  if (token.kind == TokenKind::word) {
    const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
    if (!std::ranges::all_of(token.text, is_ascii)) return std::nullopt;
    name = lower_case(token.text);
  } else if (token.kind == TokenKind::quoted_name) {
    const std::string_view content = token.text.substr(1, token.text.size() - 2);
    for (std::size_t index = 0; index < content.size(); ++index) {
      name += content[index];
      if (content[index] == '"') ++index;  // doubled
    }
  }
  if (name.empty() || name.size() > longest_name_bytes) return std::nullopt;
  return name;
}

}  // namespace pgproxy::sql
