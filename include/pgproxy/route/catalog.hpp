#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "pgproxy/route/decide.hpp"
#include "pgproxy/sql/facts.hpp"

namespace pgproxy::route {

/// A row of functions_question().
struct FunctionRow {
  std::string name;  ///< without its schema
  /// Of all functions with that name one is volatile, or is an aggregate of a volatile one.
  bool is_volatile = false;
};

/// A row of relations_question().
struct RelationRow {
  std::string schema;
  std::string name;
  /// A table, partitioned table or materialized view that a standby can read, partitions included.
  bool is_table = false;
  /// What is run where it is read: the query of a view, the row security policies of a table.
  std::optional<std::string> definition;
};

/// What a standby may run, by what pg_proc and pg_class of a database say; immutable once built.
/// What is not in it is not safe. Names without their schema stand for all that have them: what
/// search_path makes of them is not asked.
class Catalog {
 public:
  Catalog() = default;
  /// `safe_functions`: to be taken for harmless whatever pg_proc says, as "name" (in any schema) or
  /// "schema.name" (where that is how it is called), in any case.
  ///
  /// Views are read by sql::analyse: tens of microseconds for each. To be called on a thread that
  /// may take its time. Of more than max_view_count definitions the others count as unsafe, as do
  /// views that rest on one another more than max_view_depth deep.
  Catalog(std::span<const FunctionRow> functions, std::span<const RelationRow> relations,
          std::span<const std::string> safe_functions);

  static constexpr std::size_t max_view_count = 10'000;
  static constexpr std::size_t max_view_depth = 32;

  /// Why a plain query may not be safe: function_volatile, function_unknown, relation_unsafe or
  /// relation_unknown. nullopt: it is. Allocates nothing. Thread safe.
  std::optional<Reason> doubt(const sql::Facts& query) const;
  /// A plain query reads what may run anything: an unsafe view or policy, or what is not known.
  /// Allocates nothing. Thread safe.
  bool may_run_code(const sql::Facts& query) const;

  std::size_t function_count() const { return functions_.size(); }
  std::size_t relation_count() const { return relation_count_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  template <typename Value>
  using Map = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;

  std::optional<Reason> doubt_function(std::string_view name) const;
  std::optional<Reason> doubt_relation(std::string_view name) const;
  void add_relation(const RelationRow& row, bool is_safe);
  void make_safe(const RelationRow& row);
  void expand(std::span<const RelationRow> relations);

  Map<bool> functions_;  ///< by name: one of them is volatile
  std::unordered_set<std::string, Hash, std::equal_to<>> safe_functions_;
  /// How many relations of a name are unsafe; likewise, by what they run.
  struct Unsafe {
    std::uint32_t count = 0;
    std::uint32_t code_count = 0;
  };
  Map<Unsafe> relations_;  ///< by "name" and by "schema.name"
  std::size_t relation_count_ = 0;
};
using CatalogRef = std::shared_ptr<const Catalog>;

/// The SQL that asks for FunctionRows: columns name (text) and is_volatile (bool). All names in it
/// are qualified. From PostgreSQL 11 on.
std::string_view functions_question();
/// For RelationRows: schema, name (text), is_table (bool), definition (text or NULL). It sets
/// search_path until the end of its transaction, so that definitions are qualified: to be sent
/// outside of one. It takes ACCESS SHARE locks on what views read, one view after the other: to be
/// sent with a lock_timeout or statement_timeout.
std::string_view relations_question();

}  // namespace pgproxy::route
