#include "tokens.hpp"

#include <algorithm>
#include <cctype>

namespace pgproxy::sim {
namespace {

bool continues_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

/// The name at `at`, whose parts may be in double quotes; moves `at` behind it.
std::string take_name(std::string_view text, std::size_t& at) {
  std::string name;
  while (at < text.size()) {
    if (text[at] == '"') {
      const std::size_t end = std::min(text.find('"', at + 1), text.size());
      name += text.substr(at + 1, end - at - 1);
      at = std::min(end + 1, text.size());
    }
    for (; at < text.size() && continues_name(text[at]); ++at) name += lower(text[at]);
    const bool goes_on = at + 1 < text.size() && text[at] == '.' && text[at + 1] != ' ';
    if (!goes_on) break;
    name += text[at++];
  }
  return name;
}

/// The constant that begins at `at`, as '…' or E'…'; moves `at` behind it.
std::string take_string(std::string_view text, std::size_t& at) {
  const bool has_escapes = text[at] != '\'';
  std::string value;
  for (at += has_escapes ? 2 : 1; at < text.size(); ++at) {
    const bool is_quote = text[at] == '\'';
    const bool is_doubled = is_quote && at + 1 < text.size() && text[at + 1] == '\'';
    if (is_quote && !is_doubled) break;
    if (is_doubled || (has_escapes && text[at] == '\\')) ++at;
    if (at < text.size()) value += text[at];
  }
  ++at;
  return value;
}

}  // namespace

Tokens::Tokens(std::string_view text) {
  const auto up_to = [&](std::string_view end, std::size_t from) {
    return std::min(text.find(end, from), text.size());
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      ++at;
    } else if (text.substr(at).starts_with("/*")) {
      at = up_to("*/", at) + 2;
    } else if (c == '\'' || text.substr(at).starts_with("E'")) {
      texts_.push_back(take_string(text, at));
    } else if (text.substr(at).starts_with("$$")) {
      const std::size_t end = up_to("$$", at + 2);
      texts_.emplace_back(text.substr(at + 2, end - at - 2));
      at = end + 2;
    } else if (c == '"' || continues_name(c)) {
      texts_.push_back(take_name(text, at));
    } else {
      texts_.emplace_back(1, c);
      ++at;
    }
  }
  if (!texts_.empty() && texts_.back() == ";") texts_.pop_back();
}

std::vector<std::string> split_statements(std::string_view text) {
  std::vector<std::string> statements(1);
  std::string_view end;  // of the string, comment or quoted name that we are in
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string& statement = statements.back();
    const std::string_view rest = text.substr(at);
    if (!end.empty()) {
      if (rest.starts_with(end)) end = {};
    } else if (rest.starts_with("/*")) {
      end = "*/";
    } else if (rest.starts_with("$$")) {
      statement += text[at++];  // so that its second half does not end it
      end = "$$";
    } else if (text[at] == '\'' || text[at] == '"') {
      end = rest.substr(0, 1);
    } else if (text[at] == ';') {
      if (!statement.empty()) statements.emplace_back();
      continue;
    } else if (text[at] == ' ' && statement.empty()) {
      continue;
    }
    statement += text[at];
  }
  if (statements.size() > 1 && statements.back().empty()) statements.pop_back();
  return statements;
}

bool Tokens::take(std::string_view text) {
  if (at_end() || peek() != text) return false;
  ++at_;
  return true;
}

bool Tokens::take(std::initializer_list<std::string_view> texts) {
  const std::size_t before = at_;
  for (const std::string_view text : texts) {
    if (take(text)) continue;
    at_ = before;
    return false;
  }
  return true;
}

bool Tokens::skip_to(std::string_view text) {
  const auto found =
      std::find(texts_.begin() + static_cast<std::ptrdiff_t>(at_), texts_.end(), text);
  if (found == texts_.end()) return false;
  at_ = static_cast<std::size_t>(found - texts_.begin()) + 1;
  return true;
}

}  // namespace pgproxy::sim
