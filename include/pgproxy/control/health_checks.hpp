#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/control/connection.hpp"
#include "pgproxy/io/transport.hpp"

namespace pgproxy::control {

/// How one health check ended.
struct HealthResult {
  io::ServerAddress address;
  Duration latency{};          ///< of a check that succeeded
  std::optional<Error> error;  ///< nullopt: it succeeded
  bool is_silent = false;      ///< nobody answered in time
};

/// Checks each server of [databases] every check_interval: with control_user by health_query in
/// control_dbname, on a connection that stays open; without it by a login attempt, which the server
/// may refuse in any words but those of starting or stopping (as pg_isready does). A server that
/// refuses control_user is there, and not asked: logged once, and a degraded check until it lets
/// control_user in. On the loop's thread; never blocks.
class HealthChecks final : private TimeoutListener {
 public:
  using Report = std::function<void(const HealthResult&)>;
  /// `settings` outlives the object. Each result goes to `report`, one at a time.
  HealthChecks(Services services, const config::Settings& settings, Report report);
  ~HealthChecks();

  /// Rows of kind "health_check" for servers that refuse control_user.
  void describe_health(std::vector<HealthRow>& rows) const;

 private:
  /// One server, as [databases] names it.
  struct Check {
    io::ServerAddress address;
    bool has_login = false;
    std::unique_ptr<Connection> connection;
    bool is_on = false;
    std::optional<Error> refusal;  ///< of control_user, since the last check
    WallTime refused_since{};
  };

  void on_timeout(Timeout& timeout) override;
  void add_servers_of(const config::Database& entry);
  void start(Check& check);
  void finish(Check& check, TimePoint started_at, const Answer& answer);
  void note_refusal(Check& check, const Error& error);
  void note_admission(Check& check);

  Services services_;
  const config::Settings& settings_;
  Report report_;
  std::vector<std::unique_ptr<Check>> checks_;
  Timeout timer_;
};

/// What an answer to a login attempt without a password says of the server: nothing is wrong with
/// it unless it is starting, stopping or not there.
bool is_ready_for_logins(const Error& error);

}  // namespace pgproxy::control
