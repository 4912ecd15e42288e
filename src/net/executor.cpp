#include "net/executor.hpp"

#include <atomic>
#include <csignal>
#include <pthread.h>
#include <utility>

#include "pgproxy/base/assert.hpp"

namespace pgproxy::net {

/// A job and whoever waits for it. The threads touch `job` and `is_wanted` only.
struct UvExecutor::Entry {
  std::unique_ptr<io::Job> job;
  std::atomic<bool> is_wanted = true;
  Pending* pending = nullptr;
};

class UvExecutor::Pending final : public io::PendingJob {
 public:
  explicit Pending(Entry& entry) : entry_(&entry) { entry.pending = this; }
  ~Pending() override {
    if (entry_ == nullptr) return;
    entry_->pending = nullptr;
    entry_->is_wanted = false;
  }
  void forget() { entry_ = nullptr; }

 private:
  Entry* entry_;  ///< nullptr: it is over
};

UvExecutor::UvExecutor(uv_loop_s& loop, unsigned thread_count)
    : has_done_(loop, [this] { finish_jobs(); }) {
  PGPROXY_ASSERT(thread_count > 0);
  start_threads(thread_count);
}

UvExecutor::~UvExecutor() {
  threads_.clear();
  for (auto& entry : waiting_) done_.push_back(std::move(entry));
  for (const auto& entry : done_) {
    if (entry->pending != nullptr) entry->pending->forget();
  }
}

std::unique_ptr<io::PendingJob> UvExecutor::submit(std::unique_ptr<io::Job> job) {
  auto entry = std::make_unique<Entry>();
  entry->job = std::move(job);
  auto pending = std::make_unique<Pending>(*entry);
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(entry));
  }
  has_news_.notify_one();
  return pending;
}

void UvExecutor::start_threads(unsigned count) {
  sigset_t all{};  // signals are for the loop's thread
  sigset_t before{};
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (threads_.size() < count) {
      threads_.emplace_back([this](const std::stop_token& ending) { run_jobs(ending); });
    }
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void UvExecutor::run_jobs(const std::stop_token& ending) {
  std::unique_lock lock(mutex_);
  while (has_news_.wait(lock, ending, [this] { return !waiting_.empty(); })) {
    if (ending.stop_requested()) return;
    std::unique_ptr<Entry> entry = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    if (entry->is_wanted) entry->job->run();
    lock.lock();
    done_.push_back(std::move(entry));
    if (done_.size() > 1) continue;  // the loop knows
    lock.unlock();
    has_done_.send();
    lock.lock();
  }
}

void UvExecutor::finish_jobs() {
  std::vector<std::unique_ptr<Entry>> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.swap(done_);
  }
  for (const auto& entry : entries) {
    if (entry->pending == nullptr) continue;
    entry->pending->forget();
    entry->job->on_done();  // may give up others of `entries`
  }
}

}  // namespace pgproxy::net
