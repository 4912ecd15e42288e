#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "pgproxy/base/result.hpp"

namespace pgproxy::config {

/// A regular expression as the C library's regcomp() takes it with REG_EXTENDED.
struct TranslatedPattern {
  std::string text;
  std::size_t group = 0;  ///< number of the first group that captures in the original; 0: none
  bool is_group_repeated = false;  ///< it, or one around it, has a quantifier
};

/// From PostgreSQL's syntax; see Pattern. Also bounds what compiling and matching may cost.
Result<TranslatedPattern> translate_pattern(std::string_view text);

}  // namespace pgproxy::config
