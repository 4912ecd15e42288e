#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pgproxy/config/settings.hpp"

namespace pgproxy::control {

/// server_tls_… in libpq's words.
std::vector<std::pair<std::string, std::string>> tls_parameters(const config::Settings& settings);

}  // namespace pgproxy::control
