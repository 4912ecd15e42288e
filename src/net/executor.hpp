#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "net/wakeup.hpp"

#include "pgproxy/io/executor.hpp"

namespace pgproxy::net {

/// The threads of one loop. Jobs that ended come back to it together, however many there are.
class UvExecutor final : public io::Executor {
 public:
  /// Throws std::system_error when the system has no threads or file descriptors left.
  UvExecutor(uv_loop_s& loop, unsigned thread_count);
  /// Waits for the jobs that run; those that did not begin are freed without that.
  ~UvExecutor();
  UvExecutor(const UvExecutor&) = delete;
  UvExecutor& operator=(const UvExecutor&) = delete;

  std::unique_ptr<io::PendingJob> submit(std::unique_ptr<io::Job> job) override;
  unsigned thread_count() const override { return static_cast<unsigned>(threads_.size()); }

 private:
  class Pending;
  struct Entry;

  void start_threads(unsigned count);
  void run_jobs(const std::stop_token& ending);
  void finish_jobs();

  Wakeup has_done_;
  std::mutex mutex_;  ///< guards what is waiting and what is done
  std::condition_variable_any has_news_;
  std::deque<std::unique_ptr<Entry>> waiting_;
  std::vector<std::unique_ptr<Entry>> done_;
  std::vector<std::jthread> threads_;  ///< the last member: ended before the others are gone
};

}  // namespace pgproxy::net
