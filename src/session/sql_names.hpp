#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pgproxy::session {

/// What the SQL of a Query or Parse does with prepared statements by their names.
enum class SqlNames : std::uint8_t {
  none,
  prepare,         ///< PREPARE name
  execute,         ///< EXECUTE name
  deallocate,      ///< DEALLOCATE name
  deallocate_all,  ///< as the only statement
  discard,         ///< likewise
  any,             ///< several statements, pg_prepared_statements, EXPLAIN EXECUTE, …
};

struct SqlNamesFound {
  SqlNames what = SqlNames::none;
  std::string name = {};     ///< of prepare, execute and deallocate; folded as PostgreSQL does
  bool deallocates = false;  ///< of any: one of several statements may be a DEALLOCATE
  bool prepares = false;     ///< likewise a PREPARE, or it is one
};

/// Looks at how each statement begins, and for pg_prepared_statement anywhere. One pass; allocates
/// for what it finds only.
SqlNamesFound find_sql_names(std::string_view text);

/// Anything in `text` could name prepared statements: for what no parser could read.
bool mentions_sql_names(std::string_view text);

}  // namespace pgproxy::session
