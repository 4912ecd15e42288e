#include "pgproxy/config/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include "config/text.hpp"

namespace pgproxy::config {

namespace {

const User& line_of(const Settings& settings, std::string_view user) {
  static const User none;
  const User* found = settings.find_user(user);
  return found != nullptr ? *found : none;
}

/// Who is known for the console, or to ask servers, and not as a user of databases.
bool is_operator(const Settings& settings, const std::string& user) {
  const auto is_among = [&](const std::vector<std::string>& names) {
    return std::ranges::find(names, user) != names.end();
  };
  const bool is_listed = settings.find_user(user) != nullptr;
  return !is_listed && (user == settings.control_user || is_among(settings.admin_users) ||
                        is_among(settings.stats_users));
}

/// Nobody else can log in: everyone who is known has a line in [users].
bool names_all_users(const Settings& settings, const Database& database) {
  return !has_unknown_users(settings, database) &&
         std::ranges::all_of(users_with_secrets(settings), [&](const std::string& user) {
           return settings.find_user(user) != nullptr;
         });
}

/// The part of an entry's load that is this user's.
double share_of(const Settings& settings, const Database& database, std::string_view user) {
  const auto users = pool_users(settings, database);
  if (!users || std::ranges::find(*users, user) == users->end()) return 1;
  double sum = 0;
  for (const std::string& other : *users) sum += line_of(settings, other).weight;
  return line_of(settings, user).weight / sum;
}

}  // namespace

std::vector<std::string> users_with_secrets(const Settings& settings) {
  std::vector<std::string> users;
  for (const auto& [name, secret] : settings.secrets) {
    if (!is_operator(settings, name)) users.push_back(name);
  }
  return users;
}

bool has_unknown_users(const Settings& settings, const Database& database) {
  const bool asks_for_more = !settings.auth_user.empty() || !database.auth_user.empty() ||
                             settings.auth_type == AuthType::any;
  return database.user.empty() && asks_for_more;
}

std::optional<std::vector<std::string>> pool_users(const Settings& settings,
                                                   const Database& database) {
  if (!database.user.empty()) return std::vector{database.user};
  std::vector<std::string> users = users_with_secrets(settings);
  if (users.empty() || !names_all_users(settings, database)) return std::nullopt;
  return users;
}

std::string Need::arithmetic() const {
  const double exact = rps * mean_ms / 1000 / utilization;
  return fmt::format("{:g} transactions/s * {:g} ms / 1000 / {:g} = {:.4g}, rounded up: {}", rps,
                     mean_ms, utilization, exact, connections);
}

Need needed_connections(const Settings& settings, const Database& database, std::string_view user) {
  Need need{.rps = database.expected_rps.value_or(settings.expected_rps) *
                   share_of(settings, database, user),
            .mean_ms = database.mean_transaction_ms.value_or(settings.mean_transaction_ms),
            .utilization = settings.target_utilization};
  // What is whole but for the rounding of its factors is whole.
  const double exact = need.rps * need.mean_ms / 1000 / need.utilization;
  need.connections = static_cast<std::uint32_t>(std::clamp(std::ceil(exact - 1e-9), 1.0, 1e6));
  return need;
}

std::uint32_t CapacitySum::total() const {
  std::uint64_t sum = 0;
  for (const CapacityTerm& term : terms) sum += term.connections;
  if (cap != 0) sum = std::min<std::uint64_t>(sum, cap);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, 1'000'000'000));
}

std::string HostPlan::name() const {
  return server_name(host, port);
}

namespace {

/// Adds up what the configuration asks of its servers.
class Planner {
 public:
  explicit Planner(const Settings& settings) : settings_(settings) {}

  CapacityPlan make() {
    for (const Database& database : settings_.databases) add_entry(database);
    if (settings_.auto_database) add_entry(*settings_.auto_database);
    for (HostPlan& host : plan_.hosts) {
      add_control(host);
      add_known_roles(host);
      host.connections.cap = settings_.max_host_connections;
      for (auto& [role, sum] : host.roles) sum.cap = cap_of_role(role);
    }
    return std::move(plan_);
  }

 private:
  std::uint32_t cap_of_role(std::string_view role) const {
    return line_of(settings_, role).max_user_connections.value_or(settings_.max_user_connections);
  }

  HostPlan& host(const std::string& name, std::uint16_t port) {
    for (HostPlan& known : plan_.hosts) {
      if (known.host == name && known.port == port) return known;
    }
    return plan_.hosts.emplace_back(HostPlan{.host = name, .port = port});
  }

  void problem(const std::string& place, std::string message, std::string hint) {
    const std::size_t colon = place.rfind(':');
    Problem problem{.message = std::move(message), .hint = std::move(hint)};
    problem.file = place.substr(0, colon);
    if (colon != std::string::npos) problem.line = std::atoi(place.c_str() + colon + 1);
    plan_.problems.push_back(std::move(problem));
  }

  /// Where the size of a pool is given.
  std::string place_of_size(const Database& database, std::string_view user) const {
    if (line_of(settings_, user).pool_size) return line_of(settings_, user).place;
    if (database.pool_size) return database.place;
    const auto place = settings_.places.find("default_pool_size");
    return place != settings_.places.end() ? place->second : "default";
  }

  std::string_view name_of_size(const Database& database, std::string_view user) const {
    return line_of(settings_, user).pool_size || database.pool_size ? "pool_size"
                                                                    : "default_pool_size";
  }

  CapacityTerm pool_term(const Database& database, const std::string& user) {
    const PoolSettings pool = effective_settings(settings_, database, user);
    const Need need = needed_connections(settings_, database, user);
    const std::string place = place_of_size(database, user);
    const std::string name = fmt::format("{}/{}", database.name, user);
    if (pool.pool_size < need.connections) {
      problem(place,
              fmt::format("pool {}: {} = {} is less than its load needs: {}", name,
                          name_of_size(database, user), pool.pool_size, need.arithmetic()),
              fmt::format("{} = {} or auto; or correct expected_rps and mean_transaction_ms, "
                          "which may stand in the entry",
                          name_of_size(database, user), need.connections));
    }
    std::string what = fmt::format("{}: pool_size {}", name, pool.pool_size);
    if (pool.reserve_pool_size > 0) what += fmt::format(" + reserve {}", pool.reserve_pool_size);
    const std::uint32_t most = pool.pool_size + pool.reserve_pool_size;
    // A server is either the primary or a standby.
    const std::uint32_t replica = routing_settings(settings_, database, user).replica_pool_size;
    if (replica > most) {
      return {fmt::format("{}: replica_pool_size {} ({})", name, replica, database.place), replica};
    }
    return {what + fmt::format(" ({})", place), most};
  }

  void add_entry(const Database& database) {
    const bool is_auto = settings_.auto_database && &database == &*settings_.auto_database;
    const auto users = pool_users(settings_, database);
    const std::uint32_t limit = database.max_db_connections.value_or(settings_.max_db_connections);
    std::vector<std::pair<std::string, CapacityTerm>> pools;
    if (users) {
      for (const std::string& user : *users) pools.emplace_back(user, pool_term(database, user));
    }
    const CapacityTerm whole{
        fmt::format("{}: max_db_connections {} ({})", database.name, limit, database.place), limit};
    std::uint64_t sum = 0;
    for (const auto& [user, term] : pools) sum += term.connections;
    const bool is_bounded = limit != 0 && (!users || sum > limit);
    if (!users && !is_auto) check_unknown_users(database, limit);
    if (is_auto) check_auto_database(database, limit);
    std::vector<std::string> names = database.hosts;
    if (names.empty()) names = {settings_.unix_socket_dir};
    for (const std::string& name : names) {
      HostPlan& at = host(name, database.port);
      CapacitySum& total = at.connections;
      CapacitySum* of_database = is_auto ? nullptr : &at.databases[database.server_dbname()];
      const auto add = [&](const CapacityTerm& term) {
        total.terms.push_back(term);
        if (of_database != nullptr) of_database->terms.push_back(term);
      };
      if (is_auto && settings_.max_host_connections != 0) {
        // However many databases there are: the host's cap is all of it.
        total.terms.push_back({fmt::format("*: max_host_connections {} ({})",
                                           settings_.max_host_connections, database.place),
                               settings_.max_host_connections});
      } else if (is_bounded) {
        add(whole);
      } else {
        for (const auto& [user, term] : pools) add(term);
      }
      for (const auto& [user, term] : pools) at.roles[user].terms.push_back(term);
      at.has_unknown_roles |= has_unknown_users(settings_, database);
      for (const std::string& other : names) {
        if (other != name) at.alternatives.push_back(server_name(other, database.port));
      }
    }
  }

  void add_known_roles(HostPlan& host) const {
    for (const auto& [name, secret] : settings_.secrets) host.roles[name];
    for (const User& user : settings_.users) host.roles[user.name];
    if (!settings_.auth_user.empty()) host.roles[settings_.auth_user];
    for (const Database& database : settings_.databases) {
      if (!database.auth_user.empty()) host.roles[database.auth_user];
    }
  }

  void check_unknown_users(const Database& database, std::uint32_t limit) {
    const PoolSettings pool = effective_settings(settings_, database, "");
    if (limit == 0) {
      return problem(
          database.place,
          fmt::format("database {}: max_db_connections must be given: which users it has is not "
                      "known, so the sum of its pools is not either",
                      in_quotes(database.name)),
          fmt::format("max_db_connections = {} is one pool with its reserve; or user=..., or a "
                      "line in [users] for each user of auth_file",
                      pool.pool_size + pool.reserve_pool_size));
    }
    const Need need = needed_connections(settings_, database, "");
    if (limit >= need.connections) return;
    problem(database.place,
            fmt::format("database {}: max_db_connections = {} is less than its load needs: {}",
                        in_quotes(database.name), limit, need.arithmetic()),
            fmt::format("max_db_connections = {}, or correct expected_rps and mean_transaction_ms",
                        need.connections));
  }

  void check_auto_database(const Database& database, std::uint32_t limit) {
    const PoolSettings pool = effective_settings(settings_, database, "");
    const std::uint32_t one = pool.pool_size + pool.reserve_pool_size;
    if (limit == 0) {
      problem(database.place,
              "database \"*\": max_db_connections must be given, for each of the databases that "
              "it stands for",
              fmt::format("max_db_connections = {} is one pool with its reserve", one));
    }
    if (settings_.max_host_connections != 0) return;
    problem(database.place,
            "database \"*\": max_host_connections must be given in [pgproxy]: how many databases "
            "it stands for is not known",
            fmt::format("max_host_connections = {} is five such pools", 5 * one));
  }

  /// What asks a server besides the pools.
  void add_control(HostPlan& host) {
    const auto add = [&](std::string what) {
      host.connections.terms.push_back({std::move(what), 1, true});
    };
    const auto add_own = [&](const std::string& what) {
      add(what);
      if (settings_.control_user.empty()) return;
      host.roles[settings_.control_user].terms.push_back({what, 1, true});
      host.databases[settings_.control_dbname].terms.push_back({what, 1, true});
    };
    if (settings_.check_interval > Duration::zero()) add_own("control: health checks");
    if (settings_.check != CapacityCheck::off) add_own("control: capacity");
    if (settings_.coordination == Coordination::advisory_lock) add_own("control: coordination");
    const auto is_routed_here = [&](const Database& entry) {
      return is_routed(settings_, entry) && entry.port == host.port &&
             std::ranges::find(entry.hosts, host.host) != entry.hosts.end();
    };
    if (std::ranges::any_of(settings_.databases, is_routed_here) ||
        (settings_.auto_database && is_routed_here(*settings_.auto_database))) {
      add_own("control: roles and positions");
    }
    add_catalog(host, is_routed_here);
    for (const Database& database : settings_.databases) {
      if (is_asked_for_users(database, host)) add("control: auth_query at " + database.name);
    }
  }

  /// One database is asked after the other.
  template <class IsHere>
  void add_catalog(HostPlan& host, IsHere is_here) {
    const CapacityTerm one{"control: catalog", 1, true};
    const auto is_asked = [&](const Database& entry) {
      return is_here(entry) && routing_settings(settings_, entry, "").routing == Routing::selects;
    };
    std::set<std::string> names;
    for (const Database& entry : settings_.databases) {
      if (is_asked(entry)) names.insert(entry.server_dbname());
    }
    for (const std::string& name : names) host.databases[name].terms.push_back(one);
    const bool is_auto = settings_.auto_database && is_asked(*settings_.auto_database);
    if (names.empty() && !is_auto) return;
    host.connections.terms.push_back(one);
    host.roles[settings_.control_user].terms.push_back(one);
  }

  bool is_asked_for_users(const Database& entry, const HostPlan& host) const {
    const auto is_here = [&](const std::string& name) { return name == host.host; };
    const bool is_of_host = entry.port == host.port &&
                            (entry.hosts.empty() ? is_here(settings_.unix_socket_dir)
                                                 : std::ranges::any_of(entry.hosts, is_here));
    if (!is_of_host) return false;
    const auto asks_here = [&](const Database& asking) {
      const std::string& user = asking.auth_user.empty() ? settings_.auth_user : asking.auth_user;
      const std::string& own =
          asking.auth_dbname.empty() ? settings_.auth_dbname : asking.auth_dbname;
      return !user.empty() && (own.empty() ? &asking == &entry : own == entry.name);
    };
    return std::ranges::any_of(settings_.databases, asks_here);
  }

  const Settings& settings_;
  CapacityPlan plan_;
};

}  // namespace

CapacityPlan plan_capacity(const Settings& settings) {
  return Planner(settings).make();
}

}  // namespace pgproxy::config
