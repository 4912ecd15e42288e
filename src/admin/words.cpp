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

std::string_view take_word(std::string_view& rest) {
  rest = trimmed(rest);
  std::string_view word;
  if (rest.starts_with('"') || rest.starts_with('\'')) {
    word = rest.substr(1, rest.find(rest.front(), 1) - 1);
    rest.remove_prefix(std::min(word.size() + 2, rest.size()));
  } else {
    const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
    word = {rest.begin(), std::ranges::find_if_not(rest, is_word)};
    rest.remove_prefix(word.size());
  }
  rest = trimmed(rest);
  return word;
}

std::string_view without_end(std::string_view text) {
  std::string_view rest = trimmed(text);
  if (rest.ends_with(';')) rest = trimmed(rest.substr(0, rest.size() - 1));
  return rest;
}

}  // namespace pgproxy::admin
