#include "admin/words.hpp"

#include <algorithm>
#include <cctype>

namespace pgproxy::admin {
namespace {

constexpr std::string_view blanks = " \t\r\n\f\v";

}  // namespace

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::string folded(std::string_view word, int (*to_case)(int)) {
  std::string out(word);
  for (char& c : out) c = static_cast<char>(to_case(static_cast<unsigned char>(c)));
  return out;
}

std::optional<std::string> take_word(std::string_view& rest) {
  rest = trimmed(rest);
  std::string word;
  std::string_view behind = rest;
  if (rest.starts_with('"') || rest.starts_with('\'')) {
    const char quote = rest.front();
    do {
      const std::size_t end = behind.find(quote, 1);
      if (end == std::string_view::npos) return std::nullopt;
      if (behind.size() < rest.size()) word += quote;  // it was doubled
      word += behind.substr(1, end - 1);
      behind.remove_prefix(end + 1);
    } while (behind.starts_with(quote));
  } else {
    const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
    word.assign(rest.begin(), std::ranges::find_if_not(rest, is_word));
    behind.remove_prefix(word.size());
  }
  if (word.empty()) return std::nullopt;
  rest = trimmed(behind);
  return word;
}

std::string_view without_end(std::string_view text) {
  std::string_view rest = trimmed(text);
  if (rest.ends_with(';')) rest = trimmed(rest.substr(0, rest.size() - 1));
  return rest;
}

}  // namespace pgproxy::admin
