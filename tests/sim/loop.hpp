#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "pgproxy/io/loop.hpp"

namespace pgproxy::sim {

/// An event loop over virtual time: events happen in the order of their time, nothing ever waits.
/// The clock stands still during an event.
class Loop final : public io::Loop, private io::Executor, private AlarmSetter {
 public:
  ~Loop();
  TimePoint now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  Timeouts& timeouts() override { return timeouts_; }
  io::Connector& connector() override { return *connector_; }
  /// A job takes `job_time`, and its result is there at once or never.
  io::Executor& executor() override { return *this; }
  Duration job_time{100};
  void destroy_later(std::unique_ptr<io::Disposable> object) override;
  void close_gracefully(std::unique_ptr<io::Transport> transport) override;

  void set_connector(io::Connector& connector) { connector_ = &connector; }
  /// Called after every event, when nothing is on the stack.
  void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }

  void after(Duration delay, std::function<void()> event);
  /// Lets the next event or timeout happen; false: there is none.
  bool step();
  /// Until nothing is on its way. Timeouts that are further away than that do not fire.
  void run_until_quiet();
  /// Lets `duration` pass, timeouts included.
  void run_for(Duration duration);

 private:
  void set_alarm(TimePoint when) override { alarm_ = when; }
  std::unique_ptr<io::PendingJob> submit(std::unique_ptr<io::Job> job) override;
  unsigned thread_count() const override { return 1; }

  TimePoint now_{Duration(1'000'000)};
  Timeouts timeouts_{*this};
  std::multimap<TimePoint, std::function<void()>> events_;
  std::optional<TimePoint> alarm_;
  std::vector<std::unique_ptr<io::Disposable>> doomed_;
  io::Connector* connector_ = nullptr;
  std::function<void()> observer_;
};

}  // namespace pgproxy::sim
