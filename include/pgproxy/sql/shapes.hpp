#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/sql/facts.hpp"

namespace pgproxy::sql {

struct Normalised;

/// A statement without the values of its constants: its facts, and what was learned from running
/// it. Shared by the cache and whoever runs such a statement.
struct Shape {
  std::uint64_t fingerprint = 0;
  Facts facts;
  std::string text;        ///< for people: without its constants, cut after 1 KiB
  StatementCounts counts;  ///< kept by the sessions
  /// Runs after which the server was asked and nothing was left; kept by the sessions.
  std::uint32_t clean_count = 0;
  /// Runs since the server was last asked.
  std::uint32_t run_count = 0;
  /// A standby has refused it, as it writes: also void when code has changed.
  bool is_refused_by_standbys = false;
  /// It was told in the log that it was run again on the primary.
  bool is_rerun_told = false;
  /// Shapes::generation() when that was counted.
  std::uint32_t generation = 0;
};
using ShapeRef = std::shared_ptr<Shape>;

/// The shapes of the statements of one pool, found by a fingerprint of their tokens with constants
/// left out. A statement seen before costs one pass over its text and one look-up, less when it has
/// no constants, and allocates nothing; a new one is parsed by libpg_query. Bounded: shapes not
/// used for long are forgotten. Not thread safe.
class Shapes {
 public:
  explicit Shapes(std::size_t max_count = 2000);
  ~Shapes();

  /// The shape of a Query's or Parse's text. `backslashes_are_plain`: standard_conforming_strings
  /// is on. Texts over 64 KiB, and those that do not end properly or are nested deeper than 250
  /// parentheses, get the one shape for unknown text. What libpg_query cannot parse (newer syntax),
  /// or may not as it has more than 16 KiB without its constants, is unknown with a shape of its
  /// own. The facts never depend on which of the texts with this shape came first.
  ///
  /// Every byte below 0x80 is taken for ASCII: of the client encodings in which that is not so the
  /// caller uses unknown(). The reference is good until the next call.
  const ShapeRef& find(std::string_view text, bool backslashes_are_plain);
  const ShapeRef& unknown() const { return unknown_; }
  /// What was learned (clean_count and the like) of all of them is void, also of those that are
  /// only held elsewhere: see refresh().
  void forget_learned() { ++generation_; }
  /// To be called before what was learned is looked at.
  void refresh(Shape& shape) const {
    if (shape.generation == generation_) return;
    shape.generation = generation_;
    shape.clean_count = shape.run_count = 0;
    shape.is_refused_by_standbys = false;
  }
  std::size_t size() const;
  /// Calls `visit` with each, unknown() included.
  void for_each(const std::function<void(const Shape&)>& visit) const;

 private:
  struct Table;
  const ShapeRef& find(const Normalised& normalised);
  std::unique_ptr<Table> table_;
  ShapeRef unknown_;
  std::uint32_t generation_ = 0;
};

/// Facts from the parse tree, by libpg_query on a thread with a stack of known size. Blocks until
/// it is done (microseconds for common statements). Texts over 16 KiB are unknown, unread. The text
/// is read as if standard_conforming_strings were on.
Facts analyse(std::string_view text);

/// `SET [SESSION] name {= | TO} constant` as the only statement of a text.
struct SetConstant {
  std::string name;   ///< lower case
  std::string value;  ///< as set_config would take it
};
/// nullopt: something else, a list of values, DEFAULT, or a setting whose value is a list of
/// identifiers (search_path and the like).
std::optional<SetConstant> set_constant(std::string_view text, bool backslashes_are_plain);

/// The seed of random(), whose value no query shows. Where it is named, something hidden is left.
inline constexpr std::string_view hidden_setting = "seed";
/// Names of settings that a text may set, lower case: those behind SET and RESET, string constants
/// that are the first argument of set_config, and everywhere, also within $…$ bodies and strings,
/// words that look like a custom setting's name in quotes ('app.tenant') or behind SET. Each once,
/// at most 32. May name what is none; setseed and LOAD name `hidden_setting`.
std::vector<std::string> settings_named(std::string_view text, bool backslashes_are_plain);
/// app.tenant: a name that PostgreSQL takes for a setting which no module has defined.
bool is_custom_setting(std::string_view text);

/// When such a text is prepared, values are made of its literals, by the settings of that time; or
/// it cannot be told. Also of characters beyond ASCII, which client_encoding gives their meaning.
bool keeps_literals(std::string_view text);

/// Words in front of parentheses, lower case, sorted, each once: functions that a body may call.
std::vector<std::string> functions_called(std::string_view source);

/// It calls set_config, or runs text that it makes up: what it sets cannot be told from its words.
bool sets_by_computed_names(std::string_view source);

}  // namespace pgproxy::sql
