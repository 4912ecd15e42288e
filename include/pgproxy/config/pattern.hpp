#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "pgproxy/base/result.hpp"

namespace pgproxy::config {

/// A regular expression of pg_hba.conf or pg_ident.conf, in that part of PostgreSQL's syntax
/// (documentation 9.7.3) that means the same to the C library, after translation. What would mean
/// something else here is an error: look-around, back references, non-greedy quantifiers, options.
/// Works on bytes with ASCII classes, as PostgreSQL does before a database is chosen. Immutable,
/// cheap to copy, thread safe.
class Pattern {
 public:
  /// Longest subject that is looked at: names that clients send are shorter, and certificates' too.
  static constexpr std::size_t max_subject_bytes = 1024;

  struct Match {
    bool has_group = false;  ///< the first parenthesised part matched something, not nothing
    std::string group;       ///< what it matched
  };

  /// Error without SQLSTATE: its message says which construct, `text` not included.
  static Result<Pattern> compile(std::string_view text);

  /// Finds it anywhere in `subject`; nullopt: not there, or the subject is longer than
  /// max_subject_bytes or has a zero byte.
  std::optional<Match> find(std::string_view subject) const;
  /// Whether it has a parenthesised part that \1 can stand for.
  bool has_group() const { return group_ > 0; }
  /// It, or one around it, has a quantifier: which of its matches \1 would be is not the same to
  /// the C library and to PostgreSQL.
  bool is_group_repeated() const { return is_group_repeated_; }
  /// Made of the same text.
  bool operator==(const Pattern& other) const { return text_ == other.text_; }

 private:
  struct Compiled;

  std::string text_;
  std::shared_ptr<const Compiled> compiled_;
  std::size_t group_ = 0;  ///< number of the first capturing group for the C library; 0: none
  bool is_group_repeated_ = false;
};

}  // namespace pgproxy::config
