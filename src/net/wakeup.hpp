#pragma once

#include <functional>

#include "net/file_descriptor.hpp"

#include "pgproxy/net/loop.hpp"

struct uv_poll_s;

namespace pgproxy::net {

/// Wakes a loop from another thread. Not a uv_async_t: while uv_async_send() is under way the loop
/// spins, and a thread of lower priority that the loop takes the processor from in the middle of it
/// does not come to its end.
class Wakeup {
 public:
  /// `on_wake` is called on the loop, once for all that was sent before.
  /// Throws std::system_error when the system has no descriptors left.
  Wakeup(uv_loop_s& loop, std::function<void()> on_wake);
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;
  /// Thread safe. Better not under a lock that `on_wake` takes: the loop may be there at once.
  void send();

 private:
  void receive();

  FileDescriptor event_;
  HandlePtr<uv_poll_s> watch_;  ///< closed before event_
  std::function<void()> on_wake_;
};

}  // namespace pgproxy::net
