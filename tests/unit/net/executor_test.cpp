#include "pgproxy/io/executor.hpp"

#include <atomic>
#include <functional>
#include <future>
#include <thread>

#include "net_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;

namespace {

struct FunctionJob final : io::Job {
  FunctionJob(std::function<void()> run, std::function<void()> done)
      : run_(std::move(run)), done_(std::move(done)) {}
  void run() override { run_(); }
  void on_done() override { done_(); }

 private:
  std::function<void()> run_;
  std::function<void()> done_;
};

/// A loop with one thread, and jobs that write down what happens to them.
struct Jobs {
  TestLoop test;
  UvLoop& loop = test.loop;

  std::unique_ptr<io::PendingJob> submit(std::function<void()> run, std::function<void()> done) {
    return loop.executor().submit(std::make_unique<FunctionJob>(std::move(run), [this, done] {
      done();
      loop.stop();
    }));
  }
  /// Keeps the thread busy until let_go().
  void occupy() {
    occupier_ = submit([gate = gate_.get_future().share()] { gate.wait(); }, [] {});
  }
  void let_go() { gate_.set_value(); }

 private:
  std::promise<void> gate_;
  std::unique_ptr<io::PendingJob> occupier_;
};

}  // namespace

TEST_CASE("a job runs on another thread and its end is told on the loop's") {
  Jobs jobs;
  std::thread::id ran_on;
  std::thread::id told_on;
  const auto pending = jobs.submit([&] { ran_on = std::this_thread::get_id(); },
                                   [&] { told_on = std::this_thread::get_id(); });
  jobs.test.run_until([&] { return told_on != std::thread::id(); });
  CHECK(told_on == std::this_thread::get_id());
  CHECK(ran_on != std::thread::id());
  CHECK(ran_on != told_on);
}

TEST_CASE("jobs run in their order, and every end is told") {
  Jobs jobs;
  std::string ran;
  std::string told;
  std::vector<std::unique_ptr<io::PendingJob>> pending;
  jobs.occupy();
  for (const char name : {'a', 'b', 'c'}) {
    pending.push_back(jobs.submit([&ran, name] { ran += name; }, [&told, name] { told += name; }));
  }
  jobs.let_go();
  jobs.test.run_until([&] { return told.size() == 3; });
  CHECK(ran == "abc");
  CHECK(told == "abc");
}

TEST_CASE("a job that is given up before it began does not run") {
  Jobs jobs;
  bool has_run = false;
  bool is_told = false;
  jobs.occupy();
  auto pending = jobs.submit([&] { has_run = true; }, [&] { is_told = true; });
  pending.reset();
  jobs.let_go();
  bool is_next_told = false;
  const auto next = jobs.submit([] {}, [&] { is_next_told = true; });
  jobs.test.run_until([&] { return is_next_told; });
  CHECK_FALSE(has_run);
  CHECK_FALSE(is_told);
}

TEST_CASE("the end of a job that was given up is told to nobody") {
  Jobs jobs;
  std::promise<void> begun;
  std::promise<void> gate;
  bool is_told = false;
  auto pending = jobs.submit(
      [&] {
        begun.set_value();
        gate.get_future().wait();
      },
      [&] { is_told = true; });
  begun.get_future().wait();
  pending.reset();
  gate.set_value();
  bool is_next_told = false;
  const auto next = jobs.submit([] {}, [&] { is_next_told = true; });
  jobs.test.run_until([&] { return is_next_told; });
  CHECK_FALSE(is_told);
}

TEST_CASE("one end may give up another one that has come with it") {
  Jobs jobs;
  std::unique_ptr<io::PendingJob> second;
  bool is_told = false;
  std::promise<void> both_ran;
  const auto first = jobs.submit([] {}, [&] { second.reset(); });
  second = jobs.submit([] {}, [&] { is_told = true; });
  const auto third = jobs.submit([&] { both_ran.set_value(); }, [] {});
  both_ran.get_future().wait();
  jobs.test.run_until([&] { return second == nullptr; });
  CHECK_FALSE(is_told);
}

TEST_CASE("jobs are freed on the loop's thread, wanted or not, begun or not") {
  struct Freed final : io::Job {
    explicit Freed(std::vector<std::thread::id>& to) : log(to) {}
    ~Freed() override { log.push_back(std::this_thread::get_id()); }
    void run() override {}
    void on_done() override {}
    std::vector<std::thread::id>& log;
  };
  std::vector<std::thread::id> freed;
  std::unique_ptr<io::PendingJob> outlives;
  {
    Jobs jobs;
    io::Executor& executor = jobs.loop.executor();
    const auto wanted = executor.submit(std::make_unique<Freed>(freed));
    executor.submit(std::make_unique<Freed>(freed)).reset();
    bool is_over = false;
    const auto last = jobs.submit([] {}, [&] { is_over = true; });
    jobs.test.run_until([&] { return is_over; });
    CHECK(freed.size() == 2);
    outlives = executor.submit(std::make_unique<Freed>(freed));
  }
  CHECK(freed == std::vector(3, std::this_thread::get_id()));
}

TEST_CASE("the end of the loop waits for the job that runs") {
  std::atomic<bool> has_run = false;
  std::promise<void> begun;
  std::promise<void> gate;
  std::unique_ptr<io::PendingJob> pending;
  std::thread releaser;
  {
    Jobs jobs;
    const auto run = [&] {
      begun.set_value();
      gate.get_future().wait();
      has_run = true;
    };
    pending = jobs.submit(run, [] {});
    begun.get_future().wait();
    releaser = std::thread([&] { gate.set_value(); });
  }
  CHECK(has_run);
  releaser.join();
}
