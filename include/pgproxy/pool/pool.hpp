#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "pgproxy/auth/server_auth.hpp"
#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/pool/capacity.hpp"
#include "pgproxy/pool/server_connection.hpp"
#include "pgproxy/pool/session_state.hpp"

namespace pgproxy::pool {

class Pools;

/// What all pools of one loop share.
struct PoolContext {
  io::Loop& loop;
  const config::Settings& settings;
  /// nullptr: server_tls_sslmode is disable.
  std::shared_ptr<const io::TlsContext> server_tls = nullptr;
  /// Where server_tls_sslmode = allow or prefer ended without TLS; each is logged once.
  std::set<std::string> unencrypted_hosts = {};
  StateInterner states = {};
  auth::ClientKeyCache client_keys = {};
  std::uint64_t last_id = 0;  ///< clients and servers count together, as in PgBouncer
};

/// A database entry and what is counted for it over all its pools.
struct DatabaseEntry {
  config::Database config;
  Budget server_budget;
  std::uint32_t client_count = 0;
};

/// A user and what is counted for it over all its pools.
struct UserEntry {
  std::string name;
  Budget server_budget;
  std::uint32_t client_count = 0;
};

/// The server connections of one (database, user) and the clients that wait for them: strict FIFO,
/// woken by events. One loop-local shard in front of the shared Capacity. Single threaded.
class Pool final : private TimeoutListener {
 public:
  Pool(Pools& pools, PoolContext& context, CapacityLock& lock, DatabaseEntry& database,
       UserEntry& user, config::PoolSettings settings);
  ~Pool();

  /// An idle server, held by `client` from now on; nullptr: the client is queued, and
  /// on_server_granted or on_server_refused follows (refusal may come during the call).
  ServerConnection* checkout(PoolClient& client);
  /// A queued client that does not wait any longer.
  void leave_queue(PoolClient& client);
  /// Takes back a releasable server whose session state is the client's.
  void checkin(ServerConnection& server);
  /// Takes back a server on which a client may have left anything: what runs is cancelled (or,
  /// after a Terminate, runs to its end as it would in PostgreSQL), then ROLLBACK, then DISCARD
  /// ALL; closed when that fails or takes longer than server_connect_timeout.
  void reset(ServerConnection& server, bool cancel_what_runs);
  /// Takes back a server after a clean end of a session: runs `reset_query`, then idle.
  void reset(ServerConnection& server, const std::string& reset_query);
  /// Closes a server that cannot be used any more; its holder hears nothing.
  void close(ServerConnection& server, std::string_view reason);

  /// The session state of a fresh server connection; nullptr until one has logged in.
  const StateRef& default_state() const { return default_state_; }
  /// The canonical state for a client that gave these startup settings, as a server reported it.
  StateRef find_canonical(const std::string& raw_settings) const;
  void remember_canonical(const std::string& raw_settings, const StateRef& state);

  /// Opens what min_pool_size asks for and what waiting clients need, within the limits.
  void grow();
  /// Closes one idle server in favour of another pool; false when there is none.
  bool evict_idle();
  bool has_waiters() const { return !waiters_.empty(); }

  const config::PoolSettings& settings() const { return settings_; }
  const config::Settings& global() const { return context_.settings; }
  PoolContext& context() { return context_; }
  io::Loop& loop() { return context_.loop; }
  DatabaseEntry& database() { return database_; }
  const DatabaseEntry& database() const { return database_; }
  UserEntry& user() { return user_; }
  const UserEntry& user() const { return user_; }
  /// dbname of the entry.
  const std::string& server_database() const;
  PoolCounters& counters() { return counters_; }
  const PoolCounters& counters() const { return counters_; }
  /// Clients of this pool, waiting or not; kept by the sessions.
  std::uint32_t client_count = 0;

  /// The prepared statements of its clients.
  Statements& statements() { return statements_; }

  /// 53300 with pool, sizes, waiters and longest wait, and what to change.
  Error exhausted_error(std::string_view setting) const;
  PoolRow describe() const;
  void describe_servers(std::vector<ConnectionRow>& rows) const;
  std::size_t server_count() const { return servers_.size(); }
  std::size_t idle_count() const { return idle_.size(); }

  // Called by its server connections.
  /// Opens a connection, encrypted as server_tls_sslmode asks; otherwise as io::Connector does.
  std::unique_ptr<io::ConnectAttempt> connect(const io::ServerAddress& address,
                                              io::ConnectListener& listener);
  /// The server at `address` has no TLS to offer, and server_tls_sslmode puts up with that.
  void note_unencrypted(const io::ServerAddress& address);
  void on_server_ready(ServerConnection& server);
  void on_login_failed(ServerConnection& server, const Error& error);
  bool may_close_idle() const { return servers_.size() > settings_.min_pool_size; }
  /// Whether a server whose lifetime is over may go now; spread, so that a pool is not closed at
  /// once.
  bool may_expire_now();
  static bool is_logging_in(const ServerConnection& server);
  Duration expiry_spacing() const;

  // Looked up once: these are used per transaction.
  TimeoutQueue& idle_timeout_queue() { return *idle_timeout_queue_; }
  TimeoutQueue& query_timeout_queue() { return *query_timeout_queue_; }
  TimeoutQueue& idle_transaction_queue() { return *idle_transaction_queue_; }
  TimeoutQueue& transaction_queue() { return *transaction_queue_; }
  TimeoutQueue& client_idle_queue() { return *client_idle_queue_; }
  TimeoutQueue& wait_queue() { return *wait_queue_; }
  std::string server_password() const;

 private:
  void on_timeout(Timeout& timeout) override;
  TimeoutQueue& timeout_queue(Duration duration) {
    return context_.loop.timeouts().queue(duration);
  }
  bool open_connection(bool from_reserve);
  void give_out(ServerConnection& server, PoolClient& client);
  void make_idle(ServerConnection& server);
  void insert_anywhere(ServerConnection& server);
  void give_back(ServerConnection& server);
  void serve_waiters();
  void enqueue(PoolClient& client);
  bool needs_check(const ServerConnection& server) const;
  void refuse_waiters(const Error& error);
  bool reserve_is_due() const;
  PoolClient& take_waiter();

  Pools& pools_;
  PoolContext& context_;
  DatabaseEntry& database_;
  UserEntry& user_;
  config::PoolSettings settings_;
  Capacity capacity_;
  std::unordered_map<std::uint64_t, std::unique_ptr<ServerConnection>> servers_;
  IntrusiveList<ServerConnection> idle_;  ///< front is given out next
  IntrusiveList<PoolClient> waiters_;
  std::minstd_rand order_;  ///< for checkout_order = random: nothing secret, and repeatable
  StateRef default_state_;
  Statements statements_;
  std::unordered_map<std::string, StateRef> canonical_states_;
  std::size_t next_host_ = 0;
  std::size_t logins_ = 0;  ///< servers that are connecting, authenticating or preparing
  std::optional<Error> login_error_;
  TimeoutQueue* idle_timeout_queue_;
  TimeoutQueue* query_timeout_queue_;
  TimeoutQueue* idle_transaction_queue_;
  TimeoutQueue* transaction_queue_;
  TimeoutQueue* client_idle_queue_;
  TimeoutQueue* wait_queue_;
  std::size_t waiting_count_ = 0;
  bool is_serving_ = false;
  TimePoint retry_at_{};
  TimePoint last_expiry_{};
  Timeout retry_;
  Timeout reserve_;
  PoolCounters counters_;
  std::uint64_t unencrypted_count_ = 0;
};

}  // namespace pgproxy::pool
