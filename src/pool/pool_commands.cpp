// What the console has pools do: PAUSE, SUSPEND, RESUME, KILL, RECONNECT.
#include <algorithm>
#include <utility>
#include <vector>

#include "pgproxy/pool/pools.hpp"

namespace pgproxy::pool {

std::string_view Pool::reason_to_close(const ServerConnection& server) const {
  if (hold_ == Hold::paused) return "paused";
  if (server.is_outdated() || is_retired()) return "RECONNECT";
  if (is_misplaced(server)) return "its server has another role now";
  return is_trimming_ && server.is_in_excess() ? "a limit was lowered" : std::string_view();
}

/// Closing one may close others.
void Pool::close_those(const std::function<bool(const ServerConnection&)>& predicate,
                       std::string_view reason) {
  std::vector<std::uint64_t> doomed;
  for (const auto& [id, server] : servers_) {
    if (predicate(*server)) doomed.push_back(id);
  }
  for (const std::uint64_t id : doomed) {
    const auto at = servers_.find(id);
    if (at != servers_.end() && predicate(*at->second)) close(*at->second, reason);
  }
}

/// An attempt of a recovery goes on to its end, which its host waits for.
void Pool::apply_hold() {
  switch (hold_) {
    case Hold::none: serve_waiters(); return grow();
    case Hold::suspended: return;
    case Hold::paused:
      return close_those(
          [](const ServerConnection& server) {
            const bool is_login = is_logging_in(server) && !server.is_attempt();
            return is_login || server.state() == ServerState::idle;
          },
          "paused");
  }
}

void Pool::reconnect() {
  for (const auto& [id, server] : servers_) server->mark_outdated();
  close_those(
      [](const ServerConnection& server) {
        return server.is_outdated() && server.state() == ServerState::idle;
      },
      "RECONNECT");
}

std::size_t Pool::outdated_count() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(servers_, [](auto& entry) { return entry.second->is_outdated(); }));
}

void Pool::kill(const Error& error) {
  std::vector<std::uint64_t> held;
  for (const auto& [id, server] : servers_) {
    if (server->state() == ServerState::active) held.push_back(id);
  }
  for (const std::uint64_t id : held) {
    const auto at = servers_.find(id);
    if (at != servers_.end()) at->second->give_up(error);
  }
  close_those(
      [](const ServerConnection& server) { return !is_logging_in(server) || !server.is_attempt(); },
      error.message);
}

/// Only those that carry something of a client's: what we ask for ourselves has deadlines.
void Pool::suspend_servers(bool is_suspended) {
  for (const auto& [id, server] : servers_) {
    const bool is_clients = server->state() == ServerState::active && !server->is_asked();
    if (!is_suspended || is_clients) server->set_suspended(is_suspended);
  }
}

std::size_t Pool::unflushed_count() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      servers_, [](auto& entry) { return entry.second->queued_bytes() > 0; }));
}

DatabaseEntry* Pools::known_database(std::string_view name) {
  const auto at = databases_.find(name);
  return at != databases_.end() ? at->second.get() : nullptr;
}

Hold Pools::hold_of(const DatabaseEntry& database) const {
  if (is_paused_ || database.is_paused) return Hold::paused;
  return is_suspended_ ? Hold::suspended : Hold::none;
}

/// All know of it before the first one does anything: what one closes makes room for another.
void Pools::update_holds() {
  std::vector<Pool*> changed;
  for_each_even_retired([&](Pool& pool) {
    const Hold hold = hold_of(pool.database());
    if (pool.hold() != hold) changed.push_back(&pool);
    pool.set_hold(hold);
  });
  for (Pool* pool : changed) pool->apply_hold();
}

void Pools::pause(DatabaseEntry* database) {
  if (database != nullptr) database->changed_at = context_.loop.wall_now();
  (database != nullptr ? database->is_paused : is_paused_) = true;
  update_holds();
}

void Pools::suspend() {
  is_suspended_ = true;
  update_holds();
  for_each_even_retired([](Pool& pool) { pool.suspend_servers(true); });
}

void Pools::resume(DatabaseEntry* database) {
  if (database == nullptr && std::exchange(is_suspended_, false)) {
    for_each_even_retired([](Pool& pool) { pool.suspend_servers(false); });
  }
  (database != nullptr ? database->is_paused : is_paused_) = false;
  if (database != nullptr) database->changed_at = context_.loop.wall_now();
  update_holds();
}

void Pools::disable(DatabaseEntry& database, bool is_disabled) {
  database.is_disabled = is_disabled;
  database.changed_at = context_.loop.wall_now();
}

void Pools::kill(const DatabaseEntry* database, const Error& error) {
  for_each_of(database, [&](Pool& pool) { pool.kill(error); });
}

void Pools::reconnect(const DatabaseEntry* database) {
  for_each_of(database, [](Pool& pool) { pool.reconnect(); });
  for_each_of(database, [](Pool& pool) { pool.forget_login_error(); });
  reset_hosts(database);
  for_each_of(database, [](Pool& pool) { pool.grow(); });
}

std::size_t Pools::server_count(const DatabaseEntry* database) const {
  std::size_t count = 0;
  for_each_of(database, [&](const Pool& pool) { count += pool.server_count(); });
  return count;
}

std::size_t Pools::outdated_count(const DatabaseEntry* database) const {
  std::size_t count = 0;
  for_each_of(database, [&](const Pool& pool) { count += pool.outdated_count(); });
  return count;
}

std::size_t Pools::unflushed_count() const {
  std::size_t count = 0;
  for_each_of(nullptr, [&](const Pool& pool) { count += pool.unflushed_count(); });
  return count;
}

}  // namespace pgproxy::pool
