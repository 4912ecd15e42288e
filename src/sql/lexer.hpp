#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "pgproxy/base/text.hpp"

// PostgreSQL's lexical rules (docs 4.1), without a table of keywords.
namespace pgproxy::sql {

enum class TokenKind : std::uint8_t {
  end,
  error,           ///< no token of PostgreSQL's, or one that does not end
  word,            ///< keyword or identifier, as written
  quoted_name,     ///< "…"
  unicode_name,    ///< U&"…"
  string,          ///< '…'; backslashes escape if has_escapes
  escape_string,   ///< E'…'
  unicode_string,  ///< U&'…'
  dollar_string,   ///< $tag$…$tag$
  bit_string,      ///< B'…', X'…'
  integer,         ///< fits into 31 bits
  number,          ///< any other
  parameter,       ///< $1
  op,              ///< an operator, also :: and := and ..
  punctuation,     ///< one of ( ) [ ] , ; . :
};

struct Token {
  TokenKind kind = TokenKind::end;
  /// A string literal in which a backslash is not just a backslash.
  bool has_escapes = false;
  /// As written, prefixes and quotes included; continuations of a string, too.
  std::string_view text;

  bool is(char punctuation) const {
    return kind == TokenKind::punctuation && text[0] == punctuation;
  }
  /// `lower_case`: of ASCII letters.
  bool is_word(std::string_view lower_case) const;
  bool is_string() const { return kind >= TokenKind::string && kind <= TokenKind::dollar_string; }
};

enum class CharKind : std::uint8_t {
  invalid,
  blank,
  punctuation,
  op,
  quote,
  double_quote,
  dollar,
  digit,
  letter,  ///< what an identifier may begin with
};

namespace detail {
constexpr std::array<CharKind, 256> make_char_kinds() {
  std::array<CharKind, 256> kinds{};
  const auto set = [&kinds](std::string_view chars, CharKind kind) {
    for (const char c : chars) kinds[static_cast<unsigned char>(c)] = kind;
  };
  set(" \t\n\v\f\r", CharKind::blank);
  set("()[],;.:", CharKind::punctuation);
  set("+-*/<>=~!@#%^&|`?", CharKind::op);
  set("'", CharKind::quote);
  set("\"", CharKind::double_quote);
  set("$", CharKind::dollar);
  set("0123456789", CharKind::digit);
  set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", CharKind::letter);
  for (std::size_t byte = 0x80; byte < 256; ++byte) kinds[byte] = CharKind::letter;
  return kinds;
}
inline constexpr std::array<CharKind, 256> char_kinds = make_char_kinds();
/// What continues a word, in lower case; NUL for the others.
inline constexpr std::array<char, 256> word_chars = [] {
  std::array<char, 256> chars{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (char_kinds[byte] >= CharKind::dollar) chars[byte] = to_lower(static_cast<char>(byte));
  }
  return chars;
}();
}  // namespace detail

inline CharKind char_kind(char c) {
  return detail::char_kinds[static_cast<unsigned char>(c)];
}
/// NUL if it cannot be in a word (but at its beginning).
inline char word_char(char c) {
  return detail::word_chars[static_cast<unsigned char>(c)];
}

/// One pass over a text, token by token. Allocates nothing; the text has to outlive it.
class Lexer {
 public:
  /// `backslashes_are_plain`: standard_conforming_strings is on.
  Lexer(std::string_view text, bool backslashes_are_plain)
      : at_(text.data()),
        end_(text.data() + text.size()),
        backslashes_are_plain_(backslashes_are_plain) {}

  /// Behind the last token it is `end` for ever. After `error` the text goes on behind the byte
  /// that began what is none. If it is a word, it is also written to `lower_case`, with its ASCII
  /// letters in lower case, unless that is null.
  Token next(char* lower_case = nullptr);

 private:
  bool skip_blanks();
  bool skip_block_comment();
  void skip_line_comment();
  bool next_is(char c) const { return at_ != end_ && *at_ == c; }

  Token word(const char* begin, char* lower_case);
  Token string_after(const char* begin);
  Token string(const char* begin, TokenKind kind, bool has_escapes);
  bool string_body(bool has_escapes, bool doubles_quotes);
  bool continue_string();
  Token quoted_name(const char* begin, TokenKind kind);
  Token dollar(const char* begin);
  Token number(const char* begin);
  Token op(const char* begin);
  Token punctuation(const char* begin);

  Token token(TokenKind kind, const char* begin) const {
    return {.kind = kind, .text = {begin, at_}};
  }
  Token error(const char* begin) {
    at_ = begin + 1;
    return token(TokenKind::error, begin);
  }

  const char* at_;
  const char* const end_;
  const bool backslashes_are_plain_;
};

}  // namespace pgproxy::sql
