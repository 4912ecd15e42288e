#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/config/load.hpp"

namespace pgproxy::config {

/// What import() makes of a configuration of PgBouncer's.
struct Imported {
  std::string text;  ///< a whole pgproxy.ini
  /// What could not be taken over, and what is wrong with the result; each stands in `text`, too,
  /// unless it is about the result as a whole. Empty: pgproxy starts with it.
  std::vector<Problem> problems;
};

/// Reads a pgbouncer.ini with its %include files. Every key keeps its meaning; what PgBouncer would
/// assume for a setting that pgproxy wants to be given is written down. Blocks on file I/O.
Imported import_file(const std::string& path);

/// The same for a text in memory (tests).
Imported import_text(std::string_view text, const std::string& name);

}  // namespace pgproxy::config
