#include "pgproxy/control/health_checks.hpp"

#include <algorithm>
#include <utility>

#include "control/control_target.hpp"
#include "control/tls_parameters.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::control {
namespace {

/// Whom a check logs in as that has no login: nobody needs to know this name.
constexpr std::string_view nobody = "pgproxy";

}  // namespace

bool is_ready_for_logins(const Error& error) {
  return !error.sqlstate.starts_with("08") && error.sqlstate != "57P01" &&
         error.sqlstate != "57P02" && error.sqlstate != "57P03";
}

HealthChecks::HealthChecks(Services services, const config::Settings& settings, Report report)
    : services_(services), settings_(settings), report_(std::move(report)), timer_(*this) {
  if (settings.check_interval == Duration::zero()) return;
  for (const config::Database& entry : settings.databases) add_servers_of(entry);
  if (settings.auto_database) add_servers_of(*settings.auto_database);
  services_.loop.timeouts().queue(settings.check_interval).arm(timer_, services_.loop.now());
}

HealthChecks::~HealthChecks() = default;

void HealthChecks::add_servers_of(const config::Database& entry) {
  for (const std::string& host : hosts_of(settings_, entry)) {
    const io::ServerAddress address{.host = host, .port = entry.port};
    const auto is_same = [&](const auto& check) { return check->address == address; };
    if (std::ranges::any_of(checks_, is_same)) continue;
    const bool has_login = !settings_.control_user.empty();
    Target target = has_login ? control_target(settings_, host, entry.port)
                              : Target{.hosts = {host},
                                       .port = entry.port,
                                       .dbname = "postgres",
                                       .user = std::string(nobody),
                                       .tls = tls_parameters(settings_),
                                       .may_be_in_clear = may_be_in_clear(settings_)};
    target.timeout = settings_.check_timeout;
    target.timeout_setting = "check_timeout";
    auto check = std::make_unique<Check>(Check{.address = address, .has_login = has_login});
    check->connection = std::make_unique<Connection>(services_, std::move(target));
    checks_.push_back(std::move(check));
  }
}

void HealthChecks::on_timeout(Timeout& /*timeout*/) {
  services_.loop.timeouts().queue(settings_.check_interval).arm(timer_, services_.loop.now());
  for (const auto& check : checks_) start(*check);
}

/// With check_timeout above check_interval the one before may still be on.
void HealthChecks::start(Check& check) {
  if (std::exchange(check.is_on, true)) return;
  const TimePoint started_at = services_.loop.now();
  const std::string sql = check.has_login ? settings_.health_query : "SELECT 1";
  check.connection->ask(sql, {}, [this, &check, started_at](const Answer& answer) {
    finish(check, started_at, answer);
  });
}

void HealthChecks::finish(Check& check, TimePoint started_at, const Answer& answer) {
  check.is_on = false;
  if (!check.has_login) check.connection->hang_up();  // the next one is to log in again
  HealthResult result{.address = check.address,
                      .latency = services_.loop.now() - started_at,
                      .error = std::nullopt};
  // What health_query itself met came on a connection that is still open.
  const bool is_refused =
      !answer && !check.connection->is_open() && is_ready_for_logins(answer.error());
  if (!answer && !is_refused) {
    result.error = answer.error();
    result.is_silent = result.latency >= settings_.check_timeout;
  }
  if (check.has_login && is_refused) note_refusal(check, answer.error());
  if (answer) note_admission(check);
  report_(result);
}

void HealthChecks::note_refusal(Check& check, const Error& error) {
  const std::string server = server_name(check.address.host, check.address.port);
  const Error explained = explain_control_error(settings_, server, error);
  const bool is_known = check.refusal && check.refusal->message == explained.message;
  if (!check.refusal) check.refused_since = services_.loop.wall_now();
  check.refusal = explained;
  if (is_known) return;
  log::line(log::Level::warning,
            "health check: {}; until it is let in, all that is known is that the server answers. "
            "HINT: {}",
            explained.message, explained.hint);
}

void HealthChecks::note_admission(Check& check) {
  if (!check.refusal) return;
  check.refusal.reset();
  log::line(log::Level::log, "health check: {} lets control_user \"{}\" in again",
            server_name(check.address.host, check.address.port), settings_.control_user);
}

void HealthChecks::describe_health(std::vector<HealthRow>& rows) const {
  for (const auto& check : checks_) {
    if (!check->refusal) continue;
    rows.push_back({.kind = "health_check",
                    .name = server_name(check->address.host, check->address.port),
                    .state = "degraded",
                    .reason = check->refusal->message,
                    .hint = check->refusal->hint,
                    .since = check->refused_since});
  }
}

}  // namespace pgproxy::control
