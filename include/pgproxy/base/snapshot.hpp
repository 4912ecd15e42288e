#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/histogram.hpp"
#include "pgproxy/base/time.hpp"

// What the layers that work tell the layers that show: plain values, no references back.
namespace pgproxy {

/// What a client or server connection waits to read and to send, and how its session is set; for
/// SHOW SOCKETS and SHOW FDS.
struct SocketFacts {
  int fd = -1;
  std::uint64_t unread_bytes = 0;   ///< received, and not dealt with yet
  std::uint64_t message_bytes = 0;  ///< of the message at hand, still to come
  std::uint64_t unsent_bytes = 0;
  std::string client_encoding;
  std::string standard_conforming_strings;
  std::string datestyle;
  std::string timezone;
};

/// A client or server connection, as SHOW CLIENTS and SHOW SERVERS list it.
struct ConnectionRow {
  std::uint64_t id = 0;
  std::string user;
  std::string database;
  std::string state;        ///< PgBouncer's words: active, idle, waiting, used, tested, login, …
  std::string replication;  ///< "none"
  std::string addr;
  std::uint16_t port = 0;
  std::string local_addr;
  std::uint16_t local_port = 0;
  WallTime connect_time{};
  WallTime request_time{};  ///< start of the current or last request
  Duration wait{};          ///< how long the client has been waiting for a server
  bool close_needed = false;
  std::uint64_t link = 0;  ///< id of the other side; 0 none
  std::uint32_t remote_pid = 0;
  std::string tls;
  std::string application_name;
  std::uint32_t prepared_statements = 0;
  std::string pin_reason;  ///< why the server connection stays with its client; empty: it does not
  WallTime pinned_since{};
  SocketFacts socket;
};

/// A server connection that stays with its client, as SHOW PINS lists it.
struct PinRow {
  std::string database;
  std::string user;
  std::uint64_t client_id = 0;
  std::uint64_t server_id = 0;
  std::uint32_t backend_pid = 0;
  std::string reason;  ///< several by commas
  WallTime pinned_since{};
  Duration age{};
  std::uint64_t fingerprint = 0;  ///< of the statement that brought it; 0 none
};

/// Pins of one pool by one reason since the start.
struct PinTotalRow {
  std::string database;
  std::string user;
  std::string reason;
  std::uint64_t pins = 0;
  std::uint64_t refusals = 0;  ///< statements that were not sent
};

/// Monotonic totals of one pool; times in microseconds.
struct PoolCounters {
  std::uint64_t server_assignment_count = 0;
  std::uint64_t xact_count = 0;
  std::uint64_t query_count = 0;
  std::uint64_t bytes_received = 0;  ///< from clients
  std::uint64_t bytes_sent = 0;      ///< to clients
  std::uint64_t xact_time = 0;
  std::uint64_t query_time = 0;
  std::uint64_t wait_time = 0;
  std::uint64_t client_parse_count = 0;
  std::uint64_t server_parse_count = 0;
  std::uint64_t bind_count = 0;
  std::uint64_t client_login_count = 0;
  std::uint64_t pin_count = 0;
  std::uint64_t protocol_doubt_count = 0;  ///< server connections closed for unexpected messages
  std::uint64_t wait_timeout_count = 0;
  std::uint64_t rerun_count = 0;        ///< cycles run again (rerun_on)
  std::uint64_t exhausted_count = 0;    ///< episodes in which clients found all connections in use
  std::uint64_t refused_count = 0;      ///< clients that were not given a server connection
  std::uint64_t host_switch_count = 0;  ///< moves to the next host of the list
  std::uint64_t leak_count = 0;         ///< leak_warning
  std::uint64_t inconsistency_count = 0;  ///< findings of the check of the pool's own books
  std::uint64_t slow_query_count = 0;
  std::uint64_t statement_hit_count = 0;   ///< prepared statements that the server had already
  std::uint64_t statement_miss_count = 0;  ///< that it had to parse
  Histogram xact_times;
  Histogram query_times;
  Histogram wait_times;  ///< of clients that had to wait
  /// What clients were told, by the first two characters of the SQLSTATE; "??" for none.
  std::map<std::string, std::uint64_t, std::less<>> errors;
  Durations logins;  ///< of clients: from their connecting until they may send queries
  /// Server connections that did not come to be, by pool::failure_reason.
  std::map<std::string, std::uint64_t, std::less<>> connect_failures;

  std::uint64_t connect_failure_count() const;
  void note_connect_failure(std::string_view reason);
  void note_transaction(Duration duration);
  void note_query(Duration duration);
  void note_wait(Duration duration);
  void note_error(std::string_view sqlstate);
  PoolCounters& operator+=(const PoolCounters& other);
};

/// What is counted of clients before it is known to which pool they belong.
struct ClientCounters {
  Durations tls_handshakes;
  std::uint64_t tls_failure_count = 0;  ///< handshakes that failed or were given up
};

/// What was done for slots among the instances since the start.
struct CoordinationCounts {
  std::uint64_t acquisitions = 0;
  std::uint64_t losses = 0;
  std::uint64_t failed_attempts = 0;
};

/// One server, as all pools see it.
struct HostRow {
  std::string name;         ///< "10.0.0.1:5432"
  std::string role;         ///< primary, standby, or empty: no connection has told yet
  bool may_connect = true;  ///< it is not recovering, and has not failed
  std::uint32_t connections = 0;
  std::uint64_t failures = 0;  ///< logins, connections and health checks since the start
  std::uint64_t attempts = 0;  ///< of recoveries, since the start
  std::optional<Duration> check_latency = {};  ///< of the last health check that succeeded
  // Of a cluster whose servers are asked for their role; else nothing.
  std::optional<std::uint32_t> timeline = {};
  std::optional<std::string> lsn = {};
  std::optional<std::uint64_t> lag_bytes = {};
  std::optional<Duration> lag = {};
  std::string evidence;  ///< what it said last, or why that is not known
  std::optional<Duration> evidence_age = {};
};

/// Transactions of one pool that went to one side for one reason, as SHOW ROUTING lists them.
struct RouteRow {
  std::string database;
  std::string user;
  std::string target;  ///< primary, replica
  std::string reason;
  std::uint64_t count = 0;
  std::uint64_t last_fingerprint = 0;  ///< of the statement that was decided about last
  Duration last_ago{};
};

/// Where a statement would go, as EXPLAIN ROUTE tells it of each database.
struct RouteExplanation {
  std::string database;
  std::string target;  ///< primary, replica, or what on_no_replica makes of it: wait, error
  std::string reason;
  std::string explanation;  ///< for people
  std::string server;       ///< the one at hand; empty: there is none
};

/// What is counted for the statements of one shape; times in microseconds.
struct StatementCounts {
  std::uint64_t calls = 0;
  std::uint64_t errors = 0;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;      ///< to clients
  std::uint64_t time = 0;       ///< from the first message to the server until the answer's end
  std::uint64_t max_time = 0;   ///< likewise, the longest
  std::uint64_t wait_time = 0;  ///< for a server connection, before that
  std::uint64_t slow_count = 0;
  Histogram times;
};

/// The statements of one shape, as SHOW QUERIES lists them.
struct QueryRow {
  std::string database;
  std::string user;
  std::uint64_t fingerprint = 0;
  std::string text;  ///< without its constants
  StatementCounts counts;
};

/// A query that took slow_query_threshold or longer, as SHOW SLOW_QUERIES lists it.
struct SlowQueryRow {
  WallTime ended_at{};
  std::string database;
  std::string user;
  std::string addr;  ///< of the client, with its port
  std::string application_name;
  std::uint32_t backend_pid = 0;
  Duration total{};
  Duration wait{};       ///< for a server connection, without `connect`
  Duration connect{};    ///< waited for a new server connection to log in
  Duration replay{};     ///< of the session's settings
  Duration execution{};  ///< by the server, without `client`
  Duration client{};     ///< the client did not take its rows
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  bool has_failed = false;
  std::uint64_t fingerprint = 0;
  std::string text;  ///< without its constants
};

/// One (database, user) pool, as SHOW POOLS lists it.
struct PoolRow {
  std::string database;
  std::string user;
  std::uint32_t cl_active = 0;
  std::uint32_t cl_waiting = 0;
  std::uint32_t cl_idle = 0;
  std::uint32_t cl_active_cancel_req = 0;
  std::uint32_t cl_waiting_cancel_req = 0;
  std::uint32_t sv_active = 0;
  std::uint32_t sv_active_cancel = 0;
  std::uint32_t sv_being_canceled = 0;
  std::uint32_t sv_idle = 0;
  std::uint32_t sv_used = 0;
  std::uint32_t sv_tested = 0;
  std::uint32_t sv_login = 0;
  std::uint32_t sv_pinned = 0;
  std::uint32_t pool_size = 0;
  std::uint64_t sv_unencrypted = 0;  ///< since the start: TLS was asked for, the server had none
  // Since the start, too.
  std::uint64_t exhaustions = 0;  ///< episodes in which clients found all connections in use
  std::uint64_t refusals = 0;     ///< clients that were given no server connection
  std::uint64_t host_switches = 0;
  std::uint64_t leak_warnings = 0;
  Duration maxwait{};
  std::string pool_mode;
  std::optional<std::string> load_balance_hosts;  ///< set for host lists only
  std::string replica;  ///< the standby that it is for; empty: the pool that clients belong to

  /// Adds what can be counted.
  PoolRow& operator+=(const PoolRow& other);
};

/// An entry of [databases], as SHOW DATABASES lists it.
struct DatabaseRow {
  std::string name;
  std::optional<std::string> host;  ///< several by commas; not set: unix_socket_dir
  std::uint16_t port = 0;
  std::string database;  ///< on the server
  std::optional<std::string> force_user;
  std::uint32_t pool_size = 0;
  std::uint32_t min_pool_size = 0;
  std::uint32_t reserve_pool_size = 0;
  Duration server_lifetime{};
  std::optional<std::string> pool_mode;           ///< of the entry itself
  std::optional<std::string> load_balance_hosts;  ///< set for host lists only
  std::uint32_t max_connections = 0;
  std::uint32_t current_connections = 0;
  std::uint32_t max_client_connections = 0;
  std::uint32_t current_client_connections = 0;
  bool is_paused = false;
  bool is_disabled = false;
};

/// A user that the configuration names or that has logged in, as SHOW USERS lists it.
struct UserRow {
  std::string name;
  std::optional<std::uint32_t> pool_size;  ///< this and the two below: of the user's own line
  std::optional<std::uint32_t> reserve_pool_size;
  std::optional<std::string> pool_mode;
  std::uint32_t max_user_connections = 0;
  std::uint32_t current_connections = 0;
  std::uint32_t max_user_client_connections = 0;
  std::uint32_t current_client_connections = 0;
};

/// A client that cannot go on yet, as SHOW WAITS lists it.
struct WaitRow {
  std::string database;
  std::string user;
  std::string addr;  ///< with its port
  std::string application_name;
  std::uint64_t client_id = 0;
  std::string waits_for;  ///< connection, capacity limit, recovering server, replay, instances
  std::string detail;     ///< which limit, which server
  WallTime since{};
  Duration wait{};
};

/// An error that a client got from pgproxy itself, as SHOW ERRORS lists it.
struct ErrorRow {
  WallTime time{};
  std::string database;
  std::string user;
  std::string addr;  ///< of the client, with its port
  std::string sqlstate;
  std::string message;
  std::string hint;
};

/// Objects of one kind, as SHOW MEM lists them.
struct MemoryRow {
  std::string name;         ///< PgBouncer's, where it has the same
  std::uint64_t size = 0;   ///< bytes of each, without what it points to; of buffers: the mean
  std::uint64_t used = 0;   ///< objects
  std::uint64_t free = 0;   ///< kept for reuse
  std::uint64_t total = 0;  ///< bytes
};

/// SHOW STATE.
struct PoolerState {
  bool is_paused = false;
  bool is_suspended = false;
};

/// Totals of one database, and the same as they stood one stats_period earlier.
struct StatsRow {
  std::string database;
  PoolCounters total;
  PoolCounters previous;
  Duration period{};    ///< between `previous` and the totals it is compared with
  PoolCounters latest;  ///< totals at the end of the last full period
};

/// Something that an operator should know of before clients do, as SHOW HEALTH lists it.
struct HealthRow {
  std::string kind;
  std::string name;
  std::string state;
  std::string reason;
  std::string hint;
  WallTime since{};

  /// Nothing is wrong with it.
  bool is_well() const { return state == "healthy" || state == "held"; }
};

/// Whether a server, a role, a database or a pool has what it needs, as SHOW CAPACITY lists it.
struct CapacityRow {
  std::string kind;             ///< server, role, database, pool
  std::string name;             ///< "10.0.0.1:5432", "app at 10.0.0.1:5432", "app/web"
  std::uint32_t planned = 0;    ///< connections of one instance; of a pool: its size
  std::uint32_t instances = 1;  ///< that have as many
  std::uint32_t allowed = 0;    ///< for all instances together; of a pool: what its load needs
  std::uint32_t others = 0;     ///< connections of others at the server
  std::string state;            ///< fits, crowded, too_small, unknown
  std::string arithmetic;       ///< term by term
  std::string hint;             ///< what to change, to what
  std::string measured;         ///< of a pool: its load so far, and what would be right for it
};

/// SHOW LISTS.
struct ListCounts {
  std::uint32_t databases = 0;
  std::uint32_t users = 0;
  std::uint32_t pools = 0;
  std::uint32_t free_clients = 0;
  std::uint32_t used_clients = 0;
  std::uint32_t login_clients = 0;
  std::uint32_t free_servers = 0;
  std::uint32_t used_servers = 0;
};

/// Where the console gets its answers. Called on the loop's thread.
class StatusSource {
 public:
  virtual std::vector<ConnectionRow> clients() const = 0;
  virtual std::vector<ConnectionRow> servers() const = 0;
  virtual std::vector<PoolRow> pools() const = 0;
  virtual std::vector<StatsRow> stats() const = 0;
  virtual ListCounts lists() const = 0;
  virtual std::vector<PinRow> pins() const = 0;
  virtual std::vector<PinTotalRow> pin_totals() const = 0;
  virtual std::vector<HealthRow> health() const = 0;
  virtual std::vector<CapacityRow> capacity() const = 0;
  /// Those that took most time in all first.
  virtual std::vector<QueryRow> queries() const = 0;
  /// The last ones, the newest first.
  virtual std::vector<SlowQueryRow> slow_queries() const = 0;
  virtual std::vector<DatabaseRow> databases() const = 0;
  virtual std::vector<UserRow> users() const = 0;
  /// Who has waited longest first.
  virtual std::vector<WaitRow> waits() const = 0;
  /// The last ones, the newest first.
  virtual std::vector<ErrorRow> errors() const = 0;
  virtual std::vector<MemoryRow> memory() const = 0;
  virtual std::vector<HostRow> hosts() const = 0;
  virtual std::vector<RouteRow> routes() const = 0;
  /// A row for each database whose entry is routed.
  virtual std::vector<RouteExplanation> explain_route(std::string_view sql) const = 0;
  virtual PoolerState pooler_state() const = 0;

 protected:
  ~StatusSource() = default;
};

}  // namespace pgproxy
