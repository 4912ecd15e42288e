#pragma once

#include <memory>

namespace pgproxy::io {

/// Told that a descriptor is ready for what was asked.
class FdListener {
 public:
  virtual void on_ready() = 0;

 protected:
  ~FdListener() = default;
};

/// Watches one descriptor, which somebody else owns. Destroying it ends that; to be destroyed
/// before the descriptor is closed.
class FdWatch {
 public:
  virtual ~FdWatch() = default;
  /// What on_ready() is called for from now on, again and again as long as it is so.
  virtual void want(bool readable, bool writable) = 0;
};

/// The loop, for libraries that do their own reading and writing (libpq).
class FdWatcher {
 public:
  virtual std::unique_ptr<FdWatch> watch(int fd, FdListener& listener) = 0;

 protected:
  ~FdWatcher() = default;
};

}  // namespace pgproxy::io
