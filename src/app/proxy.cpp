#include "app/proxy.hpp"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <systemd/sd-daemon.h>
#include <thread>
#include <unordered_map>

#include "app/process.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::app {
namespace {

Duration thread_cpu_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec / 1000);
}

unsigned worker_count(const config::Settings& settings) {
  if (settings.worker_threads > 0) return settings.worker_threads;
  return std::max(std::thread::hardware_concurrency(), 2U) - 1;
}

}  // namespace

Proxy::Proxy(config::Loaded& loaded, const Tls& tls, Launch launch)
    : loaded_(loaded),
      launch_(std::move(launch)),
      loop_(net::SocketOptions::from(loaded.settings), worker_count(loaded.settings)),
      fd_watcher_(loop_),
      resolver_(loop_),
      auth_query_(services(), loaded.settings),
      pools_(loop_, loaded.settings, tls.servers),
      health_checks_(make_health_checks()),
      capacity_(services(), loaded.settings, pools_),
      sessions_(loop_, loaded.settings, pools_, *this, auth_query_),
      clusters_(services(), loaded.settings, pools_, sessions_),
      watchdog_(loop_),
      shutdown_(loop_, loaded.settings, sessions_,
                {.stop_accepting = [this] { stop_accepting(); }, .stop = [this] { loop_.stop(); }}),
      reload_({.services = services(),
               .running = loaded,
               .path = launch_.path,
               .apply = [this](Reload::Accepted accepted) { apply(std::move(accepted)); }}),
      operations_({.loop = loop_,
                   .settings = loaded.settings,
                   .pools = pools_,
                   .sessions = sessions_,
                   .shutdown = shutdown_,
                   .reload = reload_,
                   .servers = [this] { return servers(); }}),
      console_(*this, loaded),
      commands_(operations_),
      started_at_(loop_.wall_now()),
      web_source_(loop_, {.status = [this] { return status(); },
                          .config = [this] { return config::describe(loaded_); },
                          .slow_queries = [this] { return slow_queries(); },
                          .errors = [this] { return errors(); }}) {
  control::ignore_environment();
  sessions_.use_tls(tls.clients);
  pools_.on_gone([this](const pool::Pool& pool) { sessions_.forget(pool); });
}

control::Services Proxy::services() {
  return {loop_, fd_watcher_, resolver_};
}

std::unique_ptr<control::HealthChecks> Proxy::make_health_checks() {
  return std::make_unique<control::HealthChecks>(
      services(), loaded_.settings,
      [this](const control::HealthResult& result) { on_health_checked(result); });
}

/// Everything that was made of the settings is made anew, or told; what only reads them finds the
/// new ones.
void Proxy::apply(Reload::Accepted accepted) {
  const bool is_tls_other = std::ranges::any_of(accepted.change.changes, [](const auto& change) {
    return !change.needs_restart && change.name.starts_with("server_tls");
  });
  loaded_ = std::move(accepted.change.next);
  const config::Settings& settings = loaded_.settings;
  launch_.configure_log(settings);
  loop_.set_socket_options(net::SocketOptions::from(settings));
  if (const auto ensured = ensure_descriptors(settings); !ensured) {
    log::line(log::Level::warning, "{} HINT: {}", ensured.error().message, ensured.error().hint);
  }
  sessions_.use_tls(accepted.tls.clients);
  pools_.reload(accepted.tls.servers, is_tls_other);
  capacity_.reload(accepted.plan, std::move(accepted.verdict));
  auth_query_.reload();
  health_checks_ = make_health_checks();
  if (coordination_ != nullptr) coordination_->reload(accepted.plan);
  clusters_.reload();
  sessions_.reload();
  pools_.open_minimum();
}

Proxy::~Proxy() {
  pools_.shut_down();
}

void Proxy::on_health_checked(const control::HealthResult& result) {
  pools_.on_check_done(result.address, result.latency, result.error ? &*result.error : nullptr,
                       result.is_silent);
}

/// Who can connect finds everything else there already.
Result<void> Proxy::open() {
  watch_signals();
  if (auto opened = open_web(); !opened) return opened;
  for (const auto step :
       {&Proxy::check_capacity, &Proxy::coordinate, &Proxy::find_roles, &Proxy::verify_acquire}) {
    if (auto done = (this->*step)(); !done || is_start_ended_) return done;
  }
  capacity_.start();
  pools_.open_minimum();
  std::vector<int> activated;
  for (int i = 0, count = sd_listen_fds(0); i < count; ++i) {
    activated.push_back(SD_LISTEN_FDS_START + i);
  }
  is_activated_ = !activated.empty();
  auto listener = activated.empty() ? net::Listener::open(loop_, loaded_.settings, sessions_)
                                    : net::Listener::adopt(loop_, activated, sessions_);
  if (!listener) return std::unexpected(listener.error());
  listener_ = std::move(*listener);
  for (const std::string& address : listener_->addresses()) {
    log::line(log::Level::log, "listening on {}", address);
  }
  return {};
}

Result<void> Proxy::open_web() {
  const config::Settings& settings = loaded_.settings;
  if (settings.http_listen.empty()) return {};
  auto server = web::Server::start({.listen = settings.http_listen, .token = settings.http_token},
                                   web_source_);
  if (!server) return std::unexpected(server.error());
  web_ = std::move(*server);
  log::line(log::Level::log, "HTTP on {}", settings.http_listen);
  return {};
}

void Proxy::run() {
  if (!is_start_ended_) {
    log::line(log::Level::log, "process up: pgproxy {}", PGPROXY_VERSION);
    sd_notify(0, "READY=1");
    watchdog_.start();
    loop_.run();
  }
  sd_notify(0, "STOPPING=1");
  listener_.reset();
  pools_.shut_down();
  sessions_.close_all();
  log::line(log::Level::log, "process down");
}

/// systemd's sockets hold newcomers for the next process; of our own, the unix socket stays for the
/// console, and nobody is reset.
void Proxy::stop_accepting() {
  if (is_activated_) return listener_->close();
  listener_->accept_waiting();
  listener_->close_tcp();
}

/// Before anything is waited for and anybody can connect: a signal that is not watched kills.
void Proxy::watch_signals() {
  loop_.on_signal(SIGTERM, [this] {
    if (is_starting()) return end_start("SIGTERM");
    shutdown_.is_draining() ? shutdown_.now("SIGTERM again") : shutdown_.drain("SIGTERM");
  });
  loop_.on_signal(SIGINT, [this] {
    if (is_starting()) return end_start("SIGINT");
    shutdown_.is_draining() ? shutdown_.now("SIGINT again") : shutdown_.wait_for_servers("SIGINT");
  });
  loop_.on_signal(SIGQUIT,
                  [this] { is_starting() ? end_start("SIGQUIT") : shutdown_.now("SIGQUIT"); });
  loop_.on_signal(SIGUSR1, [this] {
    if (!is_starting()) return operations_.run_for_signal(CommandKind::pause, "SIGUSR1");
    log::line(log::Level::warning, "got SIGUSR1 while starting: nothing is paused");
  });
  loop_.on_signal(SIGUSR2, [this] { operations_.run_for_signal(CommandKind::resume, "SIGUSR2"); });
  loop_.on_signal(SIGHUP, [this] {
    if (!is_starting()) return operations_.run_for_signal(CommandKind::reload, "SIGHUP");
    log::line(log::Level::warning, "got SIGHUP while starting: nothing is read again");
  });
}

void Proxy::end_start(std::string_view signal) {
  log::line(log::Level::log, "got {} while starting, shutting down", signal);
  is_start_ended_ = true;
  loop_.stop();
}

std::vector<ConnectionRow> Proxy::clients() const {
  return sessions_.describe();
}

std::vector<ConnectionRow> Proxy::servers() const {
  std::vector<ConnectionRow> rows;
  pools_.for_each_even_retired([&](const pool::Pool& pool) { pool.describe_servers(rows); });
  std::unordered_map<std::uint64_t, ConnectionRow> holders;
  for (ConnectionRow& client : sessions_.describe()) {
    if (client.link != 0) holders.emplace(client.link, std::move(client));
  }
  for (ConnectionRow& row : rows) {
    const auto holder = holders.find(row.id);
    if (holder == holders.end()) continue;
    row.link = holder->second.id;
    row.request_time = holder->second.request_time;
    row.pin_reason = holder->second.pin_reason;
    row.pinned_since = holder->second.pinned_since;
  }
  return rows;
}

std::vector<PoolRow> Proxy::pools() const {
  std::vector<PoolRow> rows;
  pools_.for_each([&](const pool::Pool& pool) { rows.push_back(pool.describe()); });
  sessions_.describe_pools(rows);
  return rows;
}

metrics::Status Proxy::status() const {
  metrics::Status status{.pins = sessions_.describe_pin_totals(),
                         .health = health(),
                         .capacity = capacity(),
                         .hosts = hosts(),
                         .routes = routes(),
                         .clients = sessions_.counters(),
                         .lists = lists(),
                         .started_at = started_at_,
                         .taken_at = loop_.wall_now(),
                         .loop_cpu_time = thread_cpu_time(),
                         .is_starting = is_starting(),
                         .is_draining = shutdown_.is_on()};
  if (coordination_ != nullptr) status.coordination = coordination_->counts();
  std::vector<PoolRow> rows = pools();
  auto row = rows.begin();
  pools_.for_each([&](const pool::Pool& pool) {
    status.pools.push_back({.row = std::move(*row++),
                            .counters = pool.counters(),
                            .min_pool_size = pool.settings().min_pool_size,
                            .reserve_pool_size = pool.settings().reserve_pool_size});
  });
  return status;
}

std::vector<StatsRow> Proxy::stats() const {
  return pools_.stats();
}

std::vector<PinRow> Proxy::pins() const {
  return sessions_.describe_pins();
}

std::vector<PinTotalRow> Proxy::pin_totals() const {
  return sessions_.describe_pin_totals();
}

std::vector<HealthRow> Proxy::health() const {
  std::vector<HealthRow> rows;
  const config::Settings& settings = loaded_.settings;
  const auto note_off = [&](bool is_off, std::string name, std::string reason, std::string hint) {
    if (!is_off) return;
    rows.push_back({.kind = "configuration",
                    .name = std::move(name),
                    .state = "degraded",
                    .reason = std::move(reason),
                    .hint = std::move(hint),
                    .since = started_at_});
  };
  const bool is_unasked = settings.check == config::CapacityCheck::off;
  note_off(settings.check_interval == Duration::zero(), "check_interval",
           "check_interval = 0: no server's health is checked", "Set check_interval = 5.");
  note_off(is_unasked, "check", "check = off: nobody knows whether the servers have room",
           "Set check = enforce, with control_user.");
  note_off(!settings.verify_acquire, "verify_acquire",
           "verify_acquire = 0: pools are not filled at the start", "Set verify_acquire = 1.");
  note_off(!is_unasked && settings.capacity_check_interval == Duration::zero(),
           "capacity_check_interval",
           "capacity_check_interval = 0: limits that servers lower are found by clients",
           "Set capacity_check_interval = 60.");
  shutdown_.describe_health(rows);
  operations_.describe_health(rows);
  capacity_.describe_health(rows);
  if (coordination_ != nullptr) coordination_->describe_health(rows);
  pools_.describe_health(rows);
  health_checks_->describe_health(rows);
  clusters_.describe_health(rows);
  return rows;
}

std::vector<CapacityRow> Proxy::capacity() const {
  return capacity_.rows();
}

std::vector<QueryRow> Proxy::queries() const {
  return sessions_.describe_queries();
}

std::vector<SlowQueryRow> Proxy::slow_queries() const {
  return sessions_.describe_slow_queries();
}

std::vector<DatabaseRow> Proxy::databases() const {
  return pools_.describe_databases();
}

std::vector<UserRow> Proxy::users() const {
  return pools_.describe_users();
}

std::vector<WaitRow> Proxy::waits() const {
  return sessions_.describe_waits();
}

std::vector<ErrorRow> Proxy::errors() const {
  return sessions_.describe_errors();
}

std::vector<HostRow> Proxy::hosts() const {
  std::vector<HostRow> rows = pools_.describe_hosts();
  clusters_.describe(rows);
  return rows;
}

std::vector<RouteExplanation> Proxy::explain_route(std::string_view sql) const {
  return sessions_.explain_route(sql);
}

std::vector<RouteRow> Proxy::routes() const {
  return sessions_.describe_routes();
}

std::vector<MemoryRow> Proxy::memory() const {
  std::vector<MemoryRow> rows;
  pools_.describe_memory(rows);
  sessions_.describe_memory(rows);
  return rows;
}

PoolerState Proxy::pooler_state() const {
  return {.is_paused = pools_.is_paused(), .is_suspended = pools_.is_suspended()};
}

ListCounts Proxy::lists() const {
  ListCounts counts = sessions_.count();
  counts.databases = static_cast<std::uint32_t>(pools_.database_count());
  counts.users = static_cast<std::uint32_t>(pools_.user_count());
  pools_.for_each([&](const pool::Pool& pool) {
    ++counts.pools;
    counts.used_servers += static_cast<std::uint32_t>(pool.server_count());
  });
  return counts;
}

void Proxy::execute(std::string_view text, session::ConsoleAccess access, std::string& out) {
  console_.execute(text, access == session::ConsoleAccess::admin, out);
}

void Proxy::describe(std::string_view text, session::ConsoleAccess access, std::string& out) {
  console_.describe(text, access == session::ConsoleAccess::admin, out);
}

bool Proxy::command(std::string_view text, session::ConsoleAccess access, std::string_view asked_by,
                    CommandListener& listener) {
  return commands_.execute(text, access == session::ConsoleAccess::admin, asked_by, listener);
}

void Proxy::cancel_command(CommandListener& listener) {
  commands_.cancel(listener);
}

std::vector<std::pair<std::string, std::string>> Proxy::parameters() const {
  return admin::Console::parameters();
}

}  // namespace pgproxy::app
