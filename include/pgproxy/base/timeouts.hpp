#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/base/time.hpp"

namespace pgproxy {

class Timeout;

/// Told when one of its timeouts has passed.
class TimeoutListener {
 public:
  /// `timeout` is disarmed already and may be armed again.
  virtual void on_timeout(Timeout& timeout) = 0;

 protected:
  ~TimeoutListener() = default;
};

/// One thing that may take only so long. Disarmed when destroyed.
class Timeout : public ListHook<Timeout> {
 public:
  explicit Timeout(TimeoutListener& listener) : listener_(listener) {}
  bool is_armed() const { return is_linked(); }
  void disarm() { unlink(); }

 private:
  friend class TimeoutQueue;
  friend class Timeouts;
  TimeoutListener& listener_;
  TimePoint deadline_;
};

class Timeouts;

/// All timeouts of one duration: arrival order is expiry order, so arming and disarming are O(1).
class TimeoutQueue {
 public:
  TimeoutQueue(Timeouts& owner, Duration duration) : owner_(owner), duration_(duration) {}
  /// (Re)starts `timeout`; it fires `duration()` after `now`. A zero duration never fires.
  void arm(Timeout& timeout, TimePoint now);
  Duration duration() const { return duration_; }

 private:
  friend class Timeouts;
  Timeouts& owner_;
  Duration duration_;
  IntrusiveList<Timeout> list_;
};

/// Where the one timer of a loop is set; implemented over io::Loop.
class AlarmSetter {
 public:
  virtual void set_alarm(TimePoint when) = 0;

 protected:
  ~AlarmSetter() = default;
};

/// The timeouts of one loop, in front of its one timer. Touches the timer only when an earlier
/// deadline than the one it stands on appears, which in the steady state is never.
class Timeouts {
 public:
  explicit Timeouts(AlarmSetter& alarm) : alarm_(alarm) {}
  /// The queue for `duration`, made on first use; lives as long as this object.
  TimeoutQueue& queue(Duration duration);
  /// Fires what is due and sets the alarm for what is next. Call it when the alarm rings.
  void expire(TimePoint now);

 private:
  friend class TimeoutQueue;
  void note_deadline(TimePoint deadline);

  AlarmSetter& alarm_;
  std::optional<TimePoint> alarm_at_;
  std::vector<std::unique_ptr<TimeoutQueue>> queues_;
};

}  // namespace pgproxy
