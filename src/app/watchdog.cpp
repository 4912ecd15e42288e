#include "app/watchdog.hpp"

#include <cstdint>
#include <systemd/sd-daemon.h>

namespace pgproxy::app {

void Watchdog::start() {
  std::uint64_t limit_us = 0;
  if (sd_watchdog_enabled(0, &limit_us) <= 0) return;
  period_ = Duration(limit_us / 2);
  on_timeout(timer_);
}

void Watchdog::on_timeout(Timeout& /*timeout*/) {
  sd_notify(0, "WATCHDOG=1");
  loop_.timeouts().queue(period_).arm(timer_, loop_.now());
}

}  // namespace pgproxy::app
