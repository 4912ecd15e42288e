#include "loop.hpp"

#include <utility>

#include "network.hpp"

namespace pgproxy::sim {

Loop::~Loop() {
  while (!doomed_.empty()) std::exchange(doomed_, {}).clear();  // one may doom another
}

void Loop::destroy_later(std::unique_ptr<io::Disposable> object) {
  doomed_.push_back(std::move(object));
}

void Loop::close_gracefully(std::unique_ptr<io::Transport> transport) {
  static_cast<Transport&>(*transport).finish();
}

void Loop::after(Duration delay, std::function<void()> event) {
  events_.emplace(now_ + delay, std::move(event));
}

std::unique_ptr<io::PendingJob> Loop::submit(std::unique_ptr<io::Job> job) {
  struct Pending final : io::PendingJob {
    ~Pending() override { *is_wanted = false; }
    std::shared_ptr<bool> is_wanted = std::make_shared<bool>(true);
  };
  auto pending = std::make_unique<Pending>();
  after(job_time, [is_wanted = pending->is_wanted, job = std::shared_ptr<io::Job>(std::move(job))] {
    if (!*is_wanted) return;
    job->run();
    job->on_done();
  });
  return pending;
}

bool Loop::step() {
  const bool has_event = !events_.empty();
  if (!has_event && !alarm_) return false;
  if (alarm_ && (!has_event || *alarm_ <= events_.begin()->first)) {
    now_ = std::max(now_, *std::exchange(alarm_, std::nullopt)) + Duration(1);
    timeouts_.expire(now_);
  } else {
    auto event = events_.extract(events_.begin());
    now_ = std::max(now_, event.key()) + Duration(1);
    event.mapped()();
  }
  while (!doomed_.empty()) std::exchange(doomed_, {}).clear();
  if (observer_) observer_();
  return true;
}

void Loop::run_until_quiet() {
  while (!events_.empty()) step();
}

void Loop::run_for(Duration duration) {
  bool is_over = false;
  after(duration, [&] { is_over = true; });
  while (!is_over) step();
}

}  // namespace pgproxy::sim
