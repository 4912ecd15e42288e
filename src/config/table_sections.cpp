#include "config/field.hpp"
#include "config/table.hpp"

namespace pgproxy::config {

namespace {

using enum Apply;

constexpr Row<Settings> kCapacity[] = {
    {"check",
     field<&Settings::check>(),
     must_be_given("enforce",
                   "pools that do not fit into their server fail under load, not at the start; "
                   "report only says so, off is for servers that cannot be asked"),
     on_reload,
     "What becomes of pools that do not fit: enforce does not start, report logs and shows it, off "
     "does not ask the servers.",
     {.pgbouncers = "off"}},
    {"coordination",
     field<&Settings::coordination>(),
     must_be_given("advisory_lock",
                   "an instance more than was planned for is noticed before it takes connections; "
                   "none is for a single instance that nobody starts twice"),
     on_restart,
     "How instances keep to their number: advisory_lock holds one of `instances` locks in "
     "control_dbname of each primary, and tells the others its plan.",
     {.pgbouncers = "none"}},
    {"instances", field<&Settings::instances>({1, 1'000}),
     must_be_given("1", "this one; with a second for a rolling restart it is 2"), on_restart,
     "Instances of pgproxy that share these servers: each may have its part."},
    {"safety_margin", field<&Settings::safety_margin>({0, 1}),
     must_be_given("0.8",
                   "a fifth of the server's connections stays free for people, backups and what "
                   "else logs in without asking"),
     on_reload,
     "Share of (max_connections - reserved) of a server, and of the limits of roles and databases, "
     "that the pools of all instances may have."},
    {"target_utilization", field<&Settings::target_utilization>({0, 1}),
     must_be_given("0.7", "above that, queues grow faster than the load does"), on_reload,
     "Share of a pool that is busy when the expected load comes: the rest is for bursts."},
    {"capacity_check_interval", field<&Settings::capacity_check_interval>(),
     must_be_given("60", "limits change rarely; one question a minute costs a server nothing"),
     on_reload,
     "Time between two questions to each server about its limits; 0: only at the start."},
    {"on_overcommit", field<&Settings::on_overcommit>(),
     must_be_given("refuse_new", "what runs goes on; shrink gives idle connections back, too"),
     on_reload,
     "What is done while a server has less room than the pools need (a limit was lowered): "
     "refuse_new opens no connection beyond it, and closes one only where clients of another pool "
     "wait; shrink closes all idle ones beyond it."},
    {"verify_acquire",
     field<&Settings::verify_acquire>(),
     must_be_given("1",
                   "a pool that cannot be filled is found out at the start, and not by the first "
                   "clients of a Monday"),
     on_restart,
     "Fill each pool at the start, with twice as many that want a connection as it has, and run "
     "health_query on each.",
     {.pgbouncers = "0"}},
    {"expected_rps", field<&Settings::expected_rps>({0, 10'000'000}),
     must_be_given("100", "a guess; SHOW CAPACITY tells what was measured"), on_reload,
     "Transactions a second that clients of a database send at peak, over all its pools; entries "
     "of [databases] may have their own."},
    {"mean_transaction_ms", field<&Settings::mean_transaction_ms>({0, 86'400'000}),
     must_be_given("20", "a guess; SHOW CAPACITY tells what was measured"), on_reload,
     "How long a transaction has its server connection on average, in milliseconds; entries of "
     "[databases] may have their own."},
    {"control_user",
     field<&Settings::control_user>(),
     {"", "nobody: the servers cannot be asked (needed unless check = off)"},
     on_restart,
     "Who asks servers about limits and health, and holds the locks of coordination; a role with "
     "pg_monitor."},
    {"control_password",
     field<&Settings::control_password>(),
     {"", "from auth_file"},
     on_restart,
     "Password of control_user.",
     {.secret = true}},
    {"control_dbname",
     field<&Settings::control_dbname>(),
     {"", "none: needed with control_user"},
     on_restart,
     "Database on each server to which control_user connects; the locks of coordination are in "
     "it."},
};

constexpr Row<Settings> kRecovery[] = {
    {"auto_recover", field<&Settings::auto_recover>(),
     must_be_given("1",
                   "a server that restarts is used again without a person; 0 is for servers that "
                   "someone looks at first"),
     on_reload,
     "Whether a server that cannot be reached is tried again. 0: the first failure is final, until "
     "what failed_until says."},
    {"max_attempts", field<&Settings::max_attempts>({1, 1'000'000}),
     must_be_given("40",
                   "with attempt_interval = 15 that is ten minutes: restarts and failovers are "
                   "shorter"),
     on_reload,
     "Attempts to reach a server after a failure, before it is called failed. One attempt is one "
     "login, whatever the number of pools."},
    {"attempt_interval",
     field<&Settings::attempt_interval>(),
     must_be_given("15", "PgBouncer's server_login_retry"),
     on_reload,
     "Time between two attempts, always the same. Also how long new clients get the error of a "
     "login that the server refused (a wrong password).",
     {.alias = "server_login_retry"}},
    {"while_recovering", field<&Settings::while_recovering>(),
     must_be_given("queue",
                   "a restart is a pause for clients, not an error; query_wait_timeout bounds it"),
     on_reload,
     "What clients meet that need a server which is being tried again: a place in the queue, or an "
     "error at once. What a server may have begun to run is never sent again."},
    {"failed_until", field<&Settings::failed_until>(),
     must_be_given("health_check", "a server that answers again is used again"), on_reload,
     "What ends the state failed: the first health check that succeeds (or RECONNECT), or only "
     "RECONNECT on the console."},
    {"rerun_on", field<&Settings::rerun_on>(),
     must_be_given("none",
                   "nothing is run a second time; PgBouncer, too, passes the error on. stale_plan "
                   "spares applications the errors that follow a change of a table"),
     on_reload,
     "When a cycle of messages is run again, once, if it was outside of a transaction and nothing "
     "of its answer was passed on. stale_plan: it had failed at its first message with \"cached "
     "plan must not change result type\". replica_refusal: a standby refused a statement that "
     "would write (25006, unlogged tables), ended it for what it had to replay (40001, 40P01), or "
     "does not have what it names, perhaps not yet (42P01 and the like); then the primary runs "
     "it."},
};

constexpr Row<Settings> kHealth[] = {
    {"check_interval", field<&Settings::check_interval>(),
     must_be_given("5",
                   "with check_timeout = 3 and failure_threshold = 3 a dead server is known after "
                   "24 seconds at the latest, which is less than query_wait_timeout"),
     on_reload, "Time between two health checks of each server; 0: no checks."},
    {"check_timeout", field<&Settings::check_timeout>(),
     must_be_given("3", "one lost packet, which TCP sends again after a second"), on_reload,
     "Longest time for a health check."},
    {"failure_threshold", field<&Settings::failure_threshold>({1, 1'000}),
     must_be_given("3", "one check may be lost to a moment of load, and a second one"), on_reload,
     "Health checks in a row that fail before the server is taken for gone: its idle connections "
     "are closed, and busy ones on which nothing has come since the first of them."},
    {"health_query", field<&Settings::health_query>(),
     must_be_given("SELECT 1", "the cheapest question that a backend answers"), on_reload,
     "What a health check asks, as control_user; without control_user, that the server answers a "
     "login attempt is enough."},
};

constexpr std::string_view kByEntry =
    "to be given where an entry of [databases] names several hosts";

constexpr Row<Settings> kRouting[] = {
    {"routing",
     field<&Settings::routing>(),
     {"", kByEntry},
     on_reload,
     "What goes to which of several hosts. off: they are all alike, and taken in turn as "
     "load_balance_hosts says. Otherwise they are a primary and its standbys, whose roles are "
     "found "
     "out; primary_only: everything goes to the primary; read_only_transactions: transactions that "
     "say READ ONLY (BEGIN, START TRANSACTION, default_transaction_read_only, or the comment /* "
     "pgproxy: replica */ in front) go to standbys; selects: so do single queries outside of a "
     "transaction which neither write nor lock anything nor call what may, as the catalog of the "
     "primary has it; rerun_on = replica_refusal is for what that does not tell."},
    {"read_consistency",
     field<&Settings::read_consistency>(),
     {"", kByEntry},
     on_reload,
     "What a client sees that reads from a standby. session: at least what itself has written; "
     "bounded: nothing older than max_replica_lag; eventual: what happens to be there."},
    {"on_no_replica",
     field<&Settings::on_no_replica>(),
     {"", kByEntry},
     on_reload,
     "What becomes of a transaction for a standby when none may be read from: the primary runs it, "
     "it waits until query_wait_timeout, or it fails with 57P03."},
    {"failover_hold",
     field<&Settings::failover_hold>(),
     {"", kByEntry},
     on_reload,
     "How long transactions wait for a new primary when there is none; then they fail with 57P03, "
     "and their clients stay connected."},
    {"probe_interval",
     field<&Settings::probe_interval>(),
     {"1",
      "four short questions a second and server cost nothing; what is lost is noticed at once "
      "anyway"},
     on_restart,
     "Time between two questions to each server about its role and position, as control_user."},
    {"max_replica_lag",
     field<&Settings::max_replica_lag>(),
     {"0", "any: read_consistency decides"},
     on_reload,
     "A standby whose last replayed transaction is older than this is not read from; 0: it is."},
    {"replica_pool_size",
     field<&Settings::replica_pool_size>(),
     {"100%", "a standby can do what the primary can"},
     on_reload,
     "Most connections of a pool to each standby: a number, or a share of pool_size."},
    {"safe_functions",
     field<&Settings::safe_functions>(),
     {"", "what pg_proc calls volatile may write"},
     on_reload,
     "With routing = selects, functions that a standby may run although pg_proc calls them "
     "volatile: as name (in any schema) or schema.name (where they are called so)."},
    {"catalog_interval",
     field<&Settings::catalog_interval>(),
     {"60",
      "what clients of pgproxy change is asked for at once; a standby refuses what others have "
      "made "
      "volatile meanwhile"},
     on_reload,
     "With routing = selects, or read_only_transactions and read_consistency = session: time "
     "between two questions to the primary about the functions, views and policies of each "
     "database."},
};

}  // namespace

std::span<const Row<Settings>> routing_settings() {
  return kRouting;
}
std::span<const Row<Settings>> capacity_settings() {
  return kCapacity;
}
std::span<const Row<Settings>> recovery_settings() {
  return kRecovery;
}
std::span<const Row<Settings>> health_settings() {
  return kHealth;
}

}  // namespace pgproxy::config
