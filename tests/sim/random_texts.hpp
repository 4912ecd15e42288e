#pragma once

#include <string>

#include "random.hpp"

namespace pgproxy::sim {

/// Statements of client `client` that change what its session holds, or ask for it, with `tag` in
/// them. They may fail, as PostgreSQL has it; sim::Session knows.

/// SET, RESET, set_config and what tells of settings.
std::string random_setting_text(Random& random, const std::string& tag);
/// Temporary tables, channels, cursors, prepared statements, advisory locks, sequences.
std::string random_object_text(Random& random, unsigned client, const std::string& tag);
/// What names the client's prepared statements by SQL.
std::string random_name_text(Random& random, const std::string& tag);
/// Functions of users and DO.
std::string random_code_text(Random& random, unsigned client, const std::string& tag);

}  // namespace pgproxy::sim
