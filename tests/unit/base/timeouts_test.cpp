#include "pgproxy/base/timeouts.hpp"

#include <doctest/doctest.h>
#include <functional>
#include <vector>

using namespace pgproxy;
using namespace std::chrono_literals;

namespace {

struct World final : AlarmSetter, TimeoutListener {
  std::vector<TimePoint> alarms;
  std::vector<const Timeout*> fired;
  std::function<void(Timeout&)> when_fired = [](Timeout&) {};
  Timeouts timeouts{*this};

  void set_alarm(TimePoint when) override { alarms.push_back(when); }
  void on_timeout(Timeout& timeout) override {
    fired.push_back(&timeout);
    when_fired(timeout);
  }
};

constexpr TimePoint start{1000s};

}  // namespace

TEST_CASE("a timeout fires at its deadline, not before, and once") {
  World world;
  Timeout timeout(world);
  world.timeouts.queue(5s).arm(timeout, start);
  CHECK(world.alarms == std::vector{start + 5s});
  world.timeouts.expire(start + 4999ms);
  CHECK(world.fired.empty());
  CHECK(timeout.is_armed());
  world.timeouts.expire(start + 5s);
  CHECK(world.fired.size() == 1);
  CHECK_FALSE(timeout.is_armed());
  world.timeouts.expire(start + 60s);
  CHECK(world.fired.size() == 1);
}

TEST_CASE("the alarm is set again only for an earlier deadline") {
  World world;
  Timeout first(world);
  Timeout second(world);
  Timeout sooner(world);
  world.timeouts.queue(5s).arm(first, start);
  world.timeouts.queue(5s).arm(second, start + 1s);
  CHECK(world.alarms.size() == 1);
  world.timeouts.queue(1s).arm(sooner, start + 1s);
  CHECK(world.alarms.back() == start + 2s);
  world.timeouts.expire(start + 2s);
  CHECK(world.fired == std::vector<const Timeout*>{&sooner});
  CHECK(world.alarms.back() == start + 5s);
}

TEST_CASE("an alarm that rings after a disarm finds the next deadline") {
  World world;
  Timeout disarmed(world);
  Timeout later(world);
  world.timeouts.queue(5s).arm(disarmed, start);
  world.timeouts.queue(5s).arm(later, start + 3s);
  disarmed.disarm();
  world.timeouts.expire(start + 5s);
  CHECK(world.fired.empty());
  CHECK(world.alarms.back() == start + 8s);
}

TEST_CASE("arming again moves the deadline") {
  World world;
  Timeout timeout(world);
  TimeoutQueue& queue = world.timeouts.queue(5s);
  queue.arm(timeout, start);
  queue.arm(timeout, start + 3s);
  world.timeouts.expire(start + 5s);
  CHECK(world.fired.empty());
  world.timeouts.expire(start + 8s);
  CHECK(world.fired.size() == 1);
}

TEST_CASE("a zero duration never fires and disarms what was armed") {
  World world;
  Timeout timeout(world);
  world.timeouts.queue(5s).arm(timeout, start);
  world.timeouts.queue(0s).arm(timeout, start);
  CHECK_FALSE(timeout.is_armed());
  world.timeouts.expire(start + 60s);
  CHECK(world.fired.empty());
}

TEST_CASE("a destroyed timeout does not fire") {
  World world;
  {
    Timeout timeout(world);
    world.timeouts.queue(5s).arm(timeout, start);
  }
  world.timeouts.expire(start + 60s);
  CHECK(world.fired.empty());
}

TEST_CASE("a listener may arm again, ask for a new duration, or disarm another that is due") {
  World world;
  Timeout first(world);
  Timeout second(world);
  TimeoutQueue& queue = world.timeouts.queue(5s);
  queue.arm(first, start);
  queue.arm(second, start);
  world.when_fired = [&](Timeout& timeout) {
    second.disarm();
    world.timeouts.queue(7s).arm(timeout, start + 5s);
  };
  world.timeouts.expire(start + 5s);
  CHECK(world.fired == std::vector<const Timeout*>{&first});
  CHECK(first.is_armed());
  CHECK(world.alarms.back() == start + 12s);
}

TEST_CASE("equal durations share one queue") {
  World world;
  CHECK(&world.timeouts.queue(5s) == &world.timeouts.queue(5000ms));
  CHECK(&world.timeouts.queue(5s) != &world.timeouts.queue(6s));
}
