#include "sql/fingerprint.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <sys/random.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sql/lexer.hpp"

#include "pgproxy/base/assert.hpp"

namespace pgproxy::sql {
namespace {

// What stands for a constant: bytes that no token contains (is_plain).
constexpr char parameter_mark = '\x01';
constexpr char integer_mark = '\x02';
constexpr char number_mark = '\x03';
constexpr char string_mark = '\x04';
constexpr char unicode_string_mark = '\x05';  ///< UESCAPE may follow
constexpr char bit_string_mark = '\x06';
constexpr char list_item_mark = '\x07';  ///< any of them, also NULL, TRUE, FALSE and DEFAULT
constexpr std::array<std::string_view, 8> mark_texts = {"",    "$1 ",   "1 ",   ".1 ",
                                                        "'' ", "U&'' ", "B'' ", "1 "};

constexpr char mark_of(TokenKind kind) {
  switch (kind) {
    case TokenKind::parameter: return parameter_mark;
    case TokenKind::integer: return integer_mark;
    case TokenKind::number: return number_mark;
    case TokenKind::unicode_string: return unicode_string_mark;
    case TokenKind::bit_string: return bit_string_mark;
    default: return string_mark;
  }
}

bool is_plain(std::string_view text) {
  return std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) < mark_texts.size(); });
}

/// Words that decide what becomes of constants.
enum class Word : std::uint8_t {
  other,
  list_opener,  ///< IN, VALUES, ARRAY
  constant,     ///< NULL, TRUE, FALSE, DEFAULT: within lists they are constants
  set,          ///< SET
  run,          ///< DO
  setting,      ///< set_config, current_setting
  search_path,  ///< search_path, SCHEMA
  uescape,      ///< UESCAPE
};

Word classify(std::string_view word) {
  switch (word.size()) {
    case 2:
      if (word == "in") return Word::list_opener;
      if (word == "do") return Word::run;
      break;
    case 3:
      if (word == "set") return Word::set;
      break;
    case 4:
      if (word == "null" || word == "true") return Word::constant;
      break;
    case 5:
      if (word == "array") return Word::list_opener;
      if (word == "false") return Word::constant;
      break;
    case 6:
      if (word == "values") return Word::list_opener;
      if (word == "schema") return Word::search_path;
      break;
    case 7:
      if (word == "default") return Word::constant;
      if (word == "uescape") return Word::uescape;
      break;
    case 10:
      if (word == "set_config") return Word::setting;
      break;
    case 11:
      if (word == "search_path") return Word::search_path;
      break;
    case 15:
      if (word == "current_setting") return Word::setting;
      break;
    default: break;
  }
  return Word::other;
}

class Normaliser {
 public:
  Normaliser(std::string_view text, bool backslashes_are_plain, char* out)
      : lexer_(text, backslashes_are_plain), begin_(out), out_(out) {
    *top_ = Frame{.item = out};
  }

  std::optional<Normalised> run() {
    for (;;) {
      const Token token = lexer_.next(out_);
      if (token.kind == TokenKind::end) break;
      if (!take(token)) return std::nullopt;
    }
    if (top_ != frames_.data()) return std::nullopt;
    while (out_ != begin_ && out_[-1] == ';') --out_;
    return Normalised{.tokens = {begin_, out_},
                      .is_constant_free = is_constant_free_,
                      .keeps_plain_escapes = keeps_plain_escapes_};
  }

 private:
  /// Of an item in a list, what was seen so far.
  enum class Item : std::uint8_t { empty, sign, constant, other };
  /// What the token before this one opens or continues.
  enum class Before : std::uint8_t { other, list_opener, setting, uescape, row, row_comma };

  /// An open parenthesis or bracket; the outermost one is the text. Trivial: most are never used.
  struct Frame {
    char closer;
    bool is_list;
    bool is_row;         ///< behind a list opener, or one of several rows behind VALUES
    bool names_setting;  ///< arguments of set_config or current_setting
    bool keeps_constants;
    Item state;
    char* opener;  ///< where it was written
    char* item;    ///< where the item (argument) begins that is being written
    /// The item before it, and the row before the one being written; null if there is none.
    const char* previous_item;
    const char* previous_item_end;
    const char* previous_row;
    const char* previous_row_end;
  };

  bool take(const Token& token) {
    switch (token.kind) {
      case TokenKind::word: word(token.text); return true;
      case TokenKind::quoted_name: return quoted_name(token.text);
      case TokenKind::unicode_name:
        // What it is called is too dear to know; it may be set_config.
        keeps_all_ = true;
        append(token.text);
        other();
        return is_plain(token.text);
      case TokenKind::op: op(token.text); return true;
      case TokenKind::punctuation: return punctuation(token.text[0]);
      case TokenKind::end:
      case TokenKind::error: return false;
      default: return constant(token);
    }
  }

  void append(std::string_view text) {
    separate(text[0]);
    out_ = std::ranges::copy(text, out_).out;
    *out_++ = ' ';
  }
  /// ". ." is not "..", nor is ". 1" ".1".
  void separate(char next) {
    const bool is_dot = out_ != begin_ && out_[-1] == '.';
    if (is_dot && (next == '.' || char_kind(next) == CharKind::digit)) *out_++ = ' ';
  }
  void other() {
    top().state = Item::other;
    before_ = Before::other;
    is_first_word_ = false;
  }
  bool keeps_constants() const { return keeps_all_ || keeps_statement_ || top_->keeps_constants; }
  Frame& top() { return *top_; }

  void word(std::string_view text);
  bool quoted_name(std::string_view text);
  void op(std::string_view text);
  bool constant(const Token& token);
  bool punctuation(char c);
  bool open(char closer);
  bool close(char closer);
  void comma();
  void semicolon();
  void end_item();
  void end_row(const Frame& row);

  Lexer lexer_;
  char* const begin_;
  char* out_;
  Before before_ = Before::other;
  bool is_first_word_ = true;  ///< of a statement
  bool is_set_ = false;        ///< the statement begins with SET
  bool keeps_statement_ = false;
  bool keeps_all_ = false;
  bool keeps_plain_escapes_ = false;
  bool is_constant_free_ = true;
  std::array<Frame, 251> frames_;
  Frame* top_ = frames_.data();
};

void Normaliser::word(std::string_view text) {
  // The lexer has written it there already.
  const Word meaning = classify({out_, text.size()});
  out_ += text.size();
  *out_++ = ' ';
  const bool is_first_word = is_first_word_;
  const Item state = top().state;
  other();
  switch (meaning) {
    case Word::other: break;
    case Word::list_opener: before_ = Before::list_opener; break;
    case Word::setting: before_ = Before::setting; break;
    case Word::uescape: before_ = Before::uescape; break;
    case Word::constant:
      if (state == Item::empty && !keeps_constants()) top().state = Item::constant;
      break;
    case Word::set: is_set_ |= is_first_word; break;
    case Word::run: keeps_statement_ |= is_first_word; break;
    case Word::search_path: keeps_statement_ |= is_set_; break;
  }
}

bool Normaliser::quoted_name(std::string_view text) {
  append(text);
  other();
  keeps_statement_ |= is_set_;  // it may be "search_path"
  if (text == R"("set_config")" || text == R"("current_setting")") before_ = Before::setting;
  return is_plain(text);
}

void Normaliser::op(std::string_view text) {
  const bool is_sign = top().state == Item::empty && (text == "-" || text == "+");
  append(text);
  other();
  if (is_sign) top().state = Item::sign;
}

bool Normaliser::constant(const Token& token) {
  is_constant_free_ &= token.kind == TokenKind::parameter;
  const bool keeps = keeps_constants() || before_ == Before::uescape;
  if (keeps && token.kind != TokenKind::parameter) {
    keeps_plain_escapes_ |= token.kind == TokenKind::string && token.has_escapes;
    append(token.text);
    other();
    return is_plain(token.text);
  }
  const Item state = top().state;
  const bool is_number = token.kind == TokenKind::integer || token.kind == TokenKind::number;
  *out_++ = mark_of(token.kind);
  other();
  const bool is_whole = state == Item::empty || (state == Item::sign && is_number);
  if (is_whole) top().state = Item::constant;
  return true;
}

bool Normaliser::punctuation(char c) {
  switch (c) {
    case '(': return open(')');
    case '[': return open(']');
    case ')':
    case ']': return close(c);
    case ',': comma(); return true;
    case ';': semicolon(); return true;
    case ':':
      append(":");  // ": :" is not "::"
      other();
      return true;
    default:
      separate(c);
      *out_++ = c;
      other();
      return true;
  }
}

bool Normaliser::open(char closer) {
  if (top_ == &frames_.back()) return false;  // nobody writes that
  Frame& outer = top();
  // A row of a list of rows, or one behind VALUES, is a list, too.
  const bool is_nested_row = outer.is_list && outer.state == Item::empty;
  const bool is_row = before_ == Before::list_opener || before_ == Before::row_comma;
  const bool keeps = outer.keeps_constants || before_ == Before::setting;
  const Frame inner{.closer = closer,
                    .is_list = !keeps && (is_nested_row || is_row),
                    .is_row = is_row,
                    .names_setting = before_ == Before::setting,
                    .keeps_constants = keeps,
                    .opener = out_,
                    .item = out_ + 1};
  if (before_ != Before::row_comma) outer.previous_row = outer.previous_row_end = nullptr;
  *out_++ = closer == ')' ? '(' : '[';
  const bool is_first_word = is_first_word_;
  other();
  is_first_word_ = is_first_word;
  *++top_ = inner;
  return true;
}

bool Normaliser::close(char closer) {
  if (top_ == frames_.data() || top_->closer != closer) return false;
  if (top().is_list) end_item();
  *out_++ = closer;
  const Frame& closed = *top_--;
  other();
  if (closed.is_row) end_row(closed);
  return true;
}

void Normaliser::comma() {
  Frame& frame = top();
  if (frame.is_list) end_item();
  if (frame.names_setting) {
    // The value matters if the setting is, or may be, search_path.
    const std::string_view name(frame.item, out_);
    frame.keeps_constants =
        frame.keeps_constants && (name.find_first_of("\\&\n\r") != std::string_view::npos ||
                                  contains_ignoring_case(name, "search_path"));
  }
  *out_++ = ',';
  const bool is_behind_row = before_ == Before::row;
  other();
  if (is_behind_row) before_ = Before::row_comma;
  frame.state = Item::empty;
  frame.item = out_;
}

void Normaliser::semicolon() {
  *out_++ = ';';
  other();
  if (top_ != frames_.data()) return;  // CREATE RULE … DO (a; b)
  is_first_word_ = true;
  is_set_ = keeps_statement_ = false;
}

/// Within a list: a constant is like any other, and what equals its neighbour is left out.
void Normaliser::end_item() {
  Frame& frame = top();
  if (frame.state == Item::constant) {
    out_ = frame.item;
    *out_++ = list_item_mark;
  }
  const std::string_view item(frame.item, out_);
  if (!item.empty() && item == std::string_view(frame.previous_item, frame.previous_item_end)) {
    out_ = frame.item - 1;  // with its comma
  } else {
    frame.previous_item = frame.item;
    frame.previous_item_end = out_;
  }
}

/// Behind VALUES (…): likewise for whole rows.
void Normaliser::end_row(const Frame& row) {
  Frame& outer = top();
  const std::string_view text(row.opener, out_);
  if (text == std::string_view(outer.previous_row, outer.previous_row_end)) {
    out_ = row.opener - 1;
  } else {
    outer.previous_row = row.opener;
    outer.previous_row_end = out_;
  }
  before_ = Before::row;
}

/// XXH3's secret, so that nobody can make up texts that collide.
using Secret = std::array<unsigned char, XXH3_SECRET_DEFAULT_SIZE>;
const Secret& secret() {
  static const Secret random = [] {
    Secret bytes{};
    PGPROXY_ASSERT(getrandom(bytes.data(), bytes.size(), 0) ==
                   static_cast<ssize_t>(bytes.size()));  // up to 256 bytes are never cut short
    return bytes;
  }();
  return random;
}

}  // namespace

std::optional<Normalised> normalise(std::string_view text, bool backslashes_are_plain,
                                    std::span<char> scratch) {
  PGPROXY_ASSERT(scratch.size() >= scratch_bytes(text.size()));
  scratch[0] = backslashes_are_plain ? 'p' : 'e';
  auto normalised = Normaliser(text, backslashes_are_plain, scratch.data() + 1).run();
  if (normalised) {
    normalised->fingerprint = XXH3_64bits_withSecret(scratch.data(), normalised->tokens.size() + 1,
                                                     secret().data(), secret().size());
  }
  return normalised;
}

std::uint64_t hash_of_text(std::string_view text, bool backslashes_are_plain) {
  const std::uint64_t hash =
      XXH3_64bits_withSecret(text.data(), text.size(), secret().data(), secret().size());
  return backslashes_are_plain ? hash : ~hash;
}

std::string render(std::string_view tokens) {
  std::string text;
  text.reserve(tokens.size() * 3 / 2);
  for (const char c : tokens) {
    const auto index = static_cast<unsigned char>(c);
    if (index < mark_texts.size()) {
      if (text.ends_with('.')) text += ' ';  // "a. 1" is not "a .1"
      text += mark_texts[index];
    } else {
      text += c;
    }
  }
  return text;
}

std::string display(std::string_view tokens, std::size_t max_bytes) {
  std::string text;
  for (const char c : tokens) {
    const bool is_mark = static_cast<unsigned char>(c) < mark_texts.size();
    if (text.ends_with('?') && (is_mark || std::isalnum(static_cast<unsigned char>(c)) != 0))
      text += ' ';
    text += is_mark ? '?' : c;
    if (text.size() <= max_bytes) continue;
    // Not in the middle of a character.
    text.resize(max_bytes);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80U) != 0) text.pop_back();
    return text + "...";
  }
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

}  // namespace pgproxy::sql
