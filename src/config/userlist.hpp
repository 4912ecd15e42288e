#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "config/report.hpp"

namespace pgproxy::config {

using Secrets = std::map<std::string, std::string, std::less<>>;

/// Reads an auth_file: `"user" "secret"` lines, in which "" stands for a quote; ; and # start a
/// comment. What follows the secret, a validity date in old files, is left out if it is quoted too.
/// Problems name file and line, and no secret.
Secrets parse_userlist(std::string_view text, const std::string& name, Report& report);

}  // namespace pgproxy::config
