#include "pgproxy/sql/facts.hpp"

#include <utility>

namespace pgproxy::sql {

std::string_view to_string(Residue residue) {
  switch (residue) {
    case Residue::setting: return "session setting";
    case Residue::any_setting: return "session settings of unknown names";
    case Residue::temporary_object: return "temporary object";
    case Residue::listen: return "LISTEN";
    case Residue::advisory_lock: return "advisory lock";
    case Residue::cursor: return "cursor WITH HOLD";
    case Residue::prepared_statement: return "prepared statement";
    case Residue::sequence_state: return "sequence state";
    case Residue::hidden: return "state that no query shows";
    case Residue::code: return "code that is not seen";
  }
  std::unreachable();
}

}  // namespace pgproxy::sql
