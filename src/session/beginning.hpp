#pragma once

#include <string_view>

#include "session/client_session.hpp"

namespace pgproxy::session {

/// The statement that a transaction begins with.
struct ClientSession::Beginning {
  sql::Shape* shape = nullptr;  ///< nullptr: not known
  std::string_view text = {};
  bool is_alone = false;  ///< and ends with, unless it opens a block
};

}  // namespace pgproxy::session
