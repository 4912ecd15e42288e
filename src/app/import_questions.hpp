#pragma once

#include "pgproxy/config/import.hpp"

namespace pgproxy::app {

/// Asks the servers of an imported configuration with the logins that it has itself, one after the
/// other until one is found to which all servers answer; a server that cannot be reached is tried
/// once. Takes server_connect_timeout for each login at most. For --import.
config::ImportAnswers ask_for_import(const config::Settings& draft);

}  // namespace pgproxy::app
