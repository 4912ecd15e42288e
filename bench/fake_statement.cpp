#include "fake_statement.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace pgproxy::bench {
namespace {

bool separates(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0 || c == ',' || c == '(' || c == ')' ||
         c == '=' || c == ';';
}

bool is_word(std::string_view word, std::string_view lower) {
  return std::ranges::equal(
      word, lower, [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; });
}

/// Words and '…' or E'…' literals, without what separates them.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}

  std::string_view next() {
    while (at_ < text_.size() && separates(text_[at_])) ++at_;
    const std::size_t quote = at_ + (text_.substr(at_, 2) == "E'" ? 1 : 0);
    if (quote < text_.size() && text_[quote] == '\'') {
      const std::size_t end = std::min(text_.find('\'', quote + 1), text_.size());
      at_ = std::min(end + 1, text_.size());
      return text_.substr(quote + 1, end - quote - 1);
    }
    const std::size_t begin = at_;
    while (at_ < text_.size() && !separates(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

std::string_view last_word(std::string_view text) {
  while (!text.empty() && separates(text.back())) text.remove_suffix(1);
  std::size_t begin = text.size();
  while (begin > 0 && !separates(text[begin - 1])) --begin;
  return text.substr(begin);
}

Statement understand_select(std::string_view text, Words words) {
  Statement statement{.kind = StatementKind::select_value, .value = last_word(text)};
  std::string_view word = words.next();
  if (is_word(word, "bulk") || is_word(word, "delay_us")) {
    statement.kind =
        is_word(word, "bulk") ? StatementKind::select_bulk : StatementKind::select_delay;
    const std::string_view number = words.next();
    std::from_chars(number.data(), number.data() + number.size(), statement.number);
    return statement;
  }
  if (is_word(word, "exists")) statement.kind = StatementKind::select_state;
  if (is_word(word, "r.on")) statement.kind = StatementKind::select_role;
  if (is_word(word, "pg_catalog.pg_wal_lsn_diff")) statement.kind = StatementKind::select_position;
  if (text.find("pg_show_all_settings") != std::string_view::npos) {
    statement.kind = StatementKind::select_none;
  }
  while (word.ends_with("set_config")) {
    statement.kind = StatementKind::set_config;
    const std::string name(words.next());
    statement.settings.emplace_back(name, words.next());
    words.next();  // is_local
    word = words.next();
  }
  return statement;
}

Statement understand_set(Words words) {
  std::string_view name = words.next();
  if (is_word(name, "session") || is_word(name, "local")) name = words.next();
  std::string_view value = words.next();
  if (is_word(value, "to")) value = words.next();
  return {.kind = StatementKind::set, .settings = {{std::string(name), std::string(value)}}};
}

}  // namespace

Statement understand(std::string_view text) {
  using enum StatementKind;
  Words words(text);
  const std::string_view first = words.next();
  if (first.empty()) return {.kind = empty};
  if (is_word(first, "select")) return understand_select(text, words);
  if (is_word(first, "set")) return understand_set(words);
  if (is_word(first, "begin") || is_word(first, "start")) return {.kind = begin};
  if (is_word(first, "commit") || is_word(first, "end")) return {.kind = commit};
  if (is_word(first, "rollback") || is_word(first, "abort")) return {.kind = rollback};
  if (is_word(first, "copy")) return {.kind = copy_in};
  return {.kind = command, .value = first};
}

std::string_view next_statement(std::string_view& text) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < text.size() && (quoted || text[end] != ';'); ++end) {
    if (text[end] == '\'') quoted = !quoted;
  }
  const std::string_view statement = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return statement;
}

}  // namespace pgproxy::bench
