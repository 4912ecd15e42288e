#pragma once

#include <cstdint>
#include <string>

#include "session/client_session.hpp"
#include "session/sql_names.hpp"

namespace pgproxy::session {

/// A Query whose SQL names prepared statements, from when it is read until it is answered; or what
/// was bound of such SQL.
struct ClientSession::NamingQuery {
  enum class Phase : std::uint8_t {
    preparing,  ///< the server gets the client's statements under their own names; the Query waits
    ready,      ///< it has them
    bound,      ///< to be executed: then it counts as sent
    sent,
  };
  SqlNamesFound found;
  Phase phase = Phase::sent;
  std::uint32_t number = 0;   ///< of the Query or Execute, once sent
  bool tells_errors = false;  ///< an error while preparing is the answer to the Query
  bool has_failed = false;
  bool is_removed = false;  ///< from the client's statements, unless an error takes that back

  bool only_deallocates() const {
    return found.what == SqlNames::deallocate || found.what == SqlNames::deallocate_all;
  }
};

}  // namespace pgproxy::session
