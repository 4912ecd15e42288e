#pragma once

#include <string_view>

namespace pgproxy::sql {

/// What a statement may leave behind on the server connection that ran it, and that neither the
/// end of the transaction nor ParameterStatus takes back or tells.
enum class Residue : unsigned char {
  none,
  setting,             ///< SET, RESET, set_config
  temporary_object,    ///< temp tables, views, sequences, functions in pg_temp
  listen,              ///< LISTEN, UNLISTEN
  advisory_lock,       ///< session level only
  cursor,              ///< DECLARE … WITH HOLD
  prepared_statement,  ///< PREPARE, DEALLOCATE
  sequence_state,      ///< lastval, currval, setseed
  discard,             ///< DISCARD
  unknown,  ///< DO, CALL, LOAD, replication, commands that we do not know, text that does
            ///< not end properly or is too long: DISCARD ALL may not suffice
};

/// "session setting", "temporary object", … for logs and SHOW CLIENTS; "none" for none.
std::string_view to_string(Residue residue);

/// Looks at the text of a Query or Parse, coarsely: by first keyword of each statement and by
/// telling identifiers anywhere; when in doubt it says that there may be residue. Of several
/// statements the first verdict counts, unknown before all. One pass, no allocation; texts longer
/// than 64 KiB are unknown unread. `backslashes_are_plain`: standard_conforming_strings is on for
/// this client. Lexical rules: PostgreSQL docs 4.1.
///
/// It cannot see what functions do inside. It takes every byte below 0x80 for ASCII: of the client
/// encodings in which that is not so (SJIS, SHIFT_JIS_2004, BIG5, GBK, UHC, GB18030, JOHAB) the
/// caller takes each text for unknown.
Residue may_leave_residue(std::string_view text, bool backslashes_are_plain);

}  // namespace pgproxy::sql
