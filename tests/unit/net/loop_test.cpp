#include "pgproxy/net/loop.hpp"

#include <csignal>
#include <thread>

#include "net_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;
using namespace std::chrono_literals;

namespace {

struct Alarm final : TimeoutListener {
  explicit Alarm(UvLoop& of) : loop(of) {}
  void arm(Duration after) {
    loop.timeouts().queue(after).arm(timeout, loop.now());
    due = loop.now() + after;
  }
  void on_timeout(Timeout&) override {
    fired = true;
    was_early = loop.now() + 1ms < due;  // `due` was taken a moment after arming
    loop.stop();
  }
  UvLoop& loop;
  Timeout timeout{*this};
  TimePoint due;
  bool fired = false;
  bool was_early = false;
};

struct Flag final : io::Disposable {
  explicit Flag(std::function<void()> hook) : at_end(std::move(hook)) {}
  ~Flag() override { at_end(); }
  std::function<void()> at_end;
};

struct DeferredFlag final : Deferred {
  void on_deferred() override {
    ++count;
    if (hook) hook();
  }
  int count = 0;
  std::function<void()> hook;
};

}  // namespace

TEST_CASE("a timeout armed later but due earlier rings first, and none rings early") {
  TestLoop test;
  Alarm late(test.loop), soon(test.loop), sooner(test.loop);
  late.arm(20s);
  soon.arm(15ms);
  sooner.arm(1ms);
  test.run_until([&] { return soon.fired && sooner.fired; });
  CHECK_FALSE(late.fired);
  CHECK_FALSE(soon.was_early);
  CHECK_FALSE(sooner.was_early);
  soon.fired = false;
  soon.arm(2ms);  // the alarm works again after it has rung
  test.run_until([&] { return soon.fired; });
  CHECK_FALSE(late.fired);
}

TEST_CASE("posted tasks of several threads all run, each thread's in order, on the loop") {
  TestLoop test;
  constexpr int per_thread = 1000;
  std::vector<int> last(2, -1);
  int run_count = 0;
  bool in_order = true;
  const auto loop_thread = std::this_thread::get_id();
  std::vector<std::thread> threads(last.size());
  for (std::size_t id = 0; id < last.size(); ++id) {
    threads[id] = std::thread([&, id] {
      for (int i = 0; i < per_thread; ++i) {
        test.loop.post([&, id, i] {
          in_order = in_order && last[id] == i - 1 && std::this_thread::get_id() == loop_thread;
          last[id] = i;
          ++run_count;
          test.loop.stop();
        });
      }
    });
  }
  test.run_until([&] { return run_count == 2 * per_thread; });
  for (auto& thread : threads) thread.join();
  CHECK(in_order);
}

TEST_CASE("a signal calls its callback on the loop") {
  TestLoop test;
  int count = 0;
  test.loop.on_signal(SIGUSR2, [&] {
    ++count;
    test.loop.stop();
  });
  ::raise(SIGUSR2);
  CHECK(count == 0);
  test.run_until([&] { return count > 0; });
  ::raise(SIGUSR2);
  test.run_until([&] { return count > 1; });
}

TEST_CASE("destroy_later frees after the callback, and without further events") {
  TestLoop test;
  bool freed = false, freed_inside = false, nested = false;
  test.loop.post([&] {
    test.loop.destroy_later(std::make_unique<Flag>([&] {
      freed = true;
      test.loop.destroy_later(std::make_unique<Flag>([&] {
        nested = true;
        test.loop.stop();
      }));
    }));
    freed_inside = freed;
  });
  test.run_until([&] { return nested; });
  CHECK_FALSE(freed_inside);
}

TEST_CASE("what waits to be destroyed is destroyed with the loop") {
  bool freed = false;
  {
    TestLoop test;
    test.loop.destroy_later(std::make_unique<Flag>([&] { freed = true; }));
  }
  CHECK(freed);
}

TEST_CASE("a deferred call that is destroyed first is not made") {
  TestLoop test;
  DeferredFlag kept;
  {
    DeferredFlag dropped;
    dropped.hook = [] { FAIL("called"); };
    test.loop.defer(dropped);
    test.loop.defer(kept);
  }
  kept.hook = [&] { test.loop.stop(); };
  test.run_until([&] { return kept.count == 1; });
}

TEST_CASE("a call that defers itself again and again does not keep the loop from its events") {
  TestLoop test;
  DeferredFlag endless;
  endless.hook = [&] { test.loop.defer(endless); };
  test.loop.defer(endless);
  Pair pair(test);  // needs sockets to be served
  CHECK(endless.count > 0);
}
