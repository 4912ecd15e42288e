#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// What the fake server understands of a statement's text.
namespace pgproxy::bench {

enum class StatementKind {
  empty,
  select_value,     ///< one row: the statement's last word, or the first parameter where that is $1
  select_bulk,      ///< SELECT 'bulk', N: N rows of 100 bytes
  select_delay,     ///< SELECT 'delay_us', N, value: as select_value, N µs later
  select_state,     ///< pgproxy's question what a session holds: objects, of which there are none
  select_none,      ///< likewise settings
  select_role,      ///< pgproxy's question whether a server is the primary
  select_position,  ///< likewise where in the WAL it is
  set_config,       ///< SELECT set_config('name', 'value', ...), ...
  set,
  begin,
  commit,
  rollback,
  copy_in,
  command,  ///< any other: completes with its first word as tag
};

struct Statement {
  StatementKind kind = StatementKind::empty;
  std::uint64_t number = 0;  ///< rows or µs
  std::string_view value;    ///< last word (select_*) or first word (command); into the text
  std::vector<std::pair<std::string, std::string>> settings;  ///< set, set_config
};

Statement understand(std::string_view text);

/// Cuts the first statement off a Query's text; quotes may hide a semicolon.
std::string_view next_statement(std::string_view& text);

}  // namespace pgproxy::bench
