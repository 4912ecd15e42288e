#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/pool/pool.hpp"

namespace pgproxy::pool {

/// Which pool of a loop.
struct PoolKey {
  const DatabaseEntry* database;
  const UserEntry* user;
  const ServerHost* replica = nullptr;  ///< nullptr: the one that clients belong to
  auto operator<=>(const PoolKey&) const = default;
};

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
  /// That for reading on the server with this name ("host:port"), one of its entry's, for clients
  /// of `home`; made on first use.
  Pool& replica_pool(Pool& home, std::string_view server);
  /// What the server is in its cluster, as was just found out, and its timeline (0: not told);
  /// pools that use it act on it at once.
  void set_role(const io::ServerAddress& server, ServerRole role, std::uint32_t timeline);
  /// Told that a server's role is in doubt: a connection was lost, or it refused to write.
  void on_doubt(std::function<void(const ServerHost&)> callback) {
    on_doubt_ = std::move(callback);
  }
  void doubt(const ServerHost& host) const {
    if (on_doubt_) on_doubt_(host);
  }

  /// Opens what min_pool_size asks for, where no client is needed to know a pool: once, when the
  /// servers are known to have room.
  void open_minimum();

  /// No connection is opened while `is_held`: others have taken this instance's place. Those that
  /// are open go on.
  void hold_growth(bool is_held);
  bool is_growth_held() const { return is_growth_held_; }

  /// What is known of a server, made on first use.
  ServerHost& host(const io::ServerAddress& address);
  /// How a health check ended: nullptr is well. `is_silent`: nobody answered in time.
  void on_check_done(const io::ServerAddress& address, Duration latency, const Error* error,
                     bool is_silent);
  /// The settings that the object was made with are others now (in place). Entries that are gone,
  /// or log in as somebody else, and pools of another mode are retired: their clients are to be
  /// sent away. `reconnects`: no connection that is open fits any more. Limits of servers are to be
  /// given anew.
  void reload(std::shared_ptr<const io::TlsContext> server_tls, bool reconnects);
  /// Called before a retired pool is freed.
  void on_gone(std::function<void(const Pool&)> callback) { on_gone_ = std::move(callback); }

  // What the console commands (pool_commands.cpp); `database` nullptr is all of them. PAUSE of all
  // and PAUSE of one are apart, as in PgBouncer: RESUME of all leaves those that were paused alone.

  /// An entry that there is; unlike find_database() it makes none. nullptr: unknown.
  DatabaseEntry* known_database(std::string_view name);
  void pause(DatabaseEntry* database);
  void suspend();
  /// Ends suspend() too, where it is for all.
  void resume(DatabaseEntry* database);
  /// Clients that are there already stay.
  void disable(DatabaseEntry& database, bool is_disabled);
  bool is_paused() const { return is_paused_; }
  bool is_suspended() const { return is_suspended_; }
  /// Closes all connections at once; clients that hold one hear `error`. pause() comes first.
  void kill(const DatabaseEntry* database, const Error& error);
  /// Connections are replaced as soon as nobody uses them; servers that failed may be tried again.
  void reconnect(const DatabaseEntry* database);
  /// Connections, those that reconnect() has not replaced yet, and those with bytes unsent.
  std::size_t server_count(const DatabaseEntry* database) const;
  std::size_t outdated_count(const DatabaseEntry* database) const;
  std::size_t unflushed_count() const;
  template <class Visit>
  void for_each_database(Visit visit) const {
    for (const auto& [name, database] : databases_) visit(*database);
  }

  /// RECONNECT: the servers of `database` (nullptr: all) may be connected to, whatever they were.
  void reset_hosts(const DatabaseEntry* database);
  void describe_health(std::vector<HealthRow>& rows) const;
  std::vector<HostRow> describe_hosts() const;

  PoolContext& context() { return context_; }
  /// No connection is opened any more.
  void shut_down() { shutting_down_ = true; }
  bool is_shutting_down() const { return shutting_down_; }

  /// Closes an idle server of another pool that nobody waits for, if `pool` could then connect to
  /// `wanted`; false: there is none.
  bool evict_for(const Pool& pool, const PoolHost& wanted);
  /// A pool has clients waiting and may not connect because of a limit that it shares.
  void note_starving() { has_starving_ = true; }
  bool has_starving() const { return has_starving_; }
  /// A permit came back: pools that wait for one under a shared limit may go on.
  void on_capacity_freed(const Pool& origin);
  /// `server`, which comes back to `pool`, stands in the way of another pool that has none at all
  /// and a client that has waited longer than those of `pool`: that one is the first to go on when
  /// the connection is closed. To be called while has_starving().
  bool owes(const Pool& pool, const ServerConnection& server);

  /// What the server with this name ("host:port") has for us from now on, in place of what was
  /// given before; max_host_connections holds beside it. Who waits for a limit that was raised goes
  /// on at once. Of what exceeds one that was lowered, on_overcommit = shrink closes idle
  /// connections now and busy ones when they come back; with refuse_new nothing is closed. A limit
  /// that begins to keep pools from connecting is logged, and so is its end.
  void set_limits(std::string_view server, const GivenLimits& limits);
  /// Something is to be closed as soon as it comes back.
  bool is_shrinking() const { return is_shrinking_; }
  bool is_exceeded(const ServerBudgets& budgets) const;
  /// Closes what is idle beyond a limit, where on_overcommit says so.
  void enforce_limits();
  /// `limit` keeps `pool` from connecting.
  void note_bite(ServerLimit& limit, const Pool& pool);
  std::string hint_to_raise(const ServerLimit& limit, std::uint32_t more) const;
  /// Guards all budgets.
  CapacityLock& lock() const { return lock_; }

  template <class Visit>
  void for_each_host(Visit visit) const {
    for (const auto& [name, host] : hosts_) visit(*host);
  }
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [key, pool] : pools_) visit(*pool);
  }
  /// Those too whose clients are being sent away.
  template <class Visit>
  void for_each_even_retired(Visit visit) const {
    for_each(visit);
    for (const auto& pool : retired_) visit(*pool);
  }
  std::vector<StatsRow> stats() const;
  std::vector<DatabaseRow> describe_databases() const;
  std::vector<UserRow> describe_users() const;
  void describe_memory(std::vector<MemoryRow>& rows) const;
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
  void time_statistics();
  void log_stats() const;
  template <class MakeText>
  void note_bite(ServerLimit& limit, std::uint32_t missing, MakeText make_text);
  void end_bites(Duration quiet);
  bool close_one_idle(const Budget& budget);
  std::uint32_t excess(const ServerLimit& limit) const;
  Hold hold_of(const DatabaseEntry& database) const;
  void update_holds();
  void retire(std::unique_ptr<Pool> pool, Error reason);
  void retire(std::unique_ptr<DatabaseEntry> entry, const Error& reason);
  void bury_retired();
  std::optional<config::Database> configured(const DatabaseEntry& entry) const;
  void reload_entry(DatabaseEntry& entry, config::Database now, bool reconnects);
  void add_entries();
  config::PoolSettings replica_settings(const DatabaseEntry& entry,
                                        config::PoolSettings home) const;
  Budget budget_of(const config::Database& database) const;
  Budget budget_of_user(std::string_view name) const;
  /// Retired ones, too: of the name, which may be another entry's by now.
  template <class Visit>
  void for_each_of(const DatabaseEntry* database, Visit visit) const {
    for (const auto& [key, pool] : pools_) {
      if (database == nullptr || key.database == database) visit(*pool);
    }
    for (const auto& pool : retired_) {
      if (database == nullptr || pool->database().config.name == database->config.name) {
        visit(*pool);
      }
    }
  }

  PoolContext context_;
  mutable CapacityLock lock_;
  std::map<std::string, std::unique_ptr<ServerHost>, std::less<>> hosts_;  ///< by name
  std::map<std::string, std::unique_ptr<DatabaseEntry>, std::less<>> databases_;
  std::map<std::string, std::unique_ptr<UserEntry>, std::less<>> users_;
  std::map<PoolKey, std::unique_ptr<Pool>> pools_;
  std::vector<std::unique_ptr<DatabaseEntry>> retired_entries_;
  std::vector<std::unique_ptr<Pool>> retired_;  ///< of these, too
  std::function<void(const Pool&)> on_gone_;
  std::function<void(const ServerHost&)> on_doubt_;
  std::map<std::string, StatsPeriod> periods_;
  Timeout stats_timer_;
  TimePoint sampled_at_;
  Duration armed_period_{};     ///< what stats_timer_ runs on
  Duration measured_period_{};  ///< of the figures in periods_
  Duration next_period_{};      ///< of those that come next
  Timeout house_timer_;
  bool shutting_down_ = false;
  bool has_starving_ = false;
  Pool* owed_ = nullptr;  ///< goes on first when a permit comes back
  bool is_shrinking_ = false;
  bool is_growth_held_ = false;
  bool is_paused_ = false;
  bool is_suspended_ = false;
};

}  // namespace pgproxy::pool
