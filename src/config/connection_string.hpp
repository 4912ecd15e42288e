#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/result.hpp"

namespace pgproxy::config {

struct KeyValue {
  std::string key;
  std::string value;
};

/// Splits `key=value key = 'quoted ''value'''` as PgBouncer does: blanks around = are allowed,
/// empty values are not. Error without SQLSTATE; its message shows keys, never values.
Result<std::vector<KeyValue>> parse_connection_string(std::string_view text);

}  // namespace pgproxy::config
