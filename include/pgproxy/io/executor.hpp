#pragma once

#include <memory>

namespace pgproxy::io {

/// Work that would keep a loop from its connections for too long: a signature, a hash of many
/// rounds, a name service.
class Job {
 public:
  /// On the loop's thread.
  virtual ~Job() = default;
  /// On another thread. Touches nothing but what is the job's own, or made for several threads.
  virtual void run() = 0;
  /// Behind run(), on the loop's thread, unless the job was given up. The job is freed afterwards.
  virtual void on_done() = 0;
};

/// Somebody waits for a job. Destroying it gives up: on_done() is not called any more. A run() that
/// has begun goes on; one that has not is left out.
class PendingJob {
 public:
  virtual ~PendingJob() = default;
};

/// Runs jobs on a bounded number of threads, in the order of submitting.
class Executor {
 public:
  virtual std::unique_ptr<PendingJob> submit(std::unique_ptr<Job> job) = 0;
  /// How many jobs run at once, at most.
  virtual unsigned thread_count() const = 0;

 protected:
  ~Executor() = default;
};

}  // namespace pgproxy::io
