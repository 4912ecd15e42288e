#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pgproxy/config/settings.hpp"

namespace pgproxy::config {

/// Smallest and largest value; times in seconds.
struct Range {
  std::int64_t least = 0;
  std::int64_t most = 2'147'483'647;
};

/// What happens to a setting that PgBouncer has.
enum class Support {
  full,
  no_effect,  ///< any value is taken, with a warning: there is nothing here that it could change
  later,      ///< only the value that changes nothing is taken
};

enum class Apply { on_reload, on_restart };

/// What became of a value.
enum class Outcome { stored, not_allowed, not_in_this_version, no_effect };

template <class Owner>
struct Row;

/// How a setting is read into its member of Owner, and printed as one would write it.
template <class Owner>
struct Field {
  Support support;
  Outcome (*store)(const Row<Owner>& row, std::string_view text, Owner& into);
  std::string (*print)(const Owner& owner);    ///< Support::full only
  std::string (*allowed)(const Range& range);  ///< for people, e.g. "1 to 10000"
  Range range;
};

/// What holds when the configuration does not say it.
struct Default {
  std::string_view text;    ///< as one would write it; with must_be_given: what we propose
  std::string_view reason;  ///< why this value; with must_be_given: how the proposal was reached
  bool must_be_given = false;
};

constexpr Default must_be_given(std::string_view proposal, std::string_view reason) {
  return {proposal, reason, true};
}

/// What few rows have.
struct Extra {
  std::string_view alias = {};       ///< a second name
  std::string_view also = {};        ///< Support::later: a second value that changes nothing
  std::string_view bad_hint = {};    ///< for values that are not allowed
  bool secret = false;               ///< its value is never shown
  std::string_view pgbouncers = {};  ///< must be given: PgBouncer's default, when not the proposal
};

/// One setting, once and for all: parser, checks, example file, documentation, SHOW CONFIG and
/// comparison are derived from it. Owner: Settings, Database or User.
template <class Owner>
struct Row {
  std::string_view name;
  Field<Owner> field;
  Default standard;
  Apply apply;
  std::string_view doc;
  Extra extra = {};
};

}  // namespace pgproxy::config
