#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pgproxy/base/time.hpp"
#include "pgproxy/config/auth_type.hpp"
#include "pgproxy/config/hba.hpp"

namespace pgproxy::config {

/// When a server connection goes back to its pool.
enum class PoolMode { session, transaction, statement };
/// What makes us run a cycle again.
struct RerunOn {
  bool stale_plan = false;
  bool replica_refusal = false;
  bool operator==(const RerunOn&) const = default;
};
enum class LogFormat { text, logfmt, json };
/// What happens to a statement that would keep a server connection for its client.
enum class OnResidue { pin, error };
/// What lastval and currval meet when the client does not have the server on which it drew.
enum class OnSequenceState { learn, pin, error };
/// Which idle server connection is given out next.
enum class CheckoutOrder { lifo, round_robin, random };
enum class LoadBalanceHosts { round_robin, disable };
/// What is sent to which of an entry's several hosts.
enum class Routing { off, primary_only, read_only_transactions, selects };
/// What a client that reads from a replica is sure to see.
enum class ReadConsistency { session, bounded, eventual };
/// What becomes of a transaction for a replica when none may be read from.
enum class OnNoReplica { primary, wait, error };
/// How many connections a pool for one replica may have: a number, or a share of the pool_size.
struct ReplicaPoolSize {
  std::uint32_t connections = 0;
  std::uint32_t percent = 100;  ///< while `connections` is 0
  bool operator==(const ReplicaPoolSize&) const = default;
};
/// What clients meet that need a server connection while their server is being recovered.
enum class WhileRecovering { queue, reject };
/// What brings a server back that has failed for good.
enum class FailedUntil { reconnect, health_check };
/// What a client meets when all connections of its pool are in use.
enum class OnExhausted { queue, reject };
/// What becomes of pools that do not fit into their servers.
enum class CapacityCheck { enforce, report, off };
/// How instances of pgproxy that share servers keep to their number.
enum class Coordination { advisory_lock, none };
/// What is done while a server that once had room for the pools has no more.
enum class OnOvercommit { refuse_new, shrink };
enum class SslMode { disable, allow, prefer, require, verify_ca, verify_full };
/// libpq's word for it.
std::string to_string(SslMode mode);
/// How TLS with a server begins: by asking for it, or at once.
enum class SslNegotiation { postgres, direct };
/// Versions of TLS that may be spoken.
struct TlsProtocols {
  bool v1_2 = false;
  bool v1_3 = false;
  bool operator==(const TlsProtocols&) const = default;
};
/// Parameters of the key exchange by finite fields.
enum class DheParams { automatic, none };

/// A pool size that is to be calculated from the expected load (needed_connections).
constexpr std::uint32_t auto_size = 0xFFFF'FFFF;

/// One line of [databases]. Unset optionals fall back to the global setting of the same name.
struct Database {
  std::string name;                ///< what clients ask for; "*" in Settings::auto_database
  std::string dbname;              ///< on the server; empty: as `name`
  std::vector<std::string> hosts;  ///< empty: unix_socket_dir; "/dir" and "@abstract" allowed
  std::uint16_t port = 5432;
  std::string user;      ///< forced user; empty: the client's
  std::string password;  ///< of the forced user; empty: from auth_file
  std::optional<std::uint32_t> pool_size;
  std::optional<std::uint32_t> min_pool_size;
  std::optional<std::uint32_t> reserve_pool_size;
  std::optional<std::uint32_t> max_db_connections;
  std::optional<std::uint32_t> max_db_client_connections;
  std::optional<PoolMode> pool_mode;
  std::optional<OnResidue> on_residue;
  std::optional<double> max_pinned_fraction;
  std::optional<Duration> query_wait_timeout;
  std::optional<Duration> query_timeout;
  std::optional<Duration> slow_query_threshold;
  std::optional<Duration> server_lifetime;
  std::optional<OnExhausted> on_exhausted;
  std::optional<double> expected_rps;         ///< transactions a second, all pools of the entry
  std::optional<double> mean_transaction_ms;  ///< how long each of them has its server connection
  std::string connect_query;
  std::string init_statements;  ///< as connect_query, before it
  bool read_only = false;       ///< default_transaction_read_only = on
  std::string auth_user;        ///< empty: the global one
  std::string auth_query;       ///< likewise
  std::string auth_dbname;      ///< likewise
  LoadBalanceHosts load_balance_hosts = LoadBalanceHosts::round_robin;
  bool gives_load_balance_hosts = false;  ///< it stands in the entry
  std::optional<Routing> routing;
  std::optional<ReadConsistency> read_consistency;
  std::optional<OnNoReplica> on_no_replica;
  std::optional<Duration> failover_hold;
  std::optional<Duration> max_replica_lag;
  std::optional<ReplicaPoolSize> replica_pool_size;
  std::vector<std::string> host_weights;  ///< numbers, in the order of `hosts`; empty: all alike
  /// client_encoding, datestyle, timezone, application_name: sent in the server startup packet.
  std::vector<std::pair<std::string, std::string>> startup_settings;
  /// server_settings: likewise, and verified at the first login.
  std::vector<std::pair<std::string, std::string>> server_settings;
  std::string place;  ///< "file:line" of the entry
  /// What it is called on the server.
  const std::string& server_dbname() const { return dbname.empty() ? name : dbname; }
};

/// One line of [users].
struct User {
  std::string name;
  std::optional<PoolMode> pool_mode;
  std::optional<std::uint32_t> pool_size;
  std::optional<std::uint32_t> reserve_pool_size;
  std::optional<std::uint32_t> max_user_connections;
  std::optional<std::uint32_t> max_user_client_connections;
  std::uint32_t weight = 1;  ///< its share of an entry's expected_rps, beside the other users'
  std::optional<Duration> query_timeout;
  std::optional<Duration> idle_transaction_timeout;
  std::optional<Duration> transaction_timeout;
  std::optional<Duration> client_idle_timeout;
  std::optional<Duration> query_wait_timeout;
  std::string place;  ///< "file:line" of the line
  std::optional<Duration> slow_query_threshold;
};

/// Everything the configuration says, checked and complete; immutable once loaded. Names are
/// PgBouncer's where it has one. Durations: zero is off. Counts: zero is unlimited where PgBouncer
/// says so. Defaults live in the settings table (src/config/table.cpp), not here.
struct Settings {
  // Where we listen, what we are.
  std::string listen_addr;  ///< comma separated; "*" all; empty: unix socket only
  std::uint16_t listen_port = 0;
  std::string unix_socket_dir;  ///< empty: none
  std::uint32_t unix_socket_mode = 0;
  std::string unix_socket_group;
  std::uint32_t listen_backlog = 0;
  bool so_reuseport = false;
  Duration drain_timeout{};  ///< zero: clients are asked to leave at once, and waited for
  Duration suspend_timeout{};
  std::string pidfile;
  std::string user;  ///< setuid to this after start

  // HTTP.
  std::string http_listen;  ///< "127.0.0.1:9127"; empty: none
  std::string http_token;   ///< that requests have to bear; empty: none

  // Logging.
  std::string logfile;
  LogFormat log_format = LogFormat::text;
  std::uint32_t verbose = 0;
  bool log_connections = false;
  bool log_disconnections = false;
  bool log_pooler_errors = false;
  bool log_stats = false;
  Duration stats_period{};
  Duration slow_query_threshold{};

  // Pools.
  PoolMode pool_mode = PoolMode::transaction;
  std::uint32_t max_client_conn = 0;
  std::uint32_t default_pool_size = 0;
  std::uint32_t min_pool_size = 0;
  std::uint32_t reserve_pool_size = 0;
  Duration reserve_pool_timeout{};
  std::uint32_t max_db_connections = 0;
  std::uint32_t max_db_client_connections = 0;
  std::uint32_t max_user_connections = 0;
  std::uint32_t max_user_client_connections = 0;
  std::uint32_t max_host_connections = 0;     ///< ours: over all pools of one server
  std::uint32_t max_server_logins = 0;        ///< ours: server logins in progress per pool
  std::uint32_t max_prepared_statements = 0;  ///< per server connection; 0: off
  CheckoutOrder checkout_order = CheckoutOrder::lifo;
  OnExhausted on_exhausted = OnExhausted::queue;
  OnResidue on_residue = OnResidue::pin;
  /// Largest share of a pool that may be pinned before further statements are refused.
  double max_pinned_fraction = 0;
  OnSequenceState on_sequence_state = OnSequenceState::learn;

  // Authentication of clients.
  AuthType auth_type = AuthType::scram_sha_256;
  std::string auth_file;
  std::string auth_hba_file;
  std::string auth_ident_file;
  std::uint32_t scram_iterations = 0;
  /// auth_file: user name -> plain password, "md5…" or "SCRAM-SHA-256$…".
  std::map<std::string, std::string, std::less<>> secrets;
  std::vector<HbaLine> hba_lines;      ///< auth_hba_file, with auth_type = hba
  std::vector<IdentLine> ident_lines;  ///< auth_ident_file, likewise
  std::string auth_user;    ///< asks for users whom auth_file does not have; empty: nobody does
  std::string auth_query;   ///< one parameter, the user's name; returns name and stored password
  std::string auth_dbname;  ///< the entry that is asked; empty: the client's own
  Duration auth_query_ttl{};
  std::vector<std::string> admin_users;
  std::vector<std::string> stats_users;

  // TLS; files are PEM.
  SslMode client_tls_sslmode = SslMode::disable;
  std::string client_tls_key_file;
  std::string client_tls_cert_file;
  std::string client_tls_ca_file;
  std::string client_tls_crl_file;
  TlsProtocols client_tls_protocols;
  std::string client_tls_ciphers;
  std::string client_tls13_ciphers;
  std::string client_tls_ecdhcurve;
  DheParams client_tls_dheparams = DheParams::automatic;
  std::uint32_t worker_threads = 0;  ///< ours: for handshakes and the like; 0: as processors
  SslMode server_tls_sslmode = SslMode::disable;
  SslNegotiation server_tls_sslnegotiation = SslNegotiation::postgres;
  std::string server_tls_ca_file;
  std::string server_tls_crl_file;
  std::string server_tls_key_file;
  std::string server_tls_cert_file;
  TlsProtocols server_tls_protocols;
  std::string server_tls_ciphers;
  std::string server_tls13_ciphers;

  // Server connections.
  std::string server_reset_query;
  bool server_reset_query_always = false;
  std::string server_check_query;  ///< "<empty>" is given as ";": an empty Query; "" is off
  Duration server_check_delay{};
  Duration server_lifetime{};
  Duration server_idle_timeout{};
  Duration server_connect_timeout{};
  Duration cancel_wait_timeout{};

  // Capacity of servers.
  CapacityCheck check = CapacityCheck::enforce;
  Coordination coordination = Coordination::none;
  std::uint32_t instances = 1;    ///< of pgproxy that share these servers
  double safety_margin = 1;       ///< share of a server's connections that all of them may have
  double target_utilization = 1;  ///< share of a pool that is busy under the expected load
  Duration capacity_check_interval{};
  OnOvercommit on_overcommit = OnOvercommit::refuse_new;
  bool verify_acquire = false;
  double expected_rps = 0;
  double mean_transaction_ms = 0;
  std::string control_user;      ///< asks the servers; empty: nobody does
  std::string control_password;  ///< empty: as in auth_file
  std::string control_dbname;

  // Recovery of servers that failed.
  bool auto_recover = false;
  std::uint32_t max_attempts = 0;
  Duration attempt_interval{};
  WhileRecovering while_recovering = WhileRecovering::queue;
  FailedUntil failed_until = FailedUntil::reconnect;
  RerunOn rerun_on;

  // Several hosts; not set: not given.
  std::optional<Routing> routing;
  std::optional<ReadConsistency> read_consistency;
  std::optional<OnNoReplica> on_no_replica;
  std::optional<Duration> failover_hold;
  Duration probe_interval{};
  Duration max_replica_lag{};  ///< zero: any
  ReplicaPoolSize replica_pool_size;
  std::vector<std::string> safe_functions;  ///< "name" or "schema.name"
  Duration catalog_interval{};

  // Health of servers.
  Duration check_interval{};
  Duration check_timeout{};
  std::uint32_t failure_threshold = 0;
  std::string health_query;

  // Clients.
  Duration client_login_timeout{};
  Duration client_idle_timeout{};
  Duration query_timeout{};
  Duration query_wait_timeout{};
  Duration idle_transaction_timeout{};
  Duration leak_warning{};
  Duration transaction_timeout{};
  std::vector<std::string> ignore_startup_parameters;  ///< dropped instead of honoured

  // Sockets.
  std::uint32_t max_packet_size = 0;
  bool tcp_keepalive = true;
  std::uint32_t tcp_keepidle = 0;  ///< seconds; 0: the system's
  std::uint32_t tcp_keepcnt = 0;
  std::uint32_t tcp_keepintvl = 0;     ///< seconds
  std::uint32_t tcp_user_timeout = 0;  ///< milliseconds

  std::vector<Database> databases;
  std::optional<Database> auto_database;  ///< `*`
  std::vector<User> users;
  /// "file:line" of each setting that is given.
  std::map<std::string, std::string, std::less<>> places;

  /// Listed ones only, nullptr otherwise: the caller decides about auto_database.
  const Database* find_database(std::string_view name) const;
  const User* find_user(std::string_view name) const;
};

/// What holds for one (database, user) pool: user before database before global. `user` is the
/// pool's: the forced one where the database has one, as in PgBouncer.
struct PoolSettings {
  PoolMode pool_mode = PoolMode::transaction;
  std::uint32_t pool_size = 0;
  std::uint32_t min_pool_size = 0;
  std::uint32_t reserve_pool_size = 0;
  std::uint32_t max_db_connections = 0;
  std::uint32_t max_user_connections = 0;
  OnExhausted on_exhausted = OnExhausted::queue;
  OnResidue on_residue = OnResidue::pin;
  double max_pinned_fraction = 0;
  Duration server_lifetime{};
  Duration query_timeout{};
  Duration query_wait_timeout{};
  Duration idle_transaction_timeout{};
  Duration transaction_timeout{};
  Duration client_idle_timeout{};
  Duration slow_query_threshold{};
};
PoolSettings effective_settings(const Settings& settings, const Database& database,
                                std::string_view user);
/// How an entry with several hosts is routed: its own settings, or those of [routing].
struct RoutingSettings {
  Routing routing = Routing::off;  ///< also of an entry with one host
  ReadConsistency read_consistency = ReadConsistency::session;
  OnNoReplica on_no_replica = OnNoReplica::error;
  Duration failover_hold{};
  Duration max_replica_lag{};               ///< zero: any
  std::uint32_t replica_pool_size = 0;      ///< of each replica, at least 1
  std::vector<std::uint32_t> host_weights;  ///< one for each host
};
RoutingSettings routing_settings(const Settings& settings, const Database& database,
                                 std::string_view user);
/// Its servers are asked for their roles.
bool is_routed(const Settings& settings, const Database& database);
/// The settings that decide how many clients of a pool are served and how long the others wait,
/// each with its value and where that is given.
std::string describe_pool_settings(const Settings& settings, const Database& database,
                                   std::string_view user);
/// How long it takes at most until a server that stops answering is known to have failed.
Duration worst_case_detection(const Settings& settings);

}  // namespace pgproxy::config
