#pragma once

#include <cstdint>
#include <optional>
#include <uv.h>

#include "net/file_descriptor.hpp"
#include "net/listening_socket.hpp"
#include "net/uv_handle.hpp"

#include "pgproxy/io/transport.hpp"

namespace pgproxy::net {

/// A descriptor kept for the case that there are no others left: giving it up for a moment lets us
/// take a newcomer out of the kernel's queue and close it, instead of being woken for it for ever.
class SpareDescriptor {
 public:
  SpareDescriptor();
  /// Closes the first connection that waits on `listening_fd`. False: not even that is possible.
  bool refuse_one(int listening_fd, TimePoint now);
  /// One log line per episode; an episode ends after ten seconds without this call.
  void note_exhausted(int error, TimePoint now);
  std::uint64_t refused_count() const { return refused_count_; }

 private:
  FileDescriptor fd_;
  std::uint64_t refused_count_ = 0;
  std::optional<TimePoint> last_noted_;
};

/// Accepts on one socket. uv_poll and accept4 instead of uv_listen, because libuv 1.44 sleeps after
/// each TCP accept and goes on until the kernel's queue is empty.
class Acceptor final : private TimeoutListener {
 public:
  Acceptor(UvLoop& loop, ListeningSocket socket, SpareDescriptor& spare,
           io::AcceptListener& listener);

  /// Accepts all that the kernel holds; must not be destroyed within.
  void accept_waiting();

 private:
  static void on_readable(uv_poll_t* poll, int status, int events);
  void on_timeout(Timeout& timeout) override;

  bool accept_one();
  bool handle_error(int error);
  void watch();
  void pause();

  UvLoop& loop_;
  ListeningSocket socket_;
  SpareDescriptor& spare_;
  io::AcceptListener& listener_;
  Timeout pause_{*this};
  HandlePtr<uv_poll_t> poll_;  // after socket_: must stop before the socket closes
};

}  // namespace pgproxy::net
