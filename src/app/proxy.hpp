#pragma once

#include <functional>
#include <memory>
#include <string>

#include "app/capacity_guard.hpp"
#include "app/clusters.hpp"
#include "app/operations.hpp"
#include "app/reload.hpp"
#include "app/shutdown.hpp"
#include "app/tls.hpp"
#include "app/watchdog.hpp"
#include "app/web_source.hpp"

#include "pgproxy/admin/commands.hpp"
#include "pgproxy/admin/console.hpp"
#include "pgproxy/config/load.hpp"
#include "pgproxy/control/auth_query.hpp"
#include "pgproxy/control/coordination.hpp"
#include "pgproxy/control/health_checks.hpp"
#include "pgproxy/net/fd_watcher.hpp"
#include "pgproxy/net/listener.hpp"
#include "pgproxy/net/loop.hpp"
#include "pgproxy/net/resolver.hpp"
#include "pgproxy/session/sessions.hpp"

namespace pgproxy::app {

/// The running program: the object graph of one loop, its signals, its end.
class Proxy final : private StatusSource, private session::ConsoleTarget {
 public:
  /// What RELOAD needs of how the program was started.
  struct Launch {
    std::string path;  ///< of the configuration file
    std::function<void(const config::Settings&)> configure_log;
  };
  /// `loaded` has no problems and outlives the object, which puts another in its place on RELOAD.
  Proxy(config::Loaded& loaded, const Tls& tls, Launch launch);
  ~Proxy();

  /// Makes sure that the servers have room for the pools, that this instance is one of those that
  /// were planned, and that the pools can be filled, as [capacity] says; then opens the sockets.
  /// The error names the setting to change. SIGTERM, SIGINT and SIGQUIT end the start: that is no
  /// error, and run() has nothing to serve.
  Result<void> open();
  /// Serves until a signal or SHUTDOWN ends it: SIGTERM and SIGINT let transactions finish first (a
  /// second one does not), SIGQUIT ends at once.
  void run();

 private:
  std::vector<ConnectionRow> clients() const override;
  std::vector<ConnectionRow> servers() const override;
  std::vector<PoolRow> pools() const override;
  std::vector<StatsRow> stats() const override;
  ListCounts lists() const override;
  std::vector<PinRow> pins() const override;
  std::vector<PinTotalRow> pin_totals() const override;
  std::vector<HealthRow> health() const override;
  std::vector<CapacityRow> capacity() const override;
  std::vector<QueryRow> queries() const override;
  std::vector<SlowQueryRow> slow_queries() const override;
  std::vector<DatabaseRow> databases() const override;
  std::vector<UserRow> users() const override;
  std::vector<WaitRow> waits() const override;
  std::vector<ErrorRow> errors() const override;
  std::vector<MemoryRow> memory() const override;
  std::vector<HostRow> hosts() const override;
  std::vector<RouteRow> routes() const override;
  std::vector<RouteExplanation> explain_route(std::string_view sql) const override;
  PoolerState pooler_state() const override;
  void execute(std::string_view text, session::ConsoleAccess access, std::string& out) override;
  void describe(std::string_view text, session::ConsoleAccess access, std::string& out) override;
  bool command(std::string_view text, session::ConsoleAccess access, std::string_view asked_by,
               CommandListener& listener) override;
  void cancel_command(CommandListener& listener) override;
  std::vector<std::pair<std::string, std::string>> parameters() const override;

  void on_health_checked(const control::HealthResult& result);
  void watch_signals();
  bool is_starting() const { return listener_ == nullptr; }
  void end_start(std::string_view signal);
  void stop_accepting();
  Result<void> open_web();
  Result<void> check_capacity();
  Result<void> find_roles();
  Result<void> coordinate();
  Result<void> verify_acquire();
  metrics::Status status() const;

  void apply(Reload::Accepted accepted);
  std::unique_ptr<control::HealthChecks> make_health_checks();
  control::Services services();

  config::Loaded& loaded_;
  const Launch launch_;
  net::UvLoop loop_;
  net::UvFdWatcher fd_watcher_;
  net::UvResolver resolver_;
  control::AuthQuery auth_query_;
  pool::Pools pools_;
  std::unique_ptr<control::HealthChecks> health_checks_;
  CapacityGuard capacity_;
  std::unique_ptr<control::Coordination> coordination_;
  session::Sessions sessions_;
  Clusters clusters_;
  Watchdog watchdog_;
  Shutdown shutdown_;
  Reload reload_;
  Operations operations_;
  admin::Console console_;
  admin::Commands commands_;
  const WallTime started_at_;
  std::unique_ptr<net::Listener> listener_;
  bool is_activated_ = false;    ///< the sockets are systemd's
  bool is_start_ended_ = false;  ///< by a signal
  WebSource web_source_;
  std::unique_ptr<web::Server> web_;  ///< gone before what it asks
};

}  // namespace pgproxy::app
