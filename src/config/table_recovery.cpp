#include "config/field.hpp"
#include "config/table.hpp"

namespace pgproxy::config {

namespace {

using enum Apply;

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
     "When a cycle of messages is run again, once: it had failed at its first message, outside of "
     "a transaction, and nothing of its answer was passed on. stale_plan: \"cached plan must not "
     "change result type\"."},
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

}  // namespace

std::span<const Row<Settings>> recovery_settings() {
  return kRecovery;
}
std::span<const Row<Settings>> health_settings() {
  return kHealth;
}

}  // namespace pgproxy::config
