#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/pool/pool.hpp"

namespace pgproxy::pool {

/// All pools of a loop, and the databases and users that they are for. Single threaded.
class Pools final : private TimeoutListener, private HostListener {
 public:
  Pools(io::Loop& loop, const config::Settings& settings,
        std::shared_ptr<const io::TlsContext> server_tls = nullptr);
  ~Pools();

  /// The entry for a database that a client asks for, from [databases] or by `*`; nullptr: unknown.
  DatabaseEntry* find_database(std::string_view name);
  UserEntry& user(std::string_view name);
  /// The pool of a database and the user who logs in to the server, made on first use.
  Pool& pool(DatabaseEntry& database, UserEntry& user);

  /// What is known of a server, made on first use.
  ServerHost& host(const io::ServerAddress& address);
  /// How a health check ended: nullptr is well. `is_silent`: nobody answered in time.
  void on_check_done(const io::ServerAddress& address, Duration latency, const Error* error,
                     bool is_silent);
  /// RECONNECT: the servers of `database` (nullptr: all) may be connected to, whatever they were.
  void reset_hosts(const DatabaseEntry* database);
  void describe_health(std::vector<HealthRow>& rows) const;

  PoolContext& context() { return context_; }
  /// No connection is opened any more.
  void shut_down() { shutting_down_ = true; }
  bool is_shutting_down() const { return shutting_down_; }

  /// Closes an idle server of another pool that shares the exhausted `limit` (database or user), if
  /// there is one.
  void evict_for(const Pool& pool, CapacityLimit limit);
  /// A pool has clients waiting and may not connect because of a limit that it shares.
  void note_starving() { has_starving_ = true; }
  bool has_starving() const { return has_starving_; }
  /// A permit came back: pools that wait for one under a shared limit may go on.
  void on_capacity_freed(const Pool& origin);

  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [key, pool] : pools_) visit(*pool);
  }
  std::vector<StatsRow> stats() const;
  std::size_t database_count() const { return databases_.size(); }
  std::size_t user_count() const { return users_.size(); }

 private:
  struct StatsPeriod {
    PoolCounters previous;
    PoolCounters latest;
  };
  void on_timeout(Timeout& timeout) override;
  void on_host_changed(ServerHost& host, HostState before) override;
  bool start_attempt(ServerHost& host) override;
  void keep_house();
  std::map<std::string, PoolCounters> totals() const;
  void log_stats() const;
  void open_minimum();

  PoolContext context_;
  CapacityLock lock_;
  std::map<std::string, std::unique_ptr<ServerHost>, std::less<>> hosts_;  ///< by name
  std::map<std::string, std::unique_ptr<DatabaseEntry>, std::less<>> databases_;
  std::map<std::string, std::unique_ptr<UserEntry>, std::less<>> users_;
  std::map<std::pair<const DatabaseEntry*, const UserEntry*>, std::unique_ptr<Pool>> pools_;
  std::map<std::string, StatsPeriod> periods_;
  Timeout stats_timer_;
  Timeout house_timer_;
  bool shutting_down_ = false;
  bool has_starving_ = false;
};

}  // namespace pgproxy::pool
