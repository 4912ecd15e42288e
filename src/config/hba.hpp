#pragma once

#include <string_view>
#include <vector>

#include "config/auth_tokens.hpp"
#include "config/report.hpp"

#include "pgproxy/config/hba.hpp"

namespace pgproxy::config {

/// The rules in the lines of a pg_hba.conf, in order. What is wrong, or cannot be checked here, is
/// reported with its line, which then is not in the result.
std::vector<HbaLine> parse_hba(const std::vector<AuthTextLine>& lines, Report& report);

/// The same for a pg_ident.conf.
std::vector<IdentLine> parse_ident(const std::vector<AuthTextLine>& lines, Report& report);

/// A name, the keyword `all` or, after a slash, a regular expression.
Result<HbaName> parse_hba_name(const AuthToken& token);

}  // namespace pgproxy::config
