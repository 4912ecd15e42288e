#pragma once

#include <string>

#include "pgproxy/base/result.hpp"

namespace pgproxy::config {

/// The whole of a file. Error without SQLSTATE: message alone, e.g. `cannot read "x": No such file
/// or directory`. Refuses what is larger than any configuration, so that a wrong path (/dev/zero)
/// ends.
Result<std::string> read_file(const std::string& path);

}  // namespace pgproxy::config
