#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <utility>

#include "sql/lexer.hpp"
#include "sql/literals.hpp"

#include "pgproxy/base/text.hpp"
#include "pgproxy/sql/shapes.hpp"

namespace pgproxy::sql {
namespace {

/// Those that PostgreSQL marks GUC_LIST_QUOTE.
constexpr std::string_view lists_of_names[] = {
    "local_preload_libraries",  "search_path",      "session_preload_libraries",
    "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"};

bool ends_here(Lexer& lexer, Token token) {
  while (token.is(';')) token = lexer.next();
  return token.kind == TokenKind::end;
}

/// A setting's name: word {. word}. `token` is its first, and then the one behind it.
std::optional<std::string> setting_name(Lexer& lexer, Token& token) {
  std::string name;
  for (;;) {
    const auto part = name_value(token);
    if (!part) return std::nullopt;
    name += *part;
    token = lexer.next();
    if (!token.is('.')) return lower_case(name);
    name += '.';
    token = lexer.next();
  }
}

/// PostgreSQL prints integers anew; other numbers it keeps as they were written.
std::optional<std::string> number_value(const Token& token, bool is_negative) {
  std::string_view digits = token.text;
  if (token.kind == TokenKind::integer) {
    while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
    is_negative = is_negative && digits != "0";
  } else if (token.kind != TokenKind::number) {
    return std::nullopt;
  }
  return (is_negative ? "-" : "") + std::string(digits);
}

std::optional<std::string> constant_value(Lexer& lexer, const Token& token) {
  if (token.kind == TokenKind::op) {
    if (token.text != "-" && token.text != "+") return std::nullopt;
    return number_value(lexer.next(), token.text == "-");
  }
  if (token.is_string()) return string_value(token);
  if (token.is_word("default")) return std::nullopt;
  if (token.kind == TokenKind::word || token.kind == TokenKind::quoted_name) {
    return name_value(token);
  }
  return number_value(token, false);
}

/// Collects names; see settings_named.
class NameFinder {
 public:
  void scan(std::string_view text, bool backslashes_are_plain, int depth);
  std::vector<std::string> take() { return std::move(names_); }

 private:
  static constexpr std::size_t most_names = 32;
  static constexpr int deepest = 6;  ///< of strings within strings
  static constexpr int most_errors = 64;

  static bool begins_statements(const Token& token);
  bool is_full() const { return names_.size() >= most_names; }
  void add(std::string name) {
    name = lower_case(name);
    if (is_full() || name.empty() || std::ranges::find(names_, name) != names_.end()) return;
    names_.push_back(std::move(name));
  }
  void after_set(Lexer& lexer, Token& token, bool may_begin);
  void look_into(const Token& token, bool backslashes_are_plain, int depth);

  std::vector<std::string> names_;
  int errors_ = 0;
};

void NameFinder::scan(std::string_view text, bool backslashes_are_plain, int depth) {
  Lexer lexer(text, backslashes_are_plain);
  Token token = lexer.next();
  bool is_set_config = false;  // the token before was its name
  bool is_argument = false;    // … and the one after that its parenthesis
  bool may_begin = true;       // a statement with this token
  bool is_load = false;        // the token before was LOAD
  while (token.kind != TokenKind::end && !is_full()) {
    if (token.kind == TokenKind::error && ++errors_ > most_errors) return;
    if (token.is_string()) {
      const auto value = is_argument ? string_value(token) : std::nullopt;
      if (value) add(*value);
      look_into(token, backslashes_are_plain, depth);
    }
    if (token.is_word("setseed") || (is_load && token.is_string()))
      add(std::string(hidden_setting));
    is_load = token.is_word("load");
    is_argument = is_set_config && token.is('(');
    is_set_config = token.is_word("set_config") ||
                    (token.kind == TokenKind::quoted_name && token.text == "\"set_config\"");
    const bool is_set = token.is_word("set") || token.is_word("reset");
    const bool is_first = std::exchange(may_begin, begins_statements(token));
    token = lexer.next();
    if (is_set) after_set(lexer, token, is_first);
  }
}

/// A word that is none of these, and a name, is what the SET behind it belongs to: UPDATE t SET …
bool NameFinder::begins_statements(const Token& token) {
  if (token.kind == TokenKind::quoted_name) return false;
  return token.kind != TokenKind::word || token.is_word("begin") || token.is_word("then") ||
         token.is_word("else") || token.is_word("loop");
}

/// Behind SET or RESET: leaves `token` at the first that is not part of the name. `may_begin`: it
/// may begin a statement.
void NameFinder::after_set(Lexer& lexer, Token& token, bool may_begin) {
  const bool is_session = token.is_word("session");
  if (is_session || token.is_word("local")) {
    const Token scope = std::exchange(token, lexer.next());
    if (token.is('.')) {  // a custom setting whose class is called so
      token = lexer.next();
      if (const auto name = setting_name(lexer, token)) add(std::string(scope.text) + "." + *name);
      return;
    }
    if (is_session && token.is_word("authorization")) return add("session_authorization");
    if (is_session && token.is_word("characteristics")) {
      for (const char* const mode : {"isolation", "read_only", "deferrable"}) {
        add(std::string("default_transaction_") + mode);
      }
      return;
    }
  }
  const bool is_time = token.is_word("time");
  if (token.is_word("names")) return add("client_encoding");
  if (token.is_word("schema")) return add("search_path");
  const auto name = setting_name(lexer, token);
  if (!name) return;
  if (is_time && token.is_word("zone")) return add("timezone");
  const bool is_column = *name == hidden_setting && !may_begin;
  if (*name != "all" && !is_column) add(*name);
}

void NameFinder::look_into(const Token& token, bool backslashes_are_plain, int depth) {
  const auto value = string_value(token);
  if (!value) return;
  if (is_custom_setting(*value)) return add(*value);
  if (depth < deepest) scan(*value, backslashes_are_plain, depth + 1);
}

}  // namespace

std::optional<SetConstant> set_constant(std::string_view text, bool backslashes_are_plain) {
  Lexer lexer(text, backslashes_are_plain);
  Token token = lexer.next();
  if (!token.is_word("set")) return std::nullopt;
  token = lexer.next();
  std::string prefix;
  if (token.is_word("session")) {
    token = lexer.next();
    if (token.is('.')) {  // a custom setting whose class is called so
      prefix = "session.";
      token = lexer.next();
    }
  }
  const auto name = setting_name(lexer, token);
  if (!name) return std::nullopt;
  const bool is_assignment =
      (token.kind == TokenKind::op && token.text == "=") || token.is_word("to");
  const bool is_list = std::ranges::find(lists_of_names, *name) != std::end(lists_of_names);
  if (!is_assignment || is_list) return std::nullopt;
  auto value = constant_value(lexer, lexer.next());
  if (!value || !ends_here(lexer, lexer.next())) return std::nullopt;
  return SetConstant{.name = prefix + *name, .value = std::move(*value)};
}

bool is_custom_setting(std::string_view text) {
  Lexer lexer(text, true);
  if (text.size() > 256 || text.find('.') == std::string_view::npos) return false;
  for (;;) {
    if (lexer.next().kind != TokenKind::word) return false;
    const Token token = lexer.next();
    if (token.kind == TokenKind::end)
      return text.find_first_of(" \t\r\n") == std::string_view::npos;
    if (!token.is('.')) return false;
  }
}

std::vector<std::string> settings_named(std::string_view text, bool backslashes_are_plain) {
  NameFinder finder;
  finder.scan(text, backslashes_are_plain, 0);
  return finder.take();
}

std::vector<std::string> functions_called(std::string_view source) {
  std::vector<std::string> names;
  std::string word;
  bool is_over = false;
  for (const char c : source) {
    const bool is_blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    const bool is_letter = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ||
                           (static_cast<unsigned char>(c) & 0x80) != 0;
    if (c == '(' && !word.empty()) names.push_back(word);
    if (is_blank) {
      is_over = true;
    } else if (!is_letter || std::exchange(is_over, false)) {
      word.clear();
    }
    if (is_letter) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  return names;
}

bool sets_by_computed_names(std::string_view source) {
  return contains_ignoring_case(source, "set_config") || contains_ignoring_case(source, "execute");
}

}  // namespace pgproxy::sql
