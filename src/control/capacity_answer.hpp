#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/config/capacity.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"

namespace pgproxy::control {

/// What is asked of one server.
struct CapacityQuestion {
  std::string host;
  std::uint16_t port = 0;
  std::vector<std::string> roles;
  std::vector<std::string> databases;

  /// For capacity_sql.
  std::vector<std::string> parameters(const std::string& control_user) const;
};

/// One statement: a row of three for each fact: what, of whom, its value. Parameters: the roles and
/// the databases to tell of, and control_user. No setting of a role's can change its meaning.
extern const std::string_view capacity_sql;

/// What a server's answer says; what was met instead, with a hint, in ServerFacts::error.
config::ServerFacts read_capacity_answer(const config::Settings& settings,
                                         const CapacityQuestion& question, const Answer& answer);

}  // namespace pgproxy::control
