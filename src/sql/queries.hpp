#pragma once

#include <pg_query/pg_query.pb-c.h>

#include "pgproxy/sql/facts.hpp"

namespace pgproxy::sql {

/// Fills in is_plain_query, locks_rows, all_functions and relations of a text whose only statement
/// this is.
void read_query(const PgQuery__SelectStmt& query, Facts& facts);

}  // namespace pgproxy::sql
