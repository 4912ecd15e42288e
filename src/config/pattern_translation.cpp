#include "config/pattern_translation.hpp"

#include <array>
#include <bitset>
#include <fmt/format.h>
#include <optional>
#include <utility>
#include <vector>

namespace pgproxy::config {

namespace {

/// A set of bytes; never has zero, which no name contains.
using ByteSet = std::bitset<256>;

constexpr std::size_t kMostBytes = 1024;
constexpr std::size_t kMostNesting = 32;
constexpr unsigned kMostRepeats = 255;  // PostgreSQL's own
/// Atoms after all repeats are written out, as the C library does.
constexpr std::size_t kMostAtoms = 2000;

std::unexpected<Error> bad(std::string message) {
  return std::unexpected(Error{.sqlstate = {}, .message = std::move(message)});
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

unsigned byte_of(char c) {
  return static_cast<unsigned char>(c);
}

template <class Predicate>
ByteSet ascii_where(Predicate predicate) {
  ByteSet set;
  for (unsigned byte = 1; byte < 128; ++byte) set[byte] = predicate(static_cast<char>(byte));
  return set;
}

ByteSet complement(ByteSet set) {
  set.flip();
  set[0] = false;
  return set;
}

/// By the name between [: and :]; ASCII only, as in the C locale.
std::optional<ByteSet> class_named(std::string_view name) {
  const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto graph = [](char c) { return c > ' ' && c <= '~'; };
  if (name == "digit") return ascii_where(is_digit);
  if (name == "upper") return ascii_where(upper);
  if (name == "lower") return ascii_where(lower);
  if (name == "alnum") return ascii_where(is_alphanumeric);
  if (name == "word") return ascii_where([](char c) { return is_alphanumeric(c) || c == '_'; });
  if (name == "alpha")
    return ascii_where([](char c) { return is_alphanumeric(c) && !is_digit(c); });
  if (name == "blank") return ascii_where([](char c) { return c == ' ' || c == '\t'; });
  if (name == "space")
    return ascii_where([](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); });
  if (name == "cntrl") return ascii_where([](char c) { return c < ' ' || c == '\x7f'; });
  if (name == "graph") return ascii_where(graph);
  if (name == "print") return ascii_where([&](char c) { return graph(c) || c == ' '; });
  if (name == "punct") return ascii_where([&](char c) { return graph(c) && !is_alphanumeric(c); });
  if (name == "xdigit") {
    return ascii_where(
        [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); });
  }
  return {};
}

/// \d, \s, \w; in capitals what is not in them.
std::optional<ByteSet> class_escape(char letter) {
  switch (letter) {
    case 'd': return class_named("digit");
    case 's': return class_named("space");
    case 'w': return class_named("word");
    case 'D': return complement(*class_named("digit"));
    case 'S': return complement(*class_named("space"));
    case 'W': return complement(*class_named("word"));
    default: return {};
  }
}

/// One byte, standing for itself.
std::string literal(char c) {
  constexpr std::string_view special = R"(\.[]{}()*+?^$|)";
  return special.contains(c) ? std::string{'\\', c} : std::string{c};
}

/// A bracket expression for the set, in the order in which each byte stands for itself: ] first,
/// [ before what cannot begin a class, - at an end, ^ not at the beginning.
std::string bracket(const ByteSet& set) {
  std::string text;
  for (unsigned byte = 1; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    if (!set[byte] || c == '[' || c == '^' || c == '-') continue;
    text.insert(c == ']' ? text.begin() : text.end(), c);
  }
  const bool has_minus = set[byte_of('-')];
  if (set[byte_of('[')]) text += '[';
  if (set[byte_of('^')]) {
    if (text.empty() && !has_minus) return R"(\^)";
    if (text.empty()) return "[-^]";
    text += '^';
  }
  if (has_minus) text += '-';
  return "[" + text + "]";
}

class Translator {
 public:
  explicit Translator(std::string_view text) : text_(text) {}

  Result<TranslatedPattern> run() {
    if (text_.size() > kMostBytes) {
      return bad(fmt::format("it has {} bytes, at most {} are allowed", text_.size(), kMostBytes));
    }
    if (text_.empty()) return bad("it is empty");
    while (at_ < text_.size() && problem_.empty()) take_one();
    if (problem_.empty() && groups_.size() > 1) fail("a ( has no )");
    if (!problem_.empty()) return bad(std::move(problem_));
    return std::move(out_);
  }

 private:
  struct Group {
    std::size_t atoms = 0;
    bool has_first = false;  ///< the first that captures is this one or within
    bool has_anchor = false;
    bool may_be_empty = false;        ///< one of the branches that are over
    bool branch_may_be_empty = true;  ///< the one that is being read
  };

  void fail(std::string problem) { problem_ = std::move(problem); }
  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }

  void put_atom(std::string_view atom) {
    out_.text += atom;
    last_ = {};
    end_atom(1);
  }
  /// `last_` is complete, and may be repeated.
  void end_atom(std::size_t atoms) {
    add_atoms(atoms);
    before_last_may_be_empty_ = groups_.back().branch_may_be_empty;
    groups_.back().branch_may_be_empty &= last_.may_be_empty;
    may_repeat_ = true;
  }
  void put_anchor(std::string_view anchor) {
    out_.text += anchor;
    groups_.back().has_anchor = true;
    may_repeat_ = false;
  }
  void next_branch() {
    out_.text += '|';
    Group& group = groups_.back();
    group.may_be_empty |= group.branch_may_be_empty;
    group.branch_may_be_empty = true;
    may_repeat_ = false;
  }
  /// `count` is also what a quantifier behind them multiplies.
  void add_atoms(std::size_t count) {
    last_atoms_ = count;
    groups_.back().atoms += count;
    if (groups_.back().atoms > kMostAtoms) fail("it is too large when its repeats are written out");
  }

  void take_one();
  void take_escape();
  void take_bracket();
  bool take_bracket_item(ByteSet& set, bool is_first);
  std::optional<char> take_bracket_end();
  std::optional<std::string_view> take_bracket_name(char kind);
  void open_group();
  void close_group();
  void take_quantifier(char c);
  std::optional<std::pair<unsigned, std::optional<unsigned>>> take_bounds();
  std::optional<unsigned> take_number();
  void repeat(std::string_view quantifier, unsigned times);

  std::string_view text_;
  std::size_t at_ = 0;
  TranslatedPattern out_;
  std::string problem_;
  std::vector<Group> groups_{1};
  std::size_t group_count_ = 0;
  std::size_t last_atoms_ = 0;
  Group last_;  ///< what a quantifier would be about
  bool before_last_may_be_empty_ = true;
  bool may_repeat_ = false;  ///< a quantifier may stand here
};

void Translator::take_one() {
  const char c = text_[at_++];
  switch (c) {
    case '\0': return fail("it has a zero byte");
    case '\\': return take_escape();
    case '[': return take_bracket();
    case '(': return open_group();
    case ')': return close_group();
    case '|': return next_branch();
    case '^': return put_anchor("^");
    case '$': return put_anchor("$");
    case '.': return put_atom(".");
    case '*':
    case '+':
    case '?': return take_quantifier(c);
    case '{':
      if (at_ < text_.size() && is_digit(text_[at_])) return take_quantifier(c);
      return put_atom(literal(c));
    default: return put_atom(literal(c));
  }
}

void Translator::take_escape() {
  if (at_ == text_.size()) return fail("it ends with a \\");
  const char c = text_[at_++];
  if (const auto set = class_escape(c)) return put_atom(bracket(*set));
  if (c == 'A') return put_anchor("^");
  if (c == 'Z') return put_anchor("$");
  if (is_digit(c)) return fail(fmt::format("\\{}: back references are not supported", c));
  if (is_alphanumeric(c)) {
    return fail(
        fmt::format("\\{}: of the escapes only \\d \\s \\w \\D \\S \\W \\A \\Z are supported", c));
  }
  if (c == '\0') return fail("it has a zero byte");
  put_atom(literal(c));
}

void Translator::take_bracket() {
  ByteSet set;
  const bool is_negated = next_is('^');
  if (is_negated) ++at_;
  for (bool is_first = true; problem_.empty(); is_first = false) {
    if (at_ == text_.size()) return fail("a [ has no ]");
    if (next_is(']') && !is_first) break;
    if (!take_bracket_item(set, is_first)) return;
  }
  if (!problem_.empty()) return;
  ++at_;
  if (is_negated) set = complement(set);
  if (set.none()) return fail("a bracket expression that nothing matches");
  put_atom(bracket(set));
}

/// One byte, range or class; false: failed.
bool Translator::take_bracket_item(ByteSet& set, bool is_first) {
  const std::string_view rest = text_.substr(at_);
  if (rest.starts_with("[:")) {
    const auto name = take_bracket_name(':');
    if (!name) return false;
    const auto named = class_named(*name);
    if (!named) fail(fmt::format("[:{}:]: there is no such class", *name));
    if (named) set |= *named;
    return named.has_value();
  }
  if (rest.size() > 1 && rest[0] == '\\') {
    if (const auto escape = class_escape(rest[1]); escape && rest[1] >= 'a') {
      at_ += 2;
      set |= *escape;
      return true;
    }
  }
  const bool is_minus = rest[0] == '-' && !is_first && !rest.starts_with("-]");
  if (is_minus) return fail("a - in brackets that is neither a range nor first or last"), false;
  const auto from = take_bracket_end();
  if (!from) return false;
  std::optional<char> to = from;
  if (next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
    ++at_;
    to = take_bracket_end();
    if (!to) return false;
  }
  if (byte_of(*to) < byte_of(*from)) return fail("a range in brackets that runs backwards"), false;
  for (unsigned byte = byte_of(*from); byte <= byte_of(*to); ++byte) set[byte] = true;
  return true;
}

/// A byte that stands for itself, or either end of a range.
std::optional<char> Translator::take_bracket_end() {
  const std::string_view rest = text_.substr(at_);
  if (rest.starts_with("[.") || rest.starts_with("[=")) {
    const auto name = take_bracket_name(rest[1]);
    if (!name) return {};
    if (name->size() != 1) return fail(fmt::format("[{}: not supported", rest[1])), std::nullopt;
    return (*name)[0];
  }
  if (rest.starts_with("[:")) return fail("a class cannot end a range"), std::nullopt;
  if (rest[0] == '\0') return fail("it has a zero byte"), std::nullopt;
  if (rest[0] != '\\') return ++at_, rest[0];
  if (rest.size() < 2 || is_alphanumeric(rest[1]) || rest[1] == '\0') {
    return fail("in brackets only \\d \\s \\w and escaped punctuation are supported"), std::nullopt;
  }
  at_ += 2;
  return rest[1];
}

/// What stands between `[:` and `:]`, or the like.
std::optional<std::string_view> Translator::take_bracket_name(char kind) {
  const std::size_t begin = at_ + 2;
  const auto end = text_.find(std::string{kind, ']'}, begin);
  if (end == std::string_view::npos)
    return fail(fmt::format("a [{0} has no {0}]", kind)), std::nullopt;
  at_ = end + 2;
  return text_.substr(begin, end - begin);
}

void Translator::open_group() {
  bool captures = true;
  if (next_is('?')) {
    if (!text_.substr(at_).starts_with("?:")) {
      return fail("(?: of these only (?:...) is supported, no look-around and no options");
    }
    at_ += 2;
    captures = false;
  }
  if (groups_.size() > kMostNesting) return fail("parentheses are nested too deeply");
  ++group_count_;
  groups_.push_back({.has_first = captures && out_.group == 0});
  if (groups_.back().has_first) out_.group = group_count_;
  out_.text += '(';
  may_repeat_ = false;
}

void Translator::close_group() {
  if (groups_.size() == 1) return fail("a ) has no (");
  const std::size_t atoms = groups_.back().atoms + 1;
  last_ = {.has_first = groups_.back().has_first,
           .has_anchor = groups_.back().has_anchor,
           .may_be_empty = groups_.back().may_be_empty || groups_.back().branch_may_be_empty};
  groups_.pop_back();
  groups_.back().has_first |= last_.has_first;
  groups_.back().has_anchor |= last_.has_anchor;
  out_.text += ')';
  end_atom(atoms);
}

void Translator::take_quantifier(char c) {
  if (!may_repeat_) return fail(fmt::format("{}: there is nothing to repeat", c));
  // The C library may miss a match of these, or never come to an end.
  if (last_.has_anchor) return fail("a repeated part has a ^ or $ in it");
  if (last_.may_be_empty) return fail("a repeated part may be empty");
  if (c != '{') {
    if (c != '+') groups_.back().branch_may_be_empty = before_last_may_be_empty_;
    repeat(std::string_view(&c, 1), 1);
  } else {
    const std::size_t begin = at_ - 1;
    const auto bounds = take_bounds();
    if (!bounds) return fail("{}: want {m}, {m,} or {m,n} with numbers up to 255, m not above n");
    const auto [least, most] = *bounds;
    if (least == 0) groups_.back().branch_may_be_empty = before_last_may_be_empty_;
    repeat(text_.substr(begin, at_ - begin), most.value_or(least + 1));
  }
  // PostgreSQL's a*? takes as little as it can, which the C library cannot.
  if (next_is('?')) return fail("non-greedy quantifiers are not supported");
  may_repeat_ = false;  // a** and the like are errors there, too
}

/// {m}: both ends alike; {m,}: no second.
std::optional<std::pair<unsigned, std::optional<unsigned>>> Translator::take_bounds() {
  const auto least = take_number();
  if (!least) return {};
  std::optional<unsigned> most = least;
  if (next_is(',')) {
    ++at_;
    most = next_is('}') ? std::nullopt : take_number();
    if (!most && !next_is('}')) return {};
  }
  if (!next_is('}') || (most && *most < *least)) return {};
  ++at_;
  return std::pair(*least, most);
}

std::optional<unsigned> Translator::take_number() {
  unsigned number = 0;
  const std::size_t begin = at_;
  for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
    number = number * 10 + static_cast<unsigned>(text_[at_] - '0');
    if (number > kMostRepeats) return {};
  }
  return at_ == begin ? std::nullopt : std::optional(number);
}

void Translator::repeat(std::string_view quantifier, unsigned times) {
  out_.text += quantifier;
  out_.is_group_repeated |= last_.has_first;
  if (times > 1) add_atoms(last_atoms_ * (times - 1));
}

}  // namespace

Result<TranslatedPattern> translate_pattern(std::string_view text) {
  return Translator(text).run();
}

}  // namespace pgproxy::config
