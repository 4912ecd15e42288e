#include "sql/lexer.hpp"

#include <algorithm>
#include <cstring>

namespace pgproxy::sql {
namespace {

bool is_newline(char c) {
  return c == '\n' || c == '\r';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// PostgreSQL's ICONST: what is larger is a number of another kind to its grammar.
bool fits_integer(std::string_view digits) {
  while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
  constexpr std::string_view largest = "2147483647";
  return digits.size() < largest.size() || (digits.size() == largest.size() && digits <= largest);
}

}  // namespace

bool Token::is_word(std::string_view lower_case) const {
  return kind == TokenKind::word && equals_ignoring_case(text, lower_case);
}

Token Lexer::next(char* lower_case) {
  while (at_ != end_ && char_kind(*at_) == CharKind::blank) ++at_;
  if (at_ == end_) return {.kind = TokenKind::end, .text = {at_, at_}};
  const char* const begin = at_;
  switch (char_kind(*at_)) {
    case CharKind::letter: return word(begin, lower_case);
    case CharKind::digit: return number(begin);
    case CharKind::punctuation: return punctuation(begin);
    case CharKind::quote: ++at_; return string(begin, TokenKind::string, !backslashes_are_plain_);
    case CharKind::double_quote: ++at_; return quoted_name(begin, TokenKind::quoted_name);
    case CharKind::dollar: return dollar(begin);
    case CharKind::op:
      if (*at_ == '-' || *at_ == '/') {
        if (!skip_blanks()) return error(begin);
        if (at_ != begin) return next(lower_case);
      }
      return op(begin);
    case CharKind::blank:
    case CharKind::invalid: break;
  }
  return error(begin);
}

/// Blanks and comments. False: a comment does not end.
bool Lexer::skip_blanks() {
  while (at_ != end_) {
    if (char_kind(*at_) == CharKind::blank) {
      ++at_;
      continue;
    }
    const std::string_view rest(at_, end_);
    if (rest.starts_with("--")) {
      skip_line_comment();
    } else if (rest.starts_with("/*")) {
      if (!skip_block_comment()) return false;
    } else {
      break;
    }
  }
  return true;
}

void Lexer::skip_line_comment() {
  at_ = std::find_if(at_, end_, is_newline);
}

/// They nest (4.1.5).
bool Lexer::skip_block_comment() {
  std::size_t depth = 0;
  while (end_ - at_ > 1) {
    const bool opens = at_[0] == '/' && at_[1] == '*';
    const bool closes = at_[0] == '*' && at_[1] == '/';
    at_ += opens || closes ? 2 : 1;
    if (opens) ++depth;
    if (closes && --depth == 0) return true;
  }
  return false;
}

Token Lexer::word(const char* begin, char* lower_case) {
  const char* word_end = begin;
  if (lower_case != nullptr) {
    for (char c = 0; word_end != end_ && (c = word_char(*word_end)) != 0; ++word_end) {
      *lower_case++ = c;
    }
  } else {
    while (word_end != end_ && word_char(*word_end) != 0) ++word_end;
  }
  at_ = word_end;
  if (word_end - begin == 1 && word_end != end_ && (*at_ == '\'' || *at_ == '&')) {
    return string_after(begin);
  }
  return token(TokenKind::word, begin);
}

/// Behind a single letter and before ' or &: it may be the prefix of a literal.
Token Lexer::string_after(const char* begin) {
  const char prefix = to_lower(*begin);
  if (*at_ == '\'') {
    if (prefix == 'e') {
      ++at_;
      return string(begin, TokenKind::escape_string, true);
    }
    if (prefix == 'b' || prefix == 'x') {
      ++at_;
      return string(begin, TokenKind::bit_string, false);
    }
  } else if (prefix == 'u' && end_ - at_ > 1) {
    if (at_[1] == '"') {
      at_ += 2;
      return quoted_name(begin, TokenKind::unicode_name);
    }
    if (at_[1] == '\'') {
      // "unsafe use of string constant with Unicode escapes" (4.1.2.3)
      if (!backslashes_are_plain_) return error(begin);
      at_ += 2;
      return string(begin, TokenKind::unicode_string, false);
    }
  }
  return token(TokenKind::word, begin);
}

/// Behind the opening quote. A string goes on in the next quotes, with the rules of its beginning,
/// if there is a newline between (4.1.2.1).
Token Lexer::string(const char* begin, TokenKind kind, bool has_escapes) {
  do {
    if (!string_body(has_escapes, kind != TokenKind::bit_string)) return error(begin);
  } while (continue_string());
  Token result = token(kind, begin);
  result.has_escapes = has_escapes && result.text.find('\\') != std::string_view::npos;
  return result;
}

/// To behind the closing quote; false if there is none.
bool Lexer::string_body(bool has_escapes, bool doubles_quotes) {
  while (at_ != end_) {
    if (has_escapes) {
      while (at_ != end_ && *at_ != '\'' && *at_ != '\\') ++at_;
      if (end_ - at_ > 1 && *at_ == '\\') {
        at_ += 2;
        continue;
      }
    } else {
      const void* const quote = std::memchr(at_, '\'', static_cast<std::size_t>(end_ - at_));
      at_ = quote != nullptr ? static_cast<const char*>(quote) : end_;
    }
    if (!next_is('\'')) return false;
    ++at_;
    if (!doubles_quotes || !next_is('\'')) return true;
    ++at_;
  }
  return false;
}

bool Lexer::continue_string() {
  const char* look = at_;
  bool has_newline = false;
  while (look != end_) {
    if (char_kind(*look) == CharKind::blank) {
      has_newline |= is_newline(*look);
      ++look;
    } else if (*look == '-' && end_ - look > 1 && look[1] == '-') {
      look = std::find_if(look, end_, is_newline);
    } else {
      break;
    }
  }
  if (!has_newline || look == end_ || *look != '\'') return false;
  at_ = look + 1;
  return true;
}

Token Lexer::quoted_name(const char* begin, TokenKind kind) {
  while (at_ != end_) {
    at_ = std::find(at_, end_, '"');
    if (at_ == end_) break;
    ++at_;
    if (!next_is('"')) return token(kind, begin);
    ++at_;
  }
  return error(begin);
}

/// $1, $$…$$, $tag$…$tag$ (4.1.2.4).
Token Lexer::dollar(const char* begin) {
  const char* tag_end = begin + 1;
  if (tag_end == end_) return error(begin);
  if (is_digit(*tag_end)) {
    at_ = std::find_if_not(tag_end, end_, is_digit);
    return token(TokenKind::parameter, begin);
  }
  if (char_kind(*tag_end) == CharKind::letter) {
    while (tag_end != end_ && char_kind(*tag_end) >= CharKind::digit) ++tag_end;
  }
  if (tag_end == end_ || *tag_end != '$') return error(begin);
  const std::string_view delimiter(begin, tag_end + 1);
  const std::string_view rest(tag_end + 1, end_);
  const std::size_t content_bytes = rest.find(delimiter);
  if (content_bytes == std::string_view::npos) return error(begin);
  at_ = tag_end + 1 + content_bytes + delimiter.size();
  return token(TokenKind::dollar_string, begin);
}

/// 42, 3.5, 4., .001, 5e2, 1.925e-3 (4.1.2.6).
Token Lexer::number(const char* begin) {
  at_ = std::find_if_not(begin, end_, is_digit);
  const std::string_view digits(begin, at_);
  const bool is_range = end_ - at_ > 1 && at_[0] == '.' && at_[1] == '.';
  bool is_whole = true;
  if (next_is('.') && !is_range) {
    is_whole = false;
    at_ = std::find_if_not(at_ + 1, end_, is_digit);
  }
  if (at_ != end_ && to_lower(*at_) == 'e') {
    const char* exponent = at_ + 1;
    if (exponent != end_ && (*exponent == '+' || *exponent == '-')) ++exponent;
    if (exponent != end_ && is_digit(*exponent)) {
      is_whole = false;
      at_ = std::find_if_not(exponent, end_, is_digit);
    }
  }
  const bool is_integer = is_whole && fits_integer(digits);
  return token(is_integer ? TokenKind::integer : TokenKind::number, begin);
}

/// 4.1.3: comments end an operator; + and - at its end belong to what follows, unless it contains
/// a character that only operators beyond SQL have.
Token Lexer::op(const char* begin) {
  const char* op_end = begin + 1;
  while (op_end != end_ && char_kind(*op_end) == CharKind::op) {
    const std::string_view rest(op_end, end_);
    if (rest.starts_with("--") || rest.starts_with("/*")) break;
    ++op_end;
  }
  if (op_end - begin > 1 && (op_end[-1] == '+' || op_end[-1] == '-')) {
    const std::string_view body(begin, op_end - 1);
    if (body.find_first_of("~!@#%^&|`?") == std::string_view::npos) {
      while (op_end - begin > 1 && (op_end[-1] == '+' || op_end[-1] == '-')) --op_end;
    }
  }
  at_ = op_end;
  return token(TokenKind::op, begin);
}

Token Lexer::punctuation(const char* begin) {
  if (*begin == '.' && end_ - begin > 1 && is_digit(begin[1])) return number(begin);
  at_ = begin + 1;
  const bool is_range = *begin == '.' && next_is('.');
  if (is_range || (*begin == ':' && (next_is(':') || next_is('=')))) {
    ++at_;
    return token(TokenKind::op, begin);
  }
  return token(TokenKind::punctuation, begin);
}

}  // namespace pgproxy::sql
