#include "pgproxy/sql/residue.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "sql/words.hpp"

namespace pgproxy::sql {
namespace {

constexpr std::size_t longest_text_bytes = std::size_t{64} << 10;
constexpr std::string_view temp_schema_stem = "pg_temp_";

constexpr WordFilter telling_filter = [] {
  WordFilter filter;
  for (const TellingName& telling : telling_names) {
    filter.add(telling.name.size(), telling.name.back());
  }
  constexpr std::size_t most_digits = 10;
  for (std::size_t digits = 1; digits <= most_digits; ++digits) {
    for (char last = '0'; last <= '9'; ++last) filter.add(temp_schema_stem.size() + digits, last);
  }
  return filter;
}();

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
constexpr char to_lower(char c) {
  return is_upper(c) ? static_cast<char>(c | 0x20) : c;
}

enum class CharKind : unsigned char { other, blank, word_start, digit, dollar };

constexpr std::array<CharKind, 256> char_kinds = [] {
  std::array<CharKind, 256> kinds{};
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool is_letter = to_lower(c) >= 'a' && to_lower(c) <= 'z';
    CharKind& kind = kinds[static_cast<std::size_t>(byte)];
    if (is_letter || c == '_' || byte >= 0x80) kind = CharKind::word_start;
    if (is_digit(c)) kind = CharKind::digit;
    if (c == '$') kind = CharKind::dollar;
    if (c == ' ' || (c >= '\t' && c <= '\r')) kind = CharKind::blank;
  }
  return kinds;
}();

CharKind kind_of(char c) {
  return char_kinds[static_cast<unsigned char>(c)];
}
bool continues_word(char c) {
  return kind_of(c) >= CharKind::word_start;
}

bool is_word(std::string_view word, std::string_view lower_case) {
  return std::ranges::equal(word, lower_case, {}, to_lower);
}

bool is_temp_schema(std::string_view name) {
  return name.size() > temp_schema_stem.size() &&
         is_word(name.substr(0, temp_schema_stem.size()), temp_schema_stem) &&
         std::ranges::all_of(name.substr(temp_schema_stem.size()), is_digit);
}

/// Walks over one text, token by token, remembering no more than where in its statement it is.
class Scanner {
 public:
  Scanner(std::string_view text, bool backslashes_are_plain)
      : at_(text.data()),
        end_(text.data() + text.size()),
        backslashes_are_plain_(backslashes_are_plain) {}

  Residue run() {
    while (at_ != end_ && verdict_ != Residue::unknown) token();
    return depth_ == 0 ? verdict_ : Residue::unknown;
  }

 private:
  enum class Phase : unsigned char {
    first_word,  ///< the next word says what the statement is
    explained,   ///< behind EXPLAIN: likewise, but for its options
    body,        ///< only telling names matter
    set_local,   ///< behind SET LOCAL: in strings, too
    declare,     ///< behind DECLARE: looking for WITH HOLD
  };

  void token();
  void word();
  void keyword(std::string_view word);
  void first_word(std::string_view word);
  void after_set();
  void after_prepare();
  void after_create();
  void after_into();
  void name(std::string_view name);
  void string(bool has_escapes);
  void quoted_name();
  void dollar();
  void dollar_string(std::string_view delimiter);
  void close_parenthesis();
  void semicolon();

  bool skip_comment();
  void skip_blanks();
  std::string_view take_word();
  std::string_view scan_word();
  bool next_is(char c) const { return at_ != end_ && *at_ == c; }

  void note(Residue residue) {
    if (verdict_ == Residue::none || residue == Residue::unknown) verdict_ = residue;
  }
  /// The text ends inside something, or is beyond us.
  void give_up() {
    verdict_ = Residue::unknown;
    at_ = end_;
  }

  const char* at_;
  const char* const end_;
  const bool backslashes_are_plain_;
  Residue verdict_ = Residue::none;
  Phase phase_ = Phase::first_word;
  std::uint32_t depth_ = 0;  ///< open parentheses
};

void Scanner::token() {
  const char c = *at_;
  if (kind_of(c) == CharKind::word_start) return word();
  switch (c) {
    case '\'': return string(!backslashes_are_plain_);
    case '"': return quoted_name();
    case '$': return dollar();
    case '(': ++depth_; break;
    case ')': return close_parenthesis();
    case ';': return semicolon();
    case '-':
    case '/':
      if (skip_comment()) return;
      break;
    default: break;  // blanks, digits, operators
  }
  ++at_;
}

void Scanner::word() {
  const std::string_view word = scan_word();
  if (word.size() == 1 && at_ != end_) {
    if (to_lower(word[0]) == 'e' && *at_ == '\'') return string(true);
    // U&'…' is an error unless backslashes are plain; what a U&"…" is called is too dear to know.
    if (to_lower(word[0]) == 'u' && end_ - at_ > 1 && at_[0] == '&' && at_[1] == '"') {
      return give_up();
    }
  }
  if (phase_ != Phase::body) keyword(word);
  if (is_word(word, "into")) return after_into();
  name(word);
}

void Scanner::keyword(std::string_view word) {
  switch (phase_) {
    case Phase::first_word: return first_word(word);
    case Phase::explained:
      if (depth_ > 0 || is_word(word, "analyze") || is_word(word, "analyse") ||
          is_word(word, "verbose")) {
        return;
      }
      return first_word(word);
    case Phase::declare:
      if (is_word(word, "with")) {
        const char* const behind_with = at_;
        if (is_word(take_word(), "hold")) note(Residue::cursor);
        at_ = behind_with;
      }
      return;
    case Phase::body:
    case Phase::set_local: return;
  }
}

void Scanner::first_word(std::string_view word) {
  phase_ = Phase::body;
  const auto* const found = std::ranges::find_if(
      first_words, [word](const FirstWord& first) { return is_word(word, first.word); });
  if (found == std::end(first_words)) return note(Residue::unknown);
  note(found->leaves);
  switch (found->follow) {
    case Follow::body: break;
    case Follow::set: return after_set();
    case Follow::prepare: return after_prepare();
    case Follow::create: return after_create();
    case Follow::declare: phase_ = Phase::declare; break;
    case Follow::explain: phase_ = Phase::explained; break;
  }
}

void Scanner::after_set() {
  const std::string_view word = take_word();
  const bool ends_with_transaction =
      is_word(word, "local") || is_word(word, "transaction") || is_word(word, "constraints");
  skip_blanks();
  // "SET local.x = 1" sets a custom setting for the session.
  if (!ends_with_transaction || next_is('.')) return note(Residue::setting);
  phase_ = Phase::set_local;
}

void Scanner::after_prepare() {
  // "PREPARE transaction AS …" prepares a statement of that name.
  const bool is_transaction = is_word(take_word(), "transaction");
  skip_blanks();
  if (!is_transaction || !next_is('\'')) note(Residue::prepared_statement);
}

void Scanner::after_create() {
  std::string_view word = take_word();
  while (is_word(word, "or") || is_word(word, "replace") || is_word(word, "local") ||
         is_word(word, "global")) {
    word = take_word();
  }
  if (is_word(word, "temp") || is_word(word, "temporary")) note(Residue::temporary_object);
}

/// SELECT … INTO TEMP. An INSERT INTO a table that is called temp is taken for one.
void Scanner::after_into() {
  const char* const behind_into = at_;
  std::string_view word = take_word();
  while (is_word(word, "local") || is_word(word, "global")) word = take_word();
  if (is_word(word, "temp") || is_word(word, "temporary")) note(Residue::temporary_object);
  at_ = behind_into;  // the table's name is a name like any other
}

void Scanner::name(std::string_view name) {
  if (name.empty() || !telling_filter.may_contain(name)) return;
  for (const TellingName& telling : telling_names) {
    if (is_word(name, telling.name)) return note(telling.leaves);
  }
  if (is_temp_schema(name)) note(Residue::temporary_object);
}

void Scanner::string(bool has_escapes) {
  const char* const content = ++at_;
  for (; at_ != end_; ++at_) {
    if (*at_ == '\\' && has_escapes) {
      if (++at_ == end_) break;
    } else if (*at_ == '\'') {
      if (end_ - at_ > 1 && at_[1] == '\'') {
        ++at_;
        continue;
      }
      // SET LOCAL search_path = 'pg_temp' makes the tables that follow temporary.
      if (phase_ == Phase::set_local) name({content, at_});
      ++at_;
      // A string goes on in the next quotes with the rules of its beginning (4.1.2.1).
      skip_blanks();
      if (!next_is('\'')) return;
    }
  }
  give_up();
}

void Scanner::quoted_name() {
  const std::string_view rest(at_ + 1, end_);
  const std::size_t length = rest.find('"');
  if (length == std::string_view::npos) return give_up();
  // A name with a doubled quote falls in two; looking up its halves does no harm.
  const std::string_view content = rest.substr(0, length);
  if (std::ranges::none_of(content, is_upper)) name(content);
  at_ += length + 2;
}

/// $1, $$…$$, $tag$…$tag$ (4.1.2.4).
void Scanner::dollar() {
  const char* tag_end = at_ + 1;
  if (tag_end != end_ && kind_of(*tag_end) == CharKind::word_start) {
    while (tag_end != end_ && continues_word(*tag_end) && *tag_end != '$') ++tag_end;
  }
  if (tag_end == end_ || *tag_end != '$') {
    ++at_;  // a parameter, or an error
    return;
  }
  dollar_string({at_, tag_end + 1});
}

void Scanner::dollar_string(std::string_view delimiter) {
  const std::string_view rest(at_ + delimiter.size(), end_);
  const std::size_t content_bytes = rest.find(delimiter);
  if (content_bytes == std::string_view::npos) return give_up();
  at_ += content_bytes + 2 * delimiter.size();
}

void Scanner::close_parenthesis() {
  if (depth_ == 0) return give_up();
  --depth_;
  ++at_;
}

void Scanner::semicolon() {
  if (depth_ == 0) phase_ = Phase::first_word;  // inside parentheses: CREATE RULE … DO (a; b)
  ++at_;
}

/// Skips the comment that starts here, if one does.
bool Scanner::skip_comment() {
  const std::string_view rest(at_, end_);
  if (rest.starts_with("--")) {
    at_ = std::find_if(at_, end_, [](char c) { return c == '\n' || c == '\r'; });
    return true;
  }
  if (!rest.starts_with("/*")) return false;
  std::size_t depth = 0;  // they nest (4.1.5)
  while (end_ - at_ > 1) {
    const std::string_view pair(at_, 2);
    const bool opens = pair == "/*";
    const bool closes = pair == "*/";
    at_ += opens || closes ? 2 : 1;
    if (opens) ++depth;
    if (closes && --depth == 0) return true;
  }
  give_up();
  return true;
}

void Scanner::skip_blanks() {
  while (at_ != end_) {
    if (kind_of(*at_) == CharKind::blank) {
      ++at_;
    } else if (!skip_comment()) {
      return;
    }
  }
}

/// The next word, after blanks and comments; empty when something else comes next.
std::string_view Scanner::take_word() {
  skip_blanks();
  const bool is_there = at_ != end_ && kind_of(*at_) == CharKind::word_start;
  return is_there ? scan_word() : std::string_view{};
}

/// The word that starts here.
std::string_view Scanner::scan_word() {
  const char* const begin = at_;
  const char* word_end = at_ + 1;
  while (word_end != end_ && continues_word(*word_end)) ++word_end;
  at_ = word_end;
  return {begin, word_end};
}

}  // namespace

std::string_view to_string(Residue residue) {
  switch (residue) {
    case Residue::none: return "none";
    case Residue::setting: return "session setting";
    case Residue::temporary_object: return "temporary object";
    case Residue::listen: return "LISTEN";
    case Residue::advisory_lock: return "advisory lock";
    case Residue::cursor: return "cursor WITH HOLD";
    case Residue::prepared_statement: return "prepared statement";
    case Residue::sequence_state: return "sequence state";
    case Residue::discard: return "DISCARD";
    case Residue::unknown: return "unknown session state";
  }
  std::unreachable();
}

Residue may_leave_residue(std::string_view text, bool backslashes_are_plain) {
  if (text.size() > longest_text_bytes) return Residue::unknown;
  return Scanner(text, backslashes_are_plain).run();
}

}  // namespace pgproxy::sql
