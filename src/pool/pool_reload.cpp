// What becomes of pools when the configuration is another one.
#include <algorithm>
#include <utility>

#include "pgproxy/config/reload.hpp"
#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {
namespace {

/// A client waits no longer than either setting allows; zero is off.
Duration wait_limit(const config::PoolSettings& settings) {
  if (settings.query_wait_timeout == Duration::zero()) return settings.query_timeout;
  if (settings.query_timeout == Duration::zero()) return settings.query_wait_timeout;
  return std::min(settings.query_wait_timeout, settings.query_timeout);
}

Error leave(std::string message, std::string hint) {
  return {.sqlstate = "57P01",
          .message = "terminating connection: " + std::move(message),
          .hint = std::move(hint)};
}

/// What clients have been promised cannot be kept any more.
bool needs_new_clients(const config::PoolSettings& before, const config::PoolSettings& after) {
  return before.pool_mode != after.pool_mode;
}

}  // namespace

Budget Pools::budget_of(const config::Database& database) const {
  return Budget{database.max_db_connections.value_or(context_.settings.max_db_connections)};
}

Budget Pools::budget_of_user(std::string_view name) const {
  const config::User* configured = context_.settings.find_user(name);
  return Budget{configured != nullptr && configured->max_user_connections
                    ? *configured->max_user_connections
                    : context_.settings.max_user_connections};
}

void Pool::look_up_queues() {
  const config::Settings& all = global();
  idle_timeout_queue_ = &timeout_queue(all.server_idle_timeout);
  query_timeout_queue_ = &timeout_queue(settings_.query_timeout);
  idle_transaction_queue_ = &timeout_queue(settings_.idle_transaction_timeout);
  transaction_queue_ = &timeout_queue(settings_.transaction_timeout);
  client_idle_queue_ = &timeout_queue(settings_.client_idle_timeout);
  wait_queue_ = &timeout_queue(wait_limit(settings_));
  leak_warning_queue_ = leaked_queue_ = nullptr;
  const Duration leak = all.leak_warning;
  const Duration limit = settings_.idle_transaction_timeout;
  if (leak == Duration::zero() || (limit > Duration::zero() && limit <= leak)) return;
  leak_warning_queue_ = &timeout_queue(leak);
  leaked_queue_ = &timeout_queue(limit > Duration::zero() ? limit - leak : Duration::zero());
}

void Pool::look_up_hosts() {
  hosts_.clear();
  next_host_ = 0;
  const auto add = [this](ServerHost& host) {
    hosts_.push_back({.host = host,
                      .role = host.limits().role(user_.name),
                      .database = host.limits().database(server_database())});
  };
  if (replica_ != nullptr) {
    kind_ = PoolKind::replica;
    add(*replica_);
    return update_serving();
  }
  const bool is_routed = config::is_routed(global(), database_.config);
  kind_ = is_routed ? PoolKind::primary : PoolKind::any;
  const std::vector<std::string> local = {global().unix_socket_dir};
  for (const std::string& name : database_.config.hosts.empty() ? local : database_.config.hosts) {
    add(pools_.host({.host = name, .port = database_.config.port}));
  }
  update_serving();
}

void Pool::reload(const config::PoolSettings& settings, bool reconnects) {
  const TimeoutQueue* idle_queue = idle_timeout_queue_;
  settings_ = settings;
  look_up_queues();
  if (idle_timeout_queue_ != idle_queue) {
    for (ServerConnection& server : idle_) server.restart_idle_timeout();
  }
  capacity_.resize(settings.pool_size, settings.reserve_pool_size);
  forget_login_error();  // another password may be what mends it
  const bool is_routed = config::is_routed(global(), database_.config);
  if (reconnects || (replica_ == nullptr && is_routed != (kind_ == PoolKind::primary))) {
    look_up_hosts();
    wants_verification_ = true;
    reconnect();
  }
  trim();
  if (hold_ == Hold::none) grow();
}

/// Idle connections beyond a limit go now, busy ones when they come back: nobody else would make
/// room for those who wait.
void Pool::trim() {
  const auto last_in_excess = [this] {
    ServerConnection* last = nullptr;
    for (ServerConnection& server : idle_) {
      if (server.is_in_excess()) last = &server;
    }
    return last;
  };
  while (ServerConnection* server = last_in_excess()) close(*server, "a limit was lowered");
  is_trimming_ =
      std::ranges::any_of(servers_, [](const auto& entry) { return entry.second->is_in_excess(); });
}

void Pool::retire(Error reason) {
  retired_because_ = std::move(reason);
  settings_.min_pool_size = 0;
  reconnect();
}

bool Pool::is_over() const {
  return is_retired() && client_count == 0 && servers_.empty() && waiters_.empty();
}

/// Its clients are the sessions' to send away.
void Pools::retire(std::unique_ptr<Pool> pool, Error reason) {
  pool->retire(std::move(reason));
  retired_.push_back(std::move(pool));
}

/// Entries stay: commands that wait may name them.
void Pools::retire(std::unique_ptr<DatabaseEntry> entry, const Error& reason) {
  for (auto at = pools_.begin(); at != pools_.end();) {
    const auto next = std::next(at);
    if (at->first.database == entry.get()) {
      entry->past += at->second->counters();
      retire(std::move(pools_.extract(at).mapped()), reason);
    }
    at = next;
  }
  retired_entries_.push_back(std::move(entry));
}

void Pools::bury_retired() {
  std::erase_if(retired_, [this](const std::unique_ptr<Pool>& pool) {
    if (!pool->is_over()) return false;
    // Clients may know of the replicas of theirs.
    const bool is_needed =
        pool->kind() == PoolKind::replica && std::ranges::any_of(retired_, [&](const auto& home) {
          return home != nullptr && home->kind() == PoolKind::primary &&
                 &home->database() == &pool->database() && &home->user() == &pool->user();
        });
    if (is_needed) return false;
    if (on_gone_) on_gone_(*pool);
    return true;
  });
}

/// What the configuration has for an entry of this name now.
std::optional<config::Database> Pools::configured(const DatabaseEntry& entry) const {
  const config::Settings& settings = context_.settings;
  if (const config::Database* listed = settings.find_database(entry.config.name)) return *listed;
  if (!entry.is_auto || !settings.auto_database) return std::nullopt;
  config::Database database = *settings.auto_database;
  database.name = entry.config.name;
  return database;
}

/// A server that left the list, or an entry that routes no more, is not asked for any more; what is
/// open is closed when its role is told no longer.
config::PoolSettings Pools::replica_settings(const DatabaseEntry& entry,
                                             config::PoolSettings home) const {
  home.pool_size = config::routing_settings(context_.settings, entry.config, {}).replica_pool_size;
  home.min_pool_size = std::min(home.min_pool_size, home.pool_size);
  home.reserve_pool_size = 0;
  return home;
}

void Pools::reload_entry(DatabaseEntry& entry, config::Database now, bool reconnects) {
  const config::Settings& settings = context_.settings;
  reconnects |= config::needs_new_connections(entry.config, now);
  entry.config = std::move(now);
  entry.is_auto = settings.find_database(entry.config.name) == nullptr;
  {
    const std::scoped_lock guard(lock_);
    entry.server_budget.limit = budget_of(entry.config).limit;
  }
  for (auto& [key, pool] : pools_) {
    if (key.database != &entry) continue;
    const config::PoolSettings next =
        config::effective_settings(settings, entry.config, key.user->name);
    if (key.replica != nullptr) {
      pool->reload(replica_settings(entry, next), reconnects);
      continue;
    }
    if (!needs_new_clients(pool->settings(), next)) {
      pool->reload(next, reconnects);
      continue;
    }
    UserEntry& user = pool->user();
    std::unique_ptr<Pool> old = std::move(pool);
    pool = std::make_unique<Pool>(*this, context_, lock_, entry, user, next);
    pool->take_over(*old);
    retire(std::move(old), leave("pool_mode has changed", "Connect again."));
  }
}

void Pools::reload(std::shared_ptr<const io::TlsContext> server_tls, bool reconnects) {
  context_.server_tls = std::move(server_tls);
  const config::Settings& settings = context_.settings;
  {
    const std::scoped_lock guard(lock_);
    for (auto& [name, user] : users_) user->server_budget.limit = budget_of_user(name).limit;
    for (auto& [name, host] : hosts_) {
      host->limits().host().budget.limit = settings.max_host_connections;
    }
  }
  for (auto at = databases_.begin(); at != databases_.end();) {
    const auto next = std::next(at);
    std::unique_ptr<DatabaseEntry>& entry = at->second;
    auto now = configured(*entry);
    if (!now) {
      periods_.erase(entry->config.name);  // one that is added again begins at zero
      retire(std::move(databases_.extract(at).mapped()),
             leave("database removed", "Its entry is not in the configuration any more."));
    } else if (now->user != entry->config.user) {
      const Budget budget = budget_of(*now);
      auto added = std::make_unique<DatabaseEntry>(DatabaseEntry{.config = std::move(*now),
                                                                 .server_budget = budget,
                                                                 .is_paused = entry->is_paused,
                                                                 .is_disabled = entry->is_disabled,
                                                                 .is_auto = entry->is_auto,
                                                                 .changed_at = entry->changed_at});
      const DatabaseEntry& before = *entry;
      DatabaseEntry& after = *added;
      retire(std::exchange(entry, std::move(added)),
             leave("the entry's user= has changed", "Connect again."));
      after.past = before.past;
    } else {
      reload_entry(*entry, std::move(*now), reconnects);
    }
    at = next;
  }
  add_entries();
  update_holds();
  time_statistics();
}

void Pools::add_entries() {
  for (const config::Database& database : context_.settings.databases) {
    auto& slot = databases_[database.name];
    if (slot != nullptr) continue;
    slot = std::make_unique<DatabaseEntry>(DatabaseEntry{database, budget_of(database)});
  }
}

}  // namespace pgproxy::pool
