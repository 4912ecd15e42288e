#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "pgproxy/base/snapshot.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/io/loop.hpp"
#include "pgproxy/session/sessions.hpp"

namespace pgproxy::app {

/// How the program comes to its end. On the loop's thread.
class Shutdown final : private TimeoutListener {
 public:
  struct Actions {
    std::function<void()> stop_accepting;  ///< but for what only the console may use
    std::function<void()> stop;            ///< ends the loop
  };
  /// All of these outlive the object.
  Shutdown(io::Loop& loop, const config::Settings& settings, session::Sessions& sessions,
           Actions actions);

  /// SIGTERM: clients leave at the end of a transaction, in turn over half of drain_timeout. At its
  /// end those that are left are closed. With drain_timeout = 0 all are asked at once, and none is
  /// closed within a transaction.
  void drain(std::string_view asked_by);
  /// SIGINT, SHUTDOWN WAIT_FOR_SERVERS: likewise, but all at once and with no end to it; clients
  /// that wait for a server are closed.
  void wait_for_servers(std::string_view asked_by);
  /// SHUTDOWN WAIT_FOR_CLIENTS: nobody is asked to leave.
  void wait_for_clients(std::string_view asked_by);
  void now(std::string_view asked_by);

  /// Nobody is let in any more.
  bool is_on() const { return stage_ != Stage::none; }
  /// Clients are asked to leave.
  bool is_draining() const { return stage_ == Stage::draining; }
  void describe_health(std::vector<HealthRow>& rows) const;

 private:
  enum class Stage : std::uint8_t { none, waiting_for_clients, draining };

  void on_timeout(Timeout& timeout) override;
  void close_doors(Stage stage, std::string_view what);
  void ask_next();
  void end_drain();

  io::Loop& loop_;
  const config::Settings& settings_;
  session::Sessions& sessions_;
  Actions actions_;
  Stage stage_ = Stage::none;
  std::string asked_by_;
  WallTime since_{};
  TimePoint began_{};
  std::size_t client_count_ = 0;  ///< when it began
  Timeout turn_;
  Timeout end_;
};

}  // namespace pgproxy::app
