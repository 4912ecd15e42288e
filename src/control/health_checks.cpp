#include "pgproxy/control/health_checks.hpp"

#include <algorithm>
#include <utility>

#include "control/tls_parameters.hpp"

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
  std::vector<std::string> hosts = entry.hosts;
  if (hosts.empty()) hosts = {settings_.unix_socket_dir};
  for (const std::string& host : hosts) {
    const io::ServerAddress address{.host = host, .port = entry.port};
    const auto is_same = [&](const auto& check) { return check->address == address; };
    if (std::ranges::any_of(checks_, is_same)) continue;
    Target target{.hosts = {host},
                  .port = entry.port,
                  .dbname = "postgres",
                  .user = std::string(nobody),
                  .tls = tls_parameters(settings_),
                  .timeout = settings_.check_timeout};
    auto check = std::make_unique<Check>(Check{.address = address});
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
  const bool is_well = answer || (!check.has_login && is_ready_for_logins(answer.error()));
  if (!is_well) {
    result.error = answer.error();
    result.is_silent = result.latency >= settings_.check_timeout;
  }
  report_(result);
}

}  // namespace pgproxy::control
