// Whether what is planned fits into the servers, with all of the arithmetic.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "pgproxy/base/text.hpp"
#include "pgproxy/config/capacity.hpp"

namespace pgproxy::config {

namespace {

std::uint32_t floor_of(double value) {
  // What is whole but for the rounding of its factors is whole.
  return value <= 0 ? 0 : static_cast<std::uint32_t>(std::floor(value + 1e-9));
}

/// One limit, and what is to fit into it.
struct Comparison {
  std::string kind;
  std::string name;
  const CapacitySum& sum;
  std::uint32_t limit = 0;  ///< of which safety_margin may be used
  std::string limit_words;  ///< where it comes from
  std::string remedy;       ///< how to raise it, up to the new value
  std::uint32_t kept = 0;   ///< added to a new limit: what is reserved
  std::uint32_t others = 0;
};

class Judge {
 public:
  Judge(const Settings& settings, const CapacityPlan& plan,
        const std::set<std::string>& running_servers)
      : settings_(settings), plan_(plan), running_servers_(running_servers) {}

  CapacityVerdict make(const std::vector<ServerFacts>& facts) {
    for (const HostPlan& host : plan_.hosts) {
      const auto is_of = [&](const ServerFacts& known) {
        return known.host == host.host && known.port == host.port;
      };
      const auto found = std::ranges::find_if(facts, is_of);
      if (found != facts.end()) judge(host, *found, is_replaced(host, facts));
    }
    add_pools();
    return std::move(verdict_);
  }

 private:
  /// Another server of its entries answers.
  static bool is_replaced(const HostPlan& host, const std::vector<ServerFacts>& facts) {
    return std::ranges::any_of(facts, [&](const ServerFacts& other) {
      const std::string name = server_name(other.host, other.port);
      return !other.error && std::ranges::find(host.alternatives, name) != host.alternatives.end();
    });
  }

  void judge(const HostPlan& host, const ServerFacts& facts, bool may_be_away) {
    const std::string name = host.name();
    may_be_away |= running_servers_.contains(name);
    if (facts.error) return note_unknown(name, *facts.error, may_be_away);
    const std::uint32_t reserved =
        facts.superuser_reserved_connections + facts.reserved_connections;
    CapacityVerdict::Limits& limits = verdict_.limits[name];
    std::string words = fmt::format("(max_connections {} - superuser_reserved_connections {}",
                                    facts.max_connections, facts.superuser_reserved_connections);
    if (facts.reserved_connections > 0) {
      words += fmt::format(" - reserved_connections {}", facts.reserved_connections);
    }
    const std::uint32_t usable =
        facts.max_connections > reserved ? facts.max_connections - reserved : 0;
    limits.connections = compare({.kind = "server",
                                  .name = name,
                                  .sum = host.connections,
                                  .limit = usable,
                                  .limit_words = words + ")",
                                  .remedy = "raise max_connections at the server to ",
                                  .kept = reserved,
                                  .others = host.has_unknown_roles ? 0 : facts.others});
    for (const auto& [role, sum] : host.roles) judge_role(host, role, sum, facts, limits);
    for (const auto& [database, sum] : host.databases) {
      judge_database(host, database, sum, facts, limits);
    }
  }

  void judge_role(const HostPlan& host, const std::string& role, const CapacitySum& sum,
                  const ServerFacts& facts, CapacityVerdict::Limits& limits) {
    const auto found = facts.role_limits.find(role);
    if (found == facts.role_limits.end() || found->second < 0) return;
    limits.roles[role] =
        compare({.kind = "role",
                 .name = fmt::format("{} at {}", role, host.name()),
                 .sum = sum,
                 .limit = static_cast<std::uint32_t>(found->second),
                 .limit_words = fmt::format("connection limit {} of role {}", found->second, role),
                 .remedy = fmt::format("ALTER ROLE {} CONNECTION LIMIT ", role)});
  }

  void judge_database(const HostPlan& host, const std::string& database, const CapacitySum& sum,
                      const ServerFacts& facts, CapacityVerdict::Limits& limits) {
    const auto found = facts.database_limits.find(database);
    if (found == facts.database_limits.end() || found->second < 0) return;
    limits.databases[database] = compare(
        {.kind = "database",
         .name = fmt::format("{} at {}", database, host.name()),
         .sum = sum,
         .limit = static_cast<std::uint32_t>(found->second),
         .limit_words = fmt::format("connection limit {} of database {}", found->second, database),
         .remedy = fmt::format("ALTER DATABASE {} CONNECTION LIMIT ", database)});
  }

  /// Adds its row, and a problem where it does not fit. Returns what one instance may have.
  CapacityVerdict::Limit compare(const Comparison& what) {
    const std::uint32_t planned = what.sum.total();
    const std::uint64_t wanted = std::uint64_t{planned} * settings_.instances;
    const std::uint32_t allowed = floor_of(what.limit * settings_.safety_margin);
    CapacityRow row{.kind = what.kind,
                    .name = what.name,
                    .planned = planned,
                    .instances = settings_.instances,
                    .allowed = allowed,
                    .others = what.others,
                    .state = wanted <= allowed ? "fits" : "too_small",
                    .arithmetic = arithmetic(what, planned, wanted, allowed)};
    const std::uint32_t share = allowed / settings_.instances;
    const std::uint64_t more =
        wanted + std::max<std::uint64_t>(1, planned / 4) * settings_.instances;
    // What is ours beside the pools is no part of their limits.
    const std::uint32_t fixed = fixed_part(what.sum);
    CapacityVerdict::Limit limit{share - std::min(share, fixed), planned - std::min(planned, fixed),
                                 raise(what, more)};
    if (what.sum.terms.empty()) return limit;  // whose pools are not known
    if (wanted > allowed) {
      row.hint = remedy(what, wanted, share);
      verdict_.problems.push_back({.file = {},
                                   .message = fmt::format("{} {} has no room for the pools: {}",
                                                          what.kind, what.name, row.arithmetic),
                                   .hint = row.hint});
    } else if (what.others + wanted > what.limit) {
      row.state = "crowded";
      row.hint = fmt::format(
          "others hold {} connections, {} are left to them: end some of them, or {}{}", what.others,
          what.limit - std::min<std::uint64_t>(what.limit, wanted), what.remedy,
          std::max<std::uint64_t>(what.others + wanted + what.kept, what.limit + what.kept + 1));
    }
    verdict_.rows.push_back(std::move(row));
    return limit;
  }

  /// The server's limit with which `wanted` connections would fit.
  std::string raise(const Comparison& what, std::uint64_t wanted) const {
    const auto needed = static_cast<std::uint64_t>(
        std::ceil(static_cast<double>(wanted) / settings_.safety_margin - 1e-9));
    return what.remedy + std::to_string(needed + what.kept);
  }

  std::string arithmetic(const Comparison& what, std::uint32_t planned, std::uint64_t wanted,
                         std::uint32_t allowed) const {
    std::string text;
    for (const CapacityTerm& term : what.sum.terms) {
      text += fmt::format("{}{} [{}]", text.empty() ? "" : " + ", term.connections, term.what);
    }
    if (what.sum.cap != 0) text = fmt::format("at most {} of ({})", what.sum.cap, text);
    text += fmt::format(" = {}; * {} instance{} = {}; allowed: {} * safety_margin {:g} = {}",
                        planned, settings_.instances, settings_.instances == 1 ? "" : "s", wanted,
                        what.limit_words, settings_.safety_margin, allowed);
    if (what.others > 0) text += fmt::format("; others hold {}", what.others);
    return text;
  }

  /// What would fit: smaller pools, or a larger limit.
  std::string remedy(const Comparison& what, std::uint64_t wanted, std::uint32_t share) const {
    const std::uint32_t planned = what.sum.total();
    std::string text = fmt::format("take {} connections from the pools of each instance",
                                   planned - std::min(planned, share));
    if (const std::size_t pools = pool_terms(what.sum); pools > 0) {
      const std::uint32_t fixed = fixed_part(what.sum);
      text += fmt::format(" (pools of {} with their reserve would fit)",
                          share > fixed ? (share - fixed) / pools : 0);
    }
    return text + ", or " + raise(what, wanted);
  }

  static bool is_pool(const CapacityTerm& term) { return !term.is_own; }
  static std::size_t pool_terms(const CapacitySum& sum) {
    return static_cast<std::size_t>(std::ranges::count_if(sum.terms, is_pool));
  }
  static std::uint32_t fixed_part(const CapacitySum& sum) {
    std::uint32_t fixed = 0;
    for (const CapacityTerm& term : sum.terms) fixed += is_pool(term) ? 0 : term.connections;
    return fixed;
  }

  void note_unknown(const std::string& name, const Error& error, bool may_be_away) {
    verdict_.rows.push_back({.kind = "server",
                             .name = name,
                             .instances = settings_.instances,
                             .state = "unknown",
                             .arithmetic = "it could not be asked: " + error.message,
                             .hint = error.hint});
    if (may_be_away) return;
    verdict_.problems.push_back(
        {.file = {},
         .message =
             fmt::format("server {} could not be asked for its limits: {}", name, error.message),
         .hint =
             error.hint.empty() ? "check = off is for servers that cannot be asked" : error.hint});
  }

  void add_pools() {
    for (const Database& database : settings_.databases) {
      const auto users = pool_users(settings_, database);
      if (!users) add_whole(database);
      for (const std::string& user : users.value_or(std::vector<std::string>())) {
        const PoolSettings pool = effective_settings(settings_, database, user);
        const Need need = needed_connections(settings_, database, user);
        add_pool(database.name + "/" + user, pool.pool_size, need,
                 fmt::format("pool_size {} + reserve {}", pool.pool_size, pool.reserve_pool_size),
                 "pool_size");
      }
    }
  }

  /// An entry whose users are not known: all of its pools together.
  void add_whole(const Database& database) {
    const std::uint32_t limit = database.max_db_connections.value_or(settings_.max_db_connections);
    const Need need = needed_connections(settings_, database, "*");
    add_pool(database.name + "/*", limit == 0 ? need.connections : limit, need,
             fmt::format("max_db_connections {}", limit), "max_db_connections");
  }

  void add_pool(std::string name, std::uint32_t size, const Need& need, std::string_view words,
                std::string_view setting) {
    const bool is_enough = size >= need.connections;
    verdict_.rows.push_back(
        {.kind = "pool",
         .name = std::move(name),
         .planned = size,
         .instances = settings_.instances,
         .allowed = need.connections,
         .state = is_enough ? "fits" : "too_small",
         .arithmetic = fmt::format("needs {}; has {}", need.arithmetic(), words),
         .hint = is_enough ? "" : fmt::format("{} = {}", setting, need.connections)});
  }

  const Settings& settings_;
  const CapacityPlan& plan_;
  const std::set<std::string>& running_servers_;
  CapacityVerdict verdict_;
};

}  // namespace

CapacityVerdict judge_capacity(const Settings& settings, const CapacityPlan& plan,
                               const std::vector<ServerFacts>& facts,
                               const std::set<std::string>& running_servers) {
  return Judge(settings, plan, running_servers).make(facts);
}

}  // namespace pgproxy::config
