#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "admin/result_set.hpp"

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/load.hpp"

namespace pgproxy::admin {

/// Who may give a command: everybody who may log in to the console, or only admin_users.
enum class Access : std::uint8_t { stats, admin };

/// A SHOW command and how its answer is made.
struct Show {
  std::string_view name;  ///< lower case
  Access access;
  std::string_view help;  ///< a line
  ResultSet (*answer)(const StatusSource& source, const config::Loaded& loaded);
};

/// All that we have, in the order of SHOW HELP.
std::span<const Show> shows();

/// A command that is no SHOW, for SHOW HELP.
struct CommandHelp {
  std::string_view usage;
  Access access;
  std::string_view help;
};
std::span<const CommandHelp> other_commands();

// SHOW HELP (help.cpp).
ResultSet show_help(const StatusSource& source, const config::Loaded& loaded);
/// The same for a notice: PgBouncer's way of it.
std::string help_text();

// Connections (sockets.cpp).
ResultSet show_clients(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_servers(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_sockets(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_active_sockets(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_fds(const StatusSource& source, const config::Loaded& loaded);

// Databases, users and the process (objects.cpp).
ResultSet show_databases(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_users(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_mem(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_state(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_dns_hosts(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_dns_zones(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_peers(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_peer_pools(const StatusSource& source, const config::Loaded& loaded);

// What clients suffer from (troubles.cpp).
ResultSet show_waits(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_errors(const StatusSource& source, const config::Loaded& loaded);

// Servers, and which of them transactions go to (clusters.cpp).
ResultSet show_hosts(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_routing(const StatusSource& source, const config::Loaded& loaded);
ResultSet explain_route(const StatusSource& source, std::string_view sql);

// SHOW STATS and its relatives (stats.cpp).
ResultSet show_stats(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_stats_totals(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_stats_averages(const StatusSource& source, const config::Loaded& loaded);
ResultSet show_totals(const StatusSource& source, const config::Loaded& loaded);

}  // namespace pgproxy::admin
