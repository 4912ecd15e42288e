#pragma once

#include <cstdint>
#include <pg_query/pg_query.pb-c.h>

#include "pgproxy/sql/facts.hpp"

namespace pgproxy::sql {

/// What a kind of statement tells, whatever is in it.
struct StatementFacts {
  /// Which parts of the tree tell more.
  enum class Look : std::uint8_t {
    all,    ///< functions called, tables, names of temporary objects
    names,  ///< names only: the expressions in it are not run now
    none,
  };
  PgQuery__Node__NodeCase node = PG_QUERY__NODE__NODE__NOT_SET;
  StatementKind kind = StatementKind::other;
  ResidueSet leaves;
  bool may_write = true;
  bool may_draw = false;
  bool may_remove_residue = false;
  bool changes_code = false;
  bool names_prepared = false;
  bool touches_relations = false;
  Look look = Look::all;
};
const StatementFacts& statement_facts(PgQuery__Node__NodeCase node);

/// Whether creating, changing or dropping an object of this type changes what code runs.
bool is_code(PgQuery__ObjectType type);

}  // namespace pgproxy::sql
