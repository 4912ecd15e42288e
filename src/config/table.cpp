#include "config/table.hpp"

#include "config/field.hpp"

namespace pgproxy::config {

namespace {

using enum Apply;

constexpr Row<Settings> kListening[] = {
    {"listen_addr",
     field<&Settings::listen_addr>(),
     {"", "PgBouncer's: unix socket only, nobody reaches it over a network by accident"},
     on_restart,
     "Addresses to accept clients on, comma separated; * for all. Empty: unix socket only."},
    {"listen_port",
     field<&Settings::listen_port>({1, 65'535}),
     {"6432", "PgBouncer's"},
     on_restart,
     "TCP port; also the number in the name of the unix socket, .s.PGSQL.6432."},
    {"unix_socket_dir",
     field<&Settings::unix_socket_dir>(),
     {"/tmp", "PgBouncer's, and where libpq looks"},
     on_restart,
     "Directory of the unix socket, and where databases without a host are; @name is an abstract "
     "socket. Empty: none."},
    {"unix_socket_mode",
     field<&Settings::unix_socket_mode, OctalCodec>({0, 0777}),
     {"0777", "PgBouncer's: whoever may log in may connect, as in PostgreSQL"},
     on_restart,
     "File mode of the unix socket."},
    {"unix_socket_group",
     field<&Settings::unix_socket_group>(),
     {"", "PgBouncer's: the group of the process"},
     on_restart,
     "Group of the unix socket."},
    {"listen_backlog",
     field<&Settings::listen_backlog>({1, 65'535}),
     {"128", "PgBouncer's; the kernel caps it at net.core.somaxconn"},
     on_restart,
     "Connections that the kernel holds until they are accepted."},
    {"so_reuseport",
     field<&Settings::so_reuseport>(),
     {"0", "PgBouncer's: a second process on the port by mistake is an error"},
     on_restart,
     "1: other processes may listen on the same port, so that a new one takes over before the old "
     "one gets SIGTERM. Each needs its own unix_socket_dir; there are no peers, so a cancel "
     "request "
     "that reaches the other process is lost."},
    {"drain_timeout",
     field<&Settings::drain_timeout>(),
     {"20", "ends before Kubernetes (30 s) and systemd (90 s) lose patience and kill"},
     on_reload,
     "Time that SIGTERM gives: clients are asked to leave (57P01) when their transaction ends, in "
     "turn over its first half; at its end the rest is closed. 0: all are asked at once, and none "
     "is closed within a transaction, however long that takes."},
    {"suspend_timeout",
     field<&Settings::suspend_timeout>(),
     {"10", "PgBouncer's"},
     on_reload,
     "Time after which SUSPEND closes what does not take what was sent to it; 0: off."},
    {"pidfile",
     field<&Settings::pidfile>(),
     {"", "PgBouncer's: none; systemd needs none"},
     on_restart,
     "File for the process id."},
    {"user",
     field<&Settings::user>(),
     {"", "PgBouncer's: stay who started it, unless that is root, which is refused"},
     on_restart,
     "System user to become after the start."},
};

constexpr Row<Settings> kPools[] = {
    {"pool_mode",
     field<&Settings::pool_mode>(),
     must_be_given("transaction",
                   "the mode in which few server connections serve many clients; PgBouncer's own "
                   "default, session, keeps one server connection per client"),
     on_reload,
     "When a server connection goes back to its pool: when the client leaves (session), after each "
     "transaction, or after each statement.",
     {.pgbouncers = "session"}},
    {"default_pool_size",
     field<&Settings::default_pool_size, PoolSizeCodec>({1, 10'000}),
     must_be_given(
         "20",
         "PgBouncer's value; a server with max_connections = 100, 3 of them reserved, has "
         "room for four such pools"),
     on_reload,
     "Most server connections that one pool, a (database, user) pair, may hold. auto: as many as "
     "the expected load needs (expected_rps, mean_transaction_ms, target_utilization).",
     {.bad_hint = kUnlimitedServersHint}},
    {"max_client_conn", field<&Settings::max_client_conn>({1, 1'000'000}),
     must_be_given(
         "100",
         "PgBouncer's value, and PostgreSQL's for max_connections; add up the pools of your "
         "applications. Each client takes one file descriptor (ulimit -n)"),
     on_reload, "Most clients at once; further ones are refused."},
    {"min_pool_size",
     field<&Settings::min_pool_size, PoolSizeCodec>({0, 10'000}),
     {"0", "PgBouncer's: server connections are opened when clients need them"},
     on_reload,
     "Server connections that a pool in use keeps open. auto: as many as the expected load needs."},
    {"reserve_pool_size",
     field<&Settings::reserve_pool_size>({0, 10'000}),
     {"0", "PgBouncer's: no reserve"},
     on_reload,
     "Further server connections that a pool may open when a client has waited for "
     "reserve_pool_timeout."},
    {"reserve_pool_timeout",
     field<&Settings::reserve_pool_timeout>(),
     {"5", "PgBouncer's"},
     on_reload,
     "How long the first client in the queue waits before the reserve is used; 0: never used."},
    {"max_db_connections",
     field<&Settings::max_db_connections>(),
     {"0", "PgBouncer's: no limit besides the size of each pool"},
     on_reload,
     "Most server connections of one database, over all its users."},
    {"max_db_client_connections",
     field<&Settings::max_db_client_connections>(),
     {"0", "PgBouncer's: no limit besides max_client_conn"},
     on_reload,
     "Most clients of one database."},
    {"max_user_connections",
     field<&Settings::max_user_connections>(),
     {"0", "PgBouncer's: no limit besides the size of each pool"},
     on_reload,
     "Most server connections of one user, over all databases."},
    {"max_user_client_connections",
     field<&Settings::max_user_client_connections>(),
     {"0", "PgBouncer's: no limit besides max_client_conn"},
     on_reload,
     "Most clients of one user."},
    {"max_host_connections",
     field<&Settings::max_host_connections>(),
     {"0", "no limit besides the size of each pool"},
     on_reload,
     "Most server connections to one server, over all databases and users. Needed for the check of "
     "capacity where [databases] has *."},
    {"max_server_logins",
     field<&Settings::max_server_logins>({1, 1'000}),
     {"3",
      "a pool of 20 is full after seven rounds, while PostgreSQL starts three processes at once "
      "and "
      "not twenty"},
     on_reload,
     "Server logins that may be in progress at once in one pool."},
    {"on_exhausted", field<&Settings::on_exhausted>(),
     must_be_given("queue",
                   "PgBouncer's way: clients wait up to query_wait_timeout; reject suits clients "
                   "that have somewhere else to go"),
     on_reload,
     "What a client meets when all server connections of its pool are in use and no more may be "
     "opened: a place in the queue, or an error at once. With reject the reserve is used at once."},
    {"max_prepared_statements",
     field<&Settings::max_prepared_statements>({0, 100'000}),
     {"200", "PgBouncer's"},
     on_reload,
     "Prepared statements that a server connection keeps for the clients of its pool; the least "
     "recently used one goes first. 0: a client with a named one keeps its server connection; "
     "whether it is 0 counts at a client's login."},
    {"checkout_order",
     field<&Settings::checkout_order>(),
     {"lifo", "PgBouncer's: the connection used last is the one with warm caches"},
     on_reload,
     "Which idle server connection is used next: the one used last, the one that has been idle "
     "longest, or any."},
    {"server_round_robin",
     field<&Settings::checkout_order, RoundRobinCodec>(),
     {"0", "PgBouncer's"},
     on_reload,
     "PgBouncer's word for checkout_order: 0 is lifo, 1 is round_robin; the later line wins."},
};

constexpr Row<Settings> kSessionState[] = {
    {"on_residue", field<&Settings::on_residue>(),
     must_be_given("pin",
                   "the application works as with PostgreSQL itself; error suits applications that "
                   "should hold no session state, and tells which of them do"),
     on_reload,
     "What a statement meets that leaves more behind than settings (a temporary table, LISTEN, a "
     "session advisory lock, …), with pool_mode = transaction: pin keeps the server connection for "
     "its client, error refuses the statement."},
    {"max_pinned_fraction", field<&Settings::max_pinned_fraction>({0, 1}),
     must_be_given("0.5",
                   "half of each pool goes on serving everyone else, whatever some clients do"),
     on_reload,
     "Largest share of a pool's server connections that may be pinned; statements that would pin "
     "one more are refused."},
    {"on_sequence_state",
     field<&Settings::on_sequence_state>(),
     {"learn", "pools that never ask pay nothing, and no client is told another one's value"},
     on_reload,
     "What becomes of lastval and currval. pin: a client that draws from a sequence (INSERT, "
     "nextval) keeps its server connection. learn: as pin from the first lastval in a pool on, "
     "which is refused with 55000. error: always refused, except on the server connection on which "
     "the client has just drawn."},
};

constexpr std::string_view kAuthQuery =
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid "
    "WHERE rolname=$1 AND rolcanlogin";

constexpr Row<Settings> kAuthentication[] = {
    {"auth_type",
     field<&Settings::auth_type>(),
     must_be_given("scram-sha-256",
                   "PostgreSQL's own default; needs auth_file. PgBouncer's default is md5, which "
                   "falls over to SCRAM for users with a SCRAM secret"),
     on_reload,
     "How clients prove who they are. trust: the user must exist; any: no check at all; cert: by a "
     "certificate that names the user; hba: as the first line of auth_hba_file says that matches.",
     {.pgbouncers = "md5"}},
    {"auth_file",
     field<&Settings::auth_file>(),
     {"", "PgBouncer's: none; needed by all that check a password"},
     on_reload,
     "Users and their secrets, one \"user\" \"secret\" per line; a secret is plain, md5... or "
     "SCRAM-SHA-256$...; with the server's own SCRAM secret, what a client proves logs in to the "
     "server."},
    {"auth_hba_file",
     field<&Settings::auth_hba_file>(),
     {"", "PgBouncer's: none; needed by auth_type = hba"},
     on_reload,
     "A file as PostgreSQL's pg_hba.conf; docs/authentication.md says what it may hold."},
    {"auth_ident_file",
     field<&Settings::auth_ident_file>(),
     {"", "PgBouncer's: none; needed by lines of auth_hba_file with map=..."},
     on_reload,
     "A file as PostgreSQL's pg_ident.conf: which system user or certificate may log in as whom."},
    {"auth_user",
     field<&Settings::auth_user>(),
     {"", "PgBouncer's: users come from auth_file only"},
     on_reload,
     "Who runs auth_query, for users whom auth_file does not have; its own secret is in "
     "auth_file."},
    {"auth_query",
     field<&Settings::auth_query>(),
     {kAuthQuery, "PgBouncer's: nobody whose VALID UNTIL has passed"},
     on_reload,
     "Finds the stored password of user $1: one row of name and password, or none. search_path is "
     "pg_catalog, public."},
    {"auth_dbname",
     field<&Settings::auth_dbname>(),
     {"", "PgBouncer's: the database that the client asks for"},
     on_reload,
     "Entry of [databases] that auth_query is run in."},
    {"auth_query_ttl",
     field<&Settings::auth_query_ttl>(),
     {"0", "a password that was changed counts at once"},
     on_reload,
     "How long an answer of auth_query is used; 0: each login asks."},
    {"scram_iterations",
     field<&Settings::scram_iterations>({1, 1'000'000}),
     {"4096", "PgBouncer's and PostgreSQL's"},
     on_reload,
     "SCRAM iterations for users whose secret is a plain password."},
    {"admin_users",
     field<&Settings::admin_users>(),
     {"", "PgBouncer's: only the system user who runs pgproxy, over the unix socket"},
     on_reload,
     "Users who may do everything on the console."},
    {"stats_users",
     field<&Settings::stats_users>(),
     {"", "PgBouncer's: nobody else"},
     on_reload,
     "Users who may use SHOW on the console."},
};

constexpr Row<Settings> kServers[] = {
    {"server_connect_timeout", field<&Settings::server_connect_timeout>(),
     must_be_given("15",
                   "PgBouncer's value: time for three lost packets, which TCP sends again "
                   "after 1, 3 and 7 seconds"),
     on_reload, "Longest time for connecting and logging in to a server; 0: off."},
    {"server_lifetime",
     field<&Settings::server_lifetime>(),
     {"3600", "PgBouncer's: backends that live long grow caches"},
     on_reload,
     "Age from which a server connection is closed when nobody uses it; 0: used once."},
    {"server_idle_timeout",
     field<&Settings::server_idle_timeout>(),
     {"600", "PgBouncer's"},
     on_reload,
     "Time after which an unused server connection is closed; 0: off."},
    {"server_reset_query",
     field<&Settings::server_reset_query>(),
     {"DISCARD ALL", "PgBouncer's: the next client finds nothing of the one before"},
     on_reload,
     "Sent to a server connection that a client leaves, with pool_mode = session. Empty: nothing."},
    {"server_reset_query_always",
     field<&Settings::server_reset_query_always>(),
     {"0", "PgBouncer's: one more round trip per transaction"},
     on_reload,
     "Use server_reset_query in every pool mode."},
    {"server_check_query",
     field<&Settings::server_check_query, CheckQueryCodec>(),
     {"<empty>", "PgBouncer's: an empty query, the cheapest one"},
     on_reload,
     "Sent to a server connection that has been idle for server_check_delay, before it is used. "
     "Empty: no check."},
    {"server_check_delay",
     field<&Settings::server_check_delay>(),
     {"30", "PgBouncer's"},
     on_reload,
     "Idle time after which server_check_query is due; 0: always."},
    {"cancel_wait_timeout",
     field<&Settings::cancel_wait_timeout>(),
     {"10", "PgBouncer's"},
     on_reload,
     "Longest time for passing on a cancel request; 0: off."},
};

constexpr Row<Settings> kClients[] = {
    {"query_wait_timeout", field<&Settings::query_wait_timeout>(),
     must_be_given("50",
                   "below client_login_timeout, so that a client that waits at its login hears why "
                   "(PgBouncer's value is 120); most applications have given up by then"),
     on_reload,
     "Longest time that a client waits for a server connection; 0: for ever. Less than "
     "client_login_timeout, and more than failure_threshold * (check_interval + check_timeout)."},
    {"query_timeout", field<&Settings::query_timeout>(),
     must_be_given("0",
                   "PgBouncer's value, off: a query cut off here costs its server connection, "
                   "which PostgreSQL's statement_timeout does not"),
     on_reload, "Longest time for a query; 0: off."},
    {"idle_transaction_timeout",
     field<&Settings::idle_transaction_timeout>(),
     must_be_given("25",
                   "PgBouncer's value is 0, off: one forgotten transaction then holds a server "
                   "connection for ever. 25 is half of query_wait_timeout's 50: who waits "
                   "behind such a transaction is still served"),
     on_reload,
     "Longest time that a client may be idle within a transaction; 0: off.",
     {.pgbouncers = "0"}},
    {"leak_warning", field<&Settings::leak_warning>(),
     must_be_given("10",
                   "longer than an application that is at work pauses within a transaction, and "
                   "long before idle_transaction_timeout ends it"),
     on_reload,
     "Time idle within a transaction after which a warning names the client and its last "
     "statement, once per transaction; 0: off."},
    {"transaction_timeout",
     field<&Settings::transaction_timeout>(),
     {"0", "PgBouncer's: off"},
     on_reload,
     "Longest time for a transaction; 0: off."},
    {"client_idle_timeout",
     field<&Settings::client_idle_timeout>(),
     {"0", "PgBouncer's: off; an idle client costs about a kilobyte"},
     on_reload,
     "Time after which an idle client is disconnected; 0: off."},
    {"client_login_timeout",
     field<&Settings::client_login_timeout>(),
     {"60", "PgBouncer's and PostgreSQL's"},
     on_reload,
     "Longest time for a client's login; 0: off."},
    {"ignore_startup_parameters",
     field<&Settings::ignore_startup_parameters>(),
     {"", "PgBouncer's; pgproxy honours startup parameters, so few lists are needed"},
     on_reload,
     "Startup parameters that are dropped instead of honoured."},
};

constexpr Row<Settings> kLogging[] = {
    {"logfile",
     field<&Settings::logfile>(),
     {"", "PgBouncer's: standard error only"},
     on_reload,
     "File to log to, besides standard error."},
    {"log_format",
     field<&Settings::log_format>(),
     {"text", "lines in PgBouncer's shape, which existing alerts understand"},
     on_reload,
     "Shape of the log's lines."},
    {"verbose",
     field<&Settings::verbose>({0, 10}),
     {"0", "PgBouncer's"},
     on_reload,
     "More log lines with higher numbers."},
    {"log_connections",
     field<&Settings::log_connections>(),
     {"1", "PgBouncer's"},
     on_reload,
     "Log each login."},
    {"log_disconnections",
     field<&Settings::log_disconnections>(),
     {"1", "PgBouncer's"},
     on_reload,
     "Log each disconnection with its reason."},
    {"log_pooler_errors",
     field<&Settings::log_pooler_errors>(),
     {"1", "PgBouncer's"},
     on_reload,
     "Log the errors that pgproxy itself sends to clients."},
    {"log_stats",
     field<&Settings::log_stats>(),
     {"1", "PgBouncer's"},
     on_reload,
     "Log a line of statistics every stats_period."},
    {"stats_period",
     field<&Settings::stats_period>({1, 86'400}),
     {"60", "PgBouncer's"},
     on_reload,
     "Time over which SHOW STATS takes its averages."},
    {"slow_query_threshold",
     field<&Settings::slow_query_threshold>(),
     {"1", "a second: people notice, and a healthy application has few of these lines"},
     on_reload,
     "Log each query that takes this long or longer, waiting included, with where its time went, "
     "without its constants; SHOW SLOW_QUERIES has the last ones. 0: off."},
};

constexpr Row<Settings> kHttp[] = {
    {"http_listen",
     field<&Settings::http_listen>(),
     {"", "nobody reaches it by accident; Prometheus' exporters for PgBouncer use 127.0.0.1:9127"},
     on_restart,
     "Address and port for the status page (/), /metrics (Prometheus), /status, /pool-stats, "
     "/slow-queries, /capacity, /config, /health and /ready. Empty: no HTTP."},
    {"http_token",
     field<&Settings::http_token>(),
     {"", "none: whoever reaches http_listen may read; it shows no secrets and changes nothing"},
     on_restart,
     "Bearer token that HTTP requests must have; the status page, which has no data of its own, "
     "asks its user for it.",
     {.secret = true}},
};

constexpr Row<Settings> kSockets[] = {
    {"max_packet_size",
     field<&Settings::max_packet_size>({1'024, 2'147'483'647}),
     {"2147483647", "PgBouncer's: as large as the protocol allows; large messages are streamed"},
     on_reload,
     "Largest message in bytes; a larger one ends its connection."},
    {"tcp_keepalive",
     field<&Settings::tcp_keepalive>(),
     {"1", "PgBouncer's: vanished peers are noticed"},
     on_reload,
     "TCP keepalive."},
    {"tcp_keepidle",
     field<&Settings::tcp_keepidle>({0, 32'767}),
     {"0", "PgBouncer's: the system's"},
     on_reload,
     "Seconds before the first keepalive probe."},
    {"tcp_keepcnt",
     field<&Settings::tcp_keepcnt>({0, 127}),
     {"0", "PgBouncer's: the system's"},
     on_reload,
     "Keepalive probes without an answer that end a connection."},
    {"tcp_keepintvl",
     field<&Settings::tcp_keepintvl>({0, 32'767}),
     {"0", "PgBouncer's: the system's"},
     on_reload,
     "Seconds between keepalive probes."},
    {"tcp_user_timeout",
     field<&Settings::tcp_user_timeout>(),
     {"0", "PgBouncer's: the system's"},
     on_reload,
     "Milliseconds that sent data may stay unacknowledged."},
};

template <class Row>
const Row* find_in(std::span<const Row> rows, std::string_view name) {
  for (const Row& row : rows) {
    if (row.name == name || (!name.empty() && row.extra.alias == name)) return &row;
  }
  return nullptr;
}

}  // namespace

std::span<const Group> setting_groups() {
  static const Group groups[] = {
      {"Pools", kPools},
      {"Session state", kSessionState},
      {"Clients", kClients},
      {"Server connections", kServers},
      {"Authentication", kAuthentication},
      {"TLS", tls_settings()},
      {"Listening", kListening},
      {"HTTP", kHttp},
      {"Logging", kLogging},
      {"Sockets", kSockets},
      {"Capacity", capacity_settings(), "capacity"},
      {"Recovery", recovery_settings(), "recovery"},
      {"Health", health_settings(), "health"},
      {"Routing", routing_settings(), "routing"},
  };
  return groups;
}

const Row<Settings>* find_setting(std::string_view name) {
  for (const Group& group : setting_groups()) {
    if (const auto* row = find_in(group.rows, name)) return row;
  }
  return find_in(foreign_settings(), name);
}

std::string_view section_of(const Row<Settings>& row) {
  for (const Group& group : setting_groups()) {
    if (find_in(group.rows, row.name) != nullptr) return group.section;
  }
  return "pgproxy";
}

}  // namespace pgproxy::config
