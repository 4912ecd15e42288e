#pragma once

#include <pg_query/pg_query.pb-c.h>

#include "pgproxy/sql/facts.hpp"

namespace pgproxy::sql {

/// Fills in what a text tells of transactions whose only statement this is.
void read_transaction(const PgQuery__TransactionStmt& statement, Facts& facts);

}  // namespace pgproxy::sql
