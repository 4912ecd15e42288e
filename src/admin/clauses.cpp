#include "admin/clauses.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <utility>

#include "pgproxy/base/text.hpp"

namespace pgproxy::admin {
namespace {

constexpr std::string_view blanks = " \t\r\n\f\v";

enum class TokenKind : std::uint8_t { end, word, name, value, sign, broken };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;  ///< without quotes
  std::string_view source;
  bool is(std::string_view word) const {
    return kind == TokenKind::word && equals_ignoring_case(text, word);
  }
};

/// Takes a command apart, one token ahead.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : rest_(text) { advance(); }

  const Token& ahead() const { return ahead_; }
  Token take() {
    Token token = std::move(ahead_);
    advance();
    return token;
  }
  bool take_if(std::string_view word) {
    const bool is_there =
        ahead_.is(word) || (ahead_.kind == TokenKind::sign && ahead_.text == word);
    if (is_there) advance();
    return is_there;
  }

 private:
  void advance() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(blanks), rest_.size()));
    const std::string_view from = rest_;
    ahead_ = {};
    if (rest_.empty()) return;
    const char first = rest_.front();
    if (first == '\'') {
      take_quoted(TokenKind::value);
    } else if (first == '"') {
      take_quoted(TokenKind::name);
    } else if (signs.contains(first)) {
      ahead_ = {.kind = TokenKind::sign, .text = std::string(1, first), .source = {}};
      rest_.remove_prefix(1);
    } else {
      const std::size_t size = std::min(rest_.find_first_of(ends), rest_.size());
      ahead_ = {.kind = TokenKind::word, .text = std::string(rest_.substr(0, size)), .source = {}};
      rest_.remove_prefix(size);
    }
    ahead_.source = from.substr(0, from.size() - rest_.size());
  }

  /// A doubled quote stands for one.
  void take_quoted(TokenKind kind) {
    const char quote = rest_.front();
    rest_.remove_prefix(1);
    ahead_.kind = kind;
    while (true) {
      const std::size_t end = rest_.find(quote);
      if (end == std::string_view::npos) {
        ahead_.kind = TokenKind::broken;
        rest_ = {};
        return;
      }
      ahead_.text += rest_.substr(0, end);
      rest_.remove_prefix(end + 1);
      if (!rest_.starts_with(quote)) return;
      ahead_.text += quote;
      rest_.remove_prefix(1);
    }
  }

  static constexpr std::string_view signs = "=,;()";
  static constexpr std::string_view ends = " \t\r\n\f\v=,;()'\"";

  std::string_view rest_;
  Token ahead_;
};

Error syntax_error(const Token& at) {
  return {.sqlstate = "42601",
          .message = at.kind == TokenKind::end
                         ? "syntax error at end of input"
                         : "syntax error at or near \"" + std::string(at.source) + "\"",
          .hint = "SHOW name WHERE column = 'value' [AND ...] [ORDER BY column [DESC]] [LIMIT n]"};
}

/// A column's name: as in SQL, not quoted it is lower case.
std::optional<std::string> take_column(Lexer& lexer) {
  const TokenKind kind = lexer.ahead().kind;
  if (kind == TokenKind::name) return lexer.take().text;
  if (kind == TokenKind::word) return lower_case(lexer.take().text);
  return std::nullopt;
}

bool take_condition(Lexer& lexer, Clauses& clauses) {
  const auto column = take_column(lexer);
  if (!column || !lexer.take_if("=")) return false;
  const TokenKind kind = lexer.ahead().kind;
  if (kind != TokenKind::word && kind != TokenKind::value) return false;
  const bool is_null = lexer.ahead().is("null");
  std::string value = lexer.take().text;
  clauses.where.push_back(
      {*column, is_null ? std::nullopt : std::optional<std::string>(std::move(value))});
  return true;
}

bool take_order(Lexer& lexer, Clauses& clauses) {
  const auto column = take_column(lexer);
  if (!column) return false;
  const bool is_descending = lexer.take_if("desc");
  if (!is_descending) lexer.take_if("asc");
  clauses.order_by.push_back({*column, is_descending});
  return true;
}

bool take_limit(Lexer& lexer, Clauses& clauses) {
  if (lexer.take_if("null") || lexer.take_if("all")) return true;  // none, as in PostgreSQL
  const Token& token = lexer.ahead();
  if (token.kind != TokenKind::word && token.kind != TokenKind::value) return false;
  std::uint64_t limit = 0;
  const char* const end = token.text.data() + token.text.size();
  const auto read = std::from_chars(token.text.data(), end, limit);
  if (read.ec != std::errc() || read.ptr != end) return false;
  clauses.limit = limit;
  lexer.take();
  return true;
}

using Take = bool (*)(Lexer&, Clauses&);
bool take_list(Lexer& lexer, Clauses& clauses, std::string_view separator, Take take) {
  do {
    if (!take(lexer, clauses)) return false;
  } while (lexer.take_if(separator));
  return true;
}

bool take_all(Lexer& lexer, Clauses& clauses) {
  if (lexer.take_if("where") && !take_list(lexer, clauses, "and", take_condition)) return false;
  if (lexer.take_if("order")) {
    if (!lexer.take_if("by") || !take_list(lexer, clauses, ",", take_order)) return false;
  }
  if (lexer.take_if("limit") && !take_limit(lexer, clauses)) return false;
  return lexer.ahead().kind == TokenKind::end;
}

Result<std::size_t> find_column(const ResultSet& set, const std::string& name) {
  const auto found = std::ranges::find(set.columns, name, &ResultSet::Column::name);
  if (found != set.columns.end()) return static_cast<std::size_t>(found - set.columns.begin());
  std::string names;
  for (const auto& column : set.columns) names += (names.empty() ? "" : ", ") + column.name;
  return std::unexpected(Error{.sqlstate = "42703",
                               .message = "column \"" + name + "\" does not exist",
                               .hint = "The columns are " + names + "."});
}

/// Of numbers by their value; texts by their bytes.
bool is_less(ColumnType type, const std::string& left, const std::string& right) {
  if (type == ColumnType::text || type == ColumnType::bytea) return left < right;
  const auto value = [](const std::string& text) {
    double number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
  };
  return value(left) < value(right);
}

/// What rows are compared by.
struct SortKey {
  std::size_t column;
  ColumnType type;
  bool is_descending;

  /// NULL is last, or first in descending order, as in PostgreSQL.
  bool is_before(const Cell& one, const Cell& other) const {
    const Cell& left = is_descending ? other : one;
    const Cell& right = is_descending ? one : other;
    if (!left || !right) return left.has_value() && !right.has_value();
    return is_less(type, *left, *right);
  }
};

/// Equal rows stay as they are.
void sort_by(const std::vector<SortKey>& keys, ResultSet& set) {
  std::vector<std::size_t> order(set.rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t one, std::size_t other) {
    for (const SortKey& key : keys) {
      const Cell& left = set.rows[one][key.column];
      const Cell& right = set.rows[other][key.column];
      if (key.is_before(left, right)) return true;
      if (key.is_before(right, left)) return false;
    }
    return one < other;
  });
  std::vector<std::vector<Cell>> sorted;
  for (const std::size_t at : order) sorted.push_back(std::move(set.rows[at]));
  set.rows = std::move(sorted);
}

}  // namespace

bool begins_with_clause(std::string_view text) {
  const Lexer lexer(text);
  const Token& first = lexer.ahead();
  return first.is("where") || first.is("order") || first.is("limit");
}

Result<Clauses> parse_clauses(std::string_view text) {
  Lexer lexer(text);
  Clauses clauses;
  if (!take_all(lexer, clauses)) return std::unexpected(syntax_error(lexer.ahead()));
  return clauses;
}

Result<void> apply(const Clauses& clauses, ResultSet& set) {
  for (const auto& [column, value] : clauses.where) {
    const auto at = find_column(set, column);
    if (!at) return std::unexpected(at.error());
    std::erase_if(set.rows, [&](const auto& row) { return !value || row[*at] != value; });
  }
  std::vector<SortKey> keys;
  for (const auto& [column, is_descending] : clauses.order_by) {
    const auto at = find_column(set, column);
    if (!at) return std::unexpected(at.error());
    keys.push_back({*at, set.columns[*at].type, is_descending});
  }
  if (!keys.empty()) sort_by(keys, set);
  if (clauses.limit && *clauses.limit < set.rows.size()) set.rows.resize(*clauses.limit);
  return {};
}

}  // namespace pgproxy::admin
