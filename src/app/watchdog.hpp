#pragma once

#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/io/loop.hpp"

namespace pgproxy::app {

/// Tells systemd that the loop goes round, twice in WatchdogSec= of the unit; from the loop's own
/// timer, so that one that is stuck is noticed. Without a watchdog it does nothing.
class Watchdog final : private TimeoutListener {
 public:
  explicit Watchdog(io::Loop& loop) : loop_(loop), timer_(*this) {}
  void start();

 private:
  void on_timeout(Timeout& timeout) override;

  io::Loop& loop_;
  Duration period_{};
  Timeout timer_;
};

}  // namespace pgproxy::app
