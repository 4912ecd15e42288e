#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pgproxy/config/settings.hpp"

namespace pgproxy::control {

/// server_tls_sslmode has TLS where the server offers it, and does without where it does not.
bool may_be_in_clear(const config::Settings& settings);

/// server_tls_… in libpq's words; where it may_be_in_clear(), those for a server that offers TLS.
std::vector<std::pair<std::string, std::string>> tls_parameters(const config::Settings& settings);

}  // namespace pgproxy::control
