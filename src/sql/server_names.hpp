#pragma once

#include <string_view>

// What of PostgreSQL's speaks of the one server on which it runs, and not of the database. Names
// are in lower case, without their schema.
namespace pgproxy::sql {

/// A standby would answer something else than its primary, or refuse.
bool is_server_function(std::string_view name);
/// Likewise.
bool is_server_view(std::string_view name);
/// A standby's sessions, which are read-only, have another value of it than their clients' own.
bool is_server_setting(std::string_view name);
/// pg_advisory_* and pg_try_advisory_*: a lock on one server excludes nobody on another.
bool is_advisory_lock_function(std::string_view name);

}  // namespace pgproxy::sql
