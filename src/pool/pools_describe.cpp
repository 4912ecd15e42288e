// What the pools tell people of databases, users and memory.
#include <algorithm>
#include <iterator>

#include "pgproxy/base/log.hpp"
#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {
namespace {

std::optional<std::string> unless_empty(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

template <class Entries>
MemoryRow memory_of(std::string_view name, const Entries& entries, std::size_t size) {
  return {.name = std::string(name),
          .size = size,
          .used = entries.size(),
          .free = 0,
          .total = entries.size() * size};
}

}  // namespace

std::string_view to_string(config::PoolMode mode) {
  switch (mode) {
    case config::PoolMode::session: return "session";
    case config::PoolMode::transaction: return "transaction";
    case config::PoolMode::statement: return "statement";
  }
  std::unreachable();
}

std::optional<std::string> load_balancing(const config::Database& database) {
  if (database.hosts.size() < 2) return std::nullopt;
  return database.load_balance_hosts == config::LoadBalanceHosts::round_robin ? "round-robin"
                                                                              : "disable";
}

std::vector<DatabaseRow> Pools::describe_databases() const {
  const config::Settings& settings = context_.settings;
  const std::scoped_lock guard(lock_);
  std::vector<DatabaseRow> rows;
  for (const auto& [name, database] : databases_) {
    const config::Database& entry = database->config;
    const config::PoolSettings pool = config::effective_settings(settings, entry, entry.user);
    DatabaseRow row{.name = name,
                    .port = entry.port,
                    .database = entry.dbname.empty() ? name : entry.dbname,
                    .force_user = unless_empty(entry.user),
                    .pool_size = pool.pool_size,
                    .min_pool_size = pool.min_pool_size,
                    .reserve_pool_size = pool.reserve_pool_size,
                    .server_lifetime = pool.server_lifetime,
                    .load_balance_hosts = load_balancing(entry),
                    .max_connections = pool.max_db_connections,
                    .current_connections = database->server_budget.used,
                    .max_client_connections = entry.max_db_client_connections.value_or(
                        settings.max_db_client_connections),
                    .current_client_connections = database->client_count,
                    .is_paused = database->is_paused,
                    .is_disabled = database->is_disabled};
    if (!entry.hosts.empty()) row.host = fmt::to_string(fmt::join(entry.hosts, ","));
    if (entry.pool_mode) row.pool_mode = to_string(*entry.pool_mode);
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Those of auth_file and [users], and whoever has logged in.
std::vector<UserRow> Pools::describe_users() const {
  const config::Settings& settings = context_.settings;
  std::set<std::string, std::less<>> names;
  for (const auto& [name, secret] : settings.secrets) names.insert(name);
  for (const config::User& user : settings.users) names.insert(user.name);
  for (const auto& [name, user] : users_) names.insert(name);
  const std::scoped_lock guard(lock_);
  std::vector<UserRow> rows;
  for (const std::string& name : names) {
    const config::User* found = settings.find_user(name);
    const config::User user = found != nullptr ? *found : config::User{};
    UserRow row{
        .name = name,
        .pool_size = user.pool_size,
        .reserve_pool_size = user.reserve_pool_size,
        .max_user_connections = user.max_user_connections.value_or(settings.max_user_connections),
        .max_user_client_connections =
            user.max_user_client_connections.value_or(settings.max_user_client_connections)};
    if (user.pool_mode) row.pool_mode = to_string(*user.pool_mode);
    if (const auto entry = users_.find(name); entry != users_.end()) {
      row.current_connections = entry->second->server_budget.used;
      row.current_client_connections = entry->second->client_count;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

void Pools::describe_memory(std::vector<MemoryRow>& rows) const {
  std::uint64_t servers = 0;
  for (const auto& [key, pool] : pools_) servers += pool->server_count();
  rows.push_back(memory_of("user_cache", users_, sizeof(UserEntry)));
  rows.push_back(memory_of("db_cache", databases_, sizeof(DatabaseEntry)));
  rows.push_back(memory_of("pool_cache", pools_, sizeof(Pool)));
  rows.push_back({.name = "server_cache",
                  .size = sizeof(ServerConnection),
                  .used = servers,
                  .free = 0,
                  .total = servers * sizeof(ServerConnection)});
}

/// What keeps those who queue from getting a server connection.
WaitReason Pool::wait_reason() const {
  if (hold_ == Hold::paused) return {"paused", "RESUME ends it"};
  if (hold_ == Hold::suspended) return {"suspended", "RESUME ends it"};
  if (pools_.is_growth_held()) {
    return {"instances", "other instances have taken this one's place (coordination)"};
  }
  if (!find_host()) {
    const ServerHost& host = host_at(next_host_);
    return {"recovering server", fmt::format("{} is {}", host.name(), host.describe().state)};
  }
  const Obstacle found = obstacle();
  if (waiting_count_ > logins_ && found.limit != CapacityLimit::none) {
    if (found.at_server != nullptr) return {"capacity limit", found.at_server->name};
    switch (found.limit) {
      case CapacityLimit::database: return {"capacity limit", "max_db_connections"};
      case CapacityLimit::user: return {"capacity limit", "max_user_connections"};
      default: return {"capacity limit", "pool_size"};
    }
  }
  if (login_error_) return {"connection", "the last login failed: " + login_error_->message};
  return {"connection", "one is being opened"};
}

}  // namespace pgproxy::pool
