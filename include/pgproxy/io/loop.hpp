#pragma once

#include <memory>

#include "pgproxy/base/time.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/io/executor.hpp"
#include "pgproxy/io/transport.hpp"

namespace pgproxy::io {

/// What may still be on the stack when it ends: freed by Loop::destroy_later.
class Disposable {
 public:
  virtual ~Disposable() = default;
};

/// The event loop as the layers above see it. One thread; every call from that thread.
class Loop {
 public:
  /// Monotonic, microseconds; cheap (no system call).
  virtual TimePoint now() const = 0;
  virtual WallTime wall_now() const = 0;
  /// The timeouts of this loop.
  virtual Timeouts& timeouts() = 0;
  virtual Connector& connector() = 0;
  /// Threads for what takes long.
  virtual Executor& executor() = 0;
  /// Frees `object` when no callback is on the stack any more.
  virtual void destroy_later(std::unique_ptr<Disposable> object) = 0;
  /// Sends what is still queued, then FIN, then reads and drops what the other side still sends
  /// until it closes too or two seconds are over. A plain close with unread input would make the
  /// kernel send RST, and the last error message would be lost.
  virtual void close_gracefully(std::unique_ptr<Transport> transport) = 0;

 protected:
  ~Loop() = default;
};

}  // namespace pgproxy::io
