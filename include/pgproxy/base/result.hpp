#pragma once

#include <expected>
#include <string>

namespace pgproxy {

/// What went wrong, in the form in which both the client and the log get it
/// (PostgreSQL docs 55.8, "Error and Notice Message Fields").
struct Error {
  std::string sqlstate;  ///< five characters, e.g. "53300"; empty outside the protocol
  std::string message;
  std::string detail = {};   ///< optional
  std::string hint = {};     ///< what to change: the setting and a value; optional
  std::string routine = {};  ///< of PostgreSQL, where drivers look at it; optional
};

/// Either a value or an Error; for expected failures off the hot path.
template <class T>
using Result = std::expected<T, Error>;

}  // namespace pgproxy
