#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/load.hpp"
#include "pgproxy/config/settings.hpp"

namespace pgproxy::config {

/// Who of auth_file may have pools: not who is known for the console, or to ask servers.
std::vector<std::string> users_with_secrets(const Settings& settings);
/// Others than those of auth_file may log in.
bool has_unknown_users(const Settings& settings, const Database& database);
/// The users whose pools an entry may have: the forced one, or those of [users] where these are all
/// that can log in. nullopt: that is not known from the configuration.
std::optional<std::vector<std::string>> pool_users(const Settings& settings,
                                                   const Database& database);

/// Little's law: connections = expected_rps * mean_transaction_ms / 1000 / target_utilization.
struct Need {
  double rps = 0;  ///< the pool's share of the entry's
  double mean_ms = 0;
  double utilization = 1;
  std::uint32_t connections = 1;  ///< at least one
  /// "100 transactions/s * 20 ms / 1000 / 0.7 = 2.86, rounded up: 3".
  std::string arithmetic() const;
};
/// What the pool of `user` needs for its share of the load that is expected of its entry; a user
/// whose share is not known has all of it.
Need needed_connections(const Settings& settings, const Database& database, std::string_view user);

/// Some of the connections that a server has to have room for.
struct CapacityTerm {
  std::string what;  ///< "app/web: pool_size 20 + reserve 5 (pgproxy.ini:4)"
  std::uint32_t connections = 0;
  bool is_own = false;  ///< of pgproxy itself, and no pool's
};

/// What one server, one of its roles or one of its databases has to have room for. For one
/// instance.
struct CapacitySum {
  std::vector<CapacityTerm> terms;
  std::uint32_t cap = 0;  ///< max_host_connections and the like; 0: none
  std::uint32_t total() const;
};

/// What the configuration asks of one server.
struct HostPlan {
  std::string host;  ///< as in [databases], or unix_socket_dir
  std::uint16_t port = 0;
  CapacitySum connections;
  /// All that the configuration knows; of those whose pools are not known the sum is empty.
  std::map<std::string, CapacitySum> roles;
  std::map<std::string, CapacitySum> databases;  ///< by their names on the server
  /// Names of the other servers of its entries: where one of them answers, this one may be away.
  std::vector<std::string> alternatives;
  bool has_unknown_roles = false;  ///< whose connections cannot be told from those of others
  std::string name() const;        ///< "host:port"
};

struct CapacityPlan {
  std::vector<HostPlan> hosts;
  /// What is wrong before any server is asked: sizes below the need, entries without a bound.
  std::vector<Problem> problems;
};
CapacityPlan plan_capacity(const Settings& settings);

/// What a server says of itself.
struct ServerFacts {
  std::string host;
  std::uint16_t port = 0;
  /// It could not be asked. Nothing else is known then, or, to a role that may not see the
  /// connections of others, all but these (max_connections is not 0).
  std::optional<Error> error;
  bool is_standby = false;
  std::uint32_t max_connections = 0;
  std::uint32_t superuser_reserved_connections = 0;
  std::uint32_t reserved_connections = 0;  ///< PostgreSQL 16 and later
  std::uint32_t others = 0;                ///< connections of roles that no pool logs in as
  /// Connection limits by name; -1: none. Names that are missing do not exist there.
  std::map<std::string, std::int32_t> role_limits;
  std::map<std::string, std::int32_t> database_limits;
};

/// Whether the plan fits.
struct CapacityVerdict {
  std::vector<CapacityRow> rows;  ///< servers, their roles and databases, then pools
  /// With `check = enforce` pgproxy does not start with one of these.
  std::vector<Problem> problems;
  /// What this instance may have on each server, by name ("host:port"), role and database: its part
  /// of what is allowed, control connections taken off. Only what was asked and has a limit.
  struct Limit {
    std::uint32_t connections = 0;  ///< that this instance may have
    std::uint32_t planned = 0;      ///< that its configuration plans for
    std::string hint = {};          ///< how to have a quarter more than planned
  };
  struct Limits {
    Limit connections;
    std::map<std::string, Limit> roles;
    std::map<std::string, Limit> databases;
  };
  std::map<std::string, Limits> limits;
};
/// `running_servers` ("host:port"): their pools are at work; one that cannot be asked is no
/// problem.
CapacityVerdict judge_capacity(const Settings& settings, const CapacityPlan& plan,
                               const std::vector<ServerFacts>& facts,
                               const std::set<std::string>& running_servers = {});

}  // namespace pgproxy::config
