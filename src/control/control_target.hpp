#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pgproxy/base/text.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"

namespace pgproxy::control {

/// The servers of an entry of [databases]; never empty.
std::vector<std::string> hosts_of(const config::Settings& settings, const config::Database& entry);

/// The connection of control_user to one server, in control_dbname, with keepalives.
Target control_target(const config::Settings& settings, const std::string& host,
                      std::uint16_t port);

/// What control_user met at `server`, as an operator needs it: which connection failed, and in the
/// hint the setting or the line of pg_hba.conf that mends it.
Error explain_control_error(const config::Settings& settings, const std::string& server,
                            const Error& error);
/// Likewise in another database than control_dbname.
Error explain_control_error(const config::Settings& settings, const std::string& server,
                            const std::string& dbname, const Error& error);

/// The literal of a text[] with these elements.
std::string text_array(const std::vector<std::string>& elements);

}  // namespace pgproxy::control
