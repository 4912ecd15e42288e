#pragma once

#include <cstdint>
#include <functional>
#include <map>
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
#include "pgproxy/pool/server_host.hpp"
#include "pgproxy/pool/session_state.hpp"

namespace pgproxy::pool {

class Pools;
struct CancelRoute;

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
  bool is_paused = false;    ///< PAUSE or KILL of this one
  bool is_disabled = false;  ///< DISABLE: no client logs in any more
  bool is_auto = false;      ///< made by the * line
  WallTime changed_at{};     ///< when either last changed
  PoolCounters past{};       ///< of pools that an entry of this name had before
};

/// A user and what is counted for it over all its pools.
struct UserEntry {
  std::string name;
  Budget server_budget;
  std::uint32_t client_count = 0;
};

/// PgBouncer's words, for people.
std::string_view to_string(config::PoolMode mode);
/// Of a list of hosts; nothing for a single one.
std::optional<std::string> load_balancing(const config::Database& database);

/// What a queued client waits for, in SHOW WAITS' words, and which limit or server that is.
struct WaitReason {
  std::string what;
  std::string detail;
};

/// What a pool counts twice: once where it decides, once by looking.
struct PoolBooks {
  std::size_t permits = 0;
  std::size_t servers = 0;
  std::size_t logins_counted = 0;
  std::size_t logins_seen = 0;
  std::size_t idle_listed = 0;
  std::size_t idle_seen = 0;
  std::size_t waiters_counted = 0;
  std::size_t waiters_listed = 0;
};
/// Where the two differ; empty: nowhere.
std::string contradictions(const PoolBooks& books);

/// A server that a pool may connect to, and what limits the pool's connections there.
struct PoolHost {
  ServerHost& host;
  ServerLimit& role;
  ServerLimit& database;
  ServerBudgets budgets() const {
    return {host.limits().host().budget, role.budget, database.budget};
  }
  bool counts_towards(const Budget& budget) const {
    return &host.limits().host().budget == &budget || &role.budget == &budget ||
           &database.budget == &budget;
  }
};

/// Which of an entry's hosts a pool connects to.
enum class PoolKind : std::uint8_t {
  any,      ///< all alike: one after the other, or the first that answers
  primary,  ///< the one that has this role
  replica,  ///< a certain one, as long as it is a standby
};

/// What keeps a pool's clients from servers.
enum class Hold : std::uint8_t {
  none,
  suspended,  ///< SUSPEND: server connections stay as they are
  paused,     ///< PAUSE, KILL: they are closed as soon as nobody uses them
};

/// Told of each login of a pool's that failed, before the pool does anything about it.
class LoginListener {
 public:
  virtual void on_login_failed(const ServerHost& host, const Error& error) = 0;

 protected:
  ~LoginListener() = default;
};

/// The server connections of one (database, user) and the clients that wait for them: strict FIFO,
/// woken by events. One loop-local shard in front of the shared Capacity. Single threaded.
class Pool final : private TimeoutListener {
 public:
  /// `replica`: the server of a pool for one standby; nullptr: a pool that clients belong to.
  Pool(Pools& pools, PoolContext& context, CapacityLock& lock, DatabaseEntry& database,
       UserEntry& user, config::PoolSettings settings, ServerHost* replica = nullptr);
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
  /// Closes one idle server with which `starving` could connect to `wanted`; false: none would do.
  bool evict_idle(const Pool& starving, const PoolHost& wanted);
  /// Idle servers that are counted in `budget`, a server's.
  std::size_t idle_count(const Budget& budget) const;
  /// Closes one of them, the one that would be used last; false: there is none.
  bool close_idle(const Budget& budget, std::string_view reason);
  /// Most connections that it can have, if no other pool has any.
  std::uint32_t attainable_size() const;
  bool has_waiters() const { return !waiters_.empty(); }
  /// It has clients that wait and no connection, those of `other` came later, and without `server`
  /// of that one it could connect.
  bool is_owed(const Pool& other, const ServerConnection& server) const;
  /// Since when the client has been waiting whose turn is next; there is one.
  TimePoint waiting_since() const { return waiters_.front().queued_at; }

  // What the console commands (pool_commands.cpp).
  /// Unless it is `none` clients queue, and no connection is opened. Nothing happens yet to those
  /// that wait, or to idle servers: that is for apply_hold().
  void set_hold(Hold hold) {
    hold_ = hold;
    update_serving();
  }
  Hold hold() const { return hold_; }
  void apply_hold();
  /// Closes each connection as soon as nobody uses it, the idle ones at once.
  void reconnect();
  /// Connections that reconnect() has not closed yet.
  std::size_t outdated_count() const;
  /// Closes all connections at once; clients that hold one hear `error`.
  void kill(const Error& error);
  /// Nothing that a client asked for is read from servers, or it is again.
  void suspend_servers(bool is_suspended);
  /// Servers that have not taken all that was sent to them.
  std::size_t unflushed_count() const;

  // RELOAD (pool_reload.cpp).
  /// The context has other settings now, and these are the pool's, whose mode is as it was.
  /// `reconnects`: connections that are open do not fit any more.
  void reload(const config::PoolSettings& settings, bool reconnects);
  /// Clients have to leave it, and hear why; none comes any more. Nothing is opened but for them.
  void retire(Error reason);
  bool is_retired() const { return retired_because_.has_value(); }
  const std::optional<Error>& retired_because() const { return retired_because_; }
  /// Retired, and nobody has anything to do with it any more.
  bool is_over() const;
  /// Goes on counting where a pool that it takes the place of has come to.
  void take_over(const Pool& retired) { counters_ = retired.counters_; }

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

  /// Why a client that waited as long as `setting` allows got no server connection: 53300, or
  /// 57P03 or 08006 when that is the server's state; with what to change, and to what.
  Error exhausted_error(std::string_view setting) const;
  /// As it happens each second: looks after what no event tells.
  void keep_house();
  PoolBooks books() const;
  /// A row while it is exhausted, or its books do not agree.
  void describe_health(std::vector<HealthRow>& rows) const;
  /// server_settings have not been seen in effect on any of its connections.
  bool wants_verification() const { return wants_verification_; }
  /// ", FILE:LINE", or nothing.
  std::string place_of_entry() const;

  /// The servers that it may connect to, in the order of the entry.
  const std::vector<PoolHost>& hosts() const { return hosts_; }
  std::size_t server_count(const ServerHost& host) const;
  /// Adds what its connections know of the servers in `rows`, which are by name.
  void describe_hosts(std::map<std::string, HostRow, std::less<>>& rows) const;
  /// nullptr: nobody.
  void set_login_listener(LoginListener* listener) { login_listener_ = listener; }
  /// A login that failed says nothing of the next one: it may be tried at once.
  void forget_login_error();

  PoolKind kind() const { return kind_; }
  /// The latest one that any of its servers is known to be on.
  std::uint32_t timeline() const;
  /// A server whose role it depends on may have another one by now.
  void note_doubt(const ServerHost& host);
  /// Clients that hold a server or wait for one.
  std::size_t outstanding_count() const {
    return servers_.size() - idle_.size() - logins_ + waiting_count_;
  }
  /// A client that came now would find a server that may be used.
  bool is_usable() const;

  // What the hosts tell.
  bool uses(const ServerHost& host) const;
  /// The role of a server that it uses is another one now.
  void on_role_changed();
  void on_host_changed(ServerHost& host);
  /// Opens a connection as an attempt of the recovery of `host`; false: there is no room.
  bool attempt(ServerHost& host);
  void mark_progress(const ServerHost& host);
  PoolRow describe() const;
  WaitReason wait_reason() const;
  void describe_servers(std::vector<ConnectionRow>& rows) const;
  std::size_t server_count() const { return servers_.size(); }
  std::size_t idle_count() const { return idle_.size(); }

  // Called by its server connections.
  /// Opens a connection, encrypted as server_tls_sslmode asks; otherwise as io::Connector does.
  std::unique_ptr<io::ConnectAttempt> connect(const io::ServerAddress& address,
                                              io::ConnectListener& listener);
  /// Likewise, for a cancel request about a session with the server at `address`.
  std::unique_ptr<io::ConnectAttempt> connect(const io::ServerAddress& address,
                                              const CancelRoute& cancel,
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
  /// nullptr: leak_warning is off, or idle_transaction_timeout comes first.
  TimeoutQueue* leak_warning_queue() { return leak_warning_queue_; }
  /// From the warning to idle_transaction_timeout.
  TimeoutQueue& leaked_queue() { return *leaked_queue_; }
  TimeoutQueue& transaction_queue() { return *transaction_queue_; }
  TimeoutQueue& client_idle_queue() { return *client_idle_queue_; }
  TimeoutQueue& wait_queue() { return *wait_queue_; }
  std::string server_password() const;
  /// A client of the pool's own user has logged in: with a stored secret that auth_file does not
  /// have, and having proven something for a SCRAM secret; nullptr: not so. Both log in to servers.
  void note_login(const std::string* secret, const auth::ProvenScram* proven);
  const std::optional<auth::ProvenScram>& proven_scram() const { return proven_scram_; }

 private:
  void on_timeout(Timeout& timeout) override;
  TimeoutQueue& timeout_queue(Duration duration) {
    return context_.loop.timeouts().queue(duration);
  }
  void look_up_hosts();
  void look_up_queues();
  void trim();
  bool open_connection(bool from_reserve);
  bool open_at(std::size_t index, bool from_reserve);
  bool evict_and_open(bool from_reserve);
  void start_login(Permit permit, ServerHost& host, bool is_attempt);
  /// It may be connected to, and is what the pool's clients need.
  bool may_use(const ServerHost& host) const { return host.may_connect() && has_role(host); }
  bool has_role(const ServerHost& host) const;
  bool has_server_in_role() const;
  void update_serving();
  bool is_misplaced(const ServerConnection& server) const;
  void leave_misplaced();
  std::optional<Error> no_primary() const;
  const PoolHost& place_at(std::size_t index) const { return hosts_[index % hosts_.size()]; }
  ServerHost& host_at(std::size_t index) const;
  const PoolHost* place_of(const ServerConnection& server) const;
  bool counts_towards(const ServerConnection& server, const Budget& budget) const;
  std::optional<std::size_t> find_host() const;
  void move_to_host(std::size_t index);
  static void report_login(ServerHost& host, bool was_attempt, const Error* error);
  void give_up_servers(ServerHost& host);
  /// Why a client would wait in vain; nullopt: it may wait.
  std::optional<Error> hopeless() const;
  bool must_not_wait() const;
  /// Why a server that comes back, or is new, is not kept; empty: it is.
  std::string_view reason_to_close(const ServerConnection& server) const;
  void close_those(const std::function<bool(const ServerConnection&)>& predicate,
                   std::string_view reason);
  std::string sizes() const;
  /// What keeps it from connecting; of a server's limits, that of the first server in turn.
  struct Obstacle {
    CapacityLimit limit = CapacityLimit::none;
    ServerLimit* at_server = nullptr;  ///< nullptr: the limit is a setting of the pool's
  };
  Obstacle obstacle() const;
  /// Connections that its servers have and nothing is planned for, and which limit says so.
  struct Spare {
    std::uint32_t connections = Budget::unlimited;
    const ServerLimit* limit = nullptr;
  };
  Spare least_spare() const;
  void note_limit();
  bool must_shrink(const ServerConnection& server) const;
  std::string exhaustion_hint() const;
  std::string hint_to_raise(CapacityLimit limit, std::uint32_t more) const;
  std::string hint_to_raise_too(CapacityLimit limit, std::uint32_t more) const;
  std::string hint_to_raise_size(std::uint32_t size) const;
  void note_exhausted();
  void end_episode();
  void check_books();
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
  ServerHost* const replica_;
  PoolKind kind_ = PoolKind::any;
  std::vector<PoolHost> hosts_;  ///< never empty
  std::unordered_map<std::uint64_t, std::unique_ptr<ServerConnection>> servers_;
  IntrusiveList<ServerConnection> idle_;  ///< front is given out next
  IntrusiveList<PoolClient> waiters_;
  std::minstd_rand order_;  ///< for checkout_order = random: nothing secret, and repeatable
  StateRef default_state_;
  Statements statements_;
  std::unordered_map<std::string, StateRef> canonical_states_;
  std::size_t next_host_ = 0;
  std::size_t logins_ = 0;    ///< servers that are connecting, authenticating or preparing
  std::size_t attempts_ = 0;  ///< those of them that are attempts of a recovery
  std::optional<Error> login_error_;
  LoginListener* login_listener_ = nullptr;
  std::string found_secret_;  ///< of the pool's user, by auth_query
  std::optional<auth::ProvenScram> proven_scram_;
  std::optional<Error> retired_because_;
  TimeoutQueue* idle_timeout_queue_ = nullptr;
  TimeoutQueue* query_timeout_queue_ = nullptr;
  TimeoutQueue* idle_transaction_queue_ = nullptr;
  TimeoutQueue* leak_warning_queue_ = nullptr;
  TimeoutQueue* leaked_queue_ = nullptr;
  TimeoutQueue* transaction_queue_ = nullptr;
  TimeoutQueue* client_idle_queue_ = nullptr;
  TimeoutQueue* wait_queue_ = nullptr;
  std::size_t waiting_count_ = 0;
  bool is_serving_ = false;
  bool is_yielding_ = false;  ///< a connection is being closed for the clients of another pool
  bool is_trimming_ = false;  ///< a limit was lowered, and more is open yet
  bool wants_verification_ = true;
  Hold hold_ = Hold::none;
  bool serves_ = true;         ///< servers are given out: no hold, and the role is right
  bool is_hold_over_ = false;  ///< there was no primary for longer than failover_hold
  TimePoint retry_at_{};
  TimePoint last_expiry_{};
  Timeout retry_;
  Timeout reserve_;
  Timeout failover_;  ///< the end of failover_hold
  PoolCounters counters_;
  /// A time in which clients find all that the pool may have in use.
  struct Episode {
    TimePoint since{};
    TimePoint last_seen{};
    std::size_t peak_waiters = 0;
    WallTime wall_since{};
  };
  std::optional<Episode> episode_;
  std::string contradictions_;  ///< as logged last
  std::uint64_t unencrypted_count_ = 0;
};

}  // namespace pgproxy::pool
