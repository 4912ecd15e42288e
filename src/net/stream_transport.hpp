#pragma once

#include <cstdint>
#include <memory>
#include <uv.h>

#include "net/file_descriptor.hpp"
#include "net/uv_handle.hpp"

#include "pgproxy/io/transport.hpp"

namespace pgproxy::net {

/// A TCP or unix connection. Idle it is this object and the handle: no buffer, no queue. Polled
/// through libuv, read and written by recv(2) and send(2), which cost less than the read(2) and
/// write(2) of libuv's streams; what is polled for changes under back pressure only.
///
/// How it ends: a write error alone does not tell the listener. It shuts the socket down, so that
/// reading comes to an end by itself, after whatever the other side still sent (a server's last
/// words); only that end is reported, with the error of the write as its reason.
class StreamTransport final : public io::Transport {
 public:
  /// `fd`: a connected non-blocking stream socket.
  StreamTransport(UvLoop& loop, FileDescriptor fd);
  ~StreamTransport() override;

  void set_listener(io::TransportListener& listener) override;
  void write(Bytes first, Bytes second = {}) override;
  std::size_t queued_bytes() const override;
  void pause_reading() override;
  void resume_reading() override;
  void admit() override;
  io::Endpoint peer() const override;
  io::Endpoint local() const override;

  /// From now on, until admit(): see there.
  void treat_as_newcomer();
  /// Sends FIN; nothing may be queued, nothing may be written any more.
  void finish_writing();
  /// What is read comes to its end by itself, as if the other side had said EOF; the bytes that the
  /// kernel has already still come first.
  void stop_input();
  UvLoop& loop() { return loop_; }
  /// The other side sends nothing more.
  bool has_read_all() const { return reading_ == Reading::ended; }
  bool is_broken() const { return error_ != 0; }
  int fd() const { return fd_.get(); }

 private:
  //  not_started -> active <-> paused;   active, paused -> dropping;   active, dropping -> ended
  enum class Reading : std::uint8_t { not_started, active, paused, dropping, ended };
  struct WriteQueue;
  class Newcomer;

  static void on_poll(uv_poll_t* handle, int status, int events);

  /// For what is there, or at least for its end.
  bool wants_to_read() const {
    return reading_ == Reading::active || reading_ == Reading::dropping;
  }
  void start_reading(Reading as);
  void stop_reading(Reading as);
  void set_interest(int events);
  void read_once();
  void flush_queue();
  void end_reading(int error);
  void report_closed();
  void break_off(int error);

  UvLoop& loop_;
  FileDescriptor fd_;
  HandlePtr<uv_poll_t> handle_;                ///< closed before fd_
  io::TransportListener* listener_ = nullptr;  ///< null before the first and after on_closed()
  std::unique_ptr<WriteQueue> queue_;          ///< only while the kernel refuses bytes
  std::unique_ptr<Newcomer> newcomer_;         ///< nullptr: admitted
  int error_ = 0;                              ///< errno; not 0: broken
  int interest_ = 0;                           ///< UV_READABLE, UV_WRITABLE: what is polled for
  Reading reading_ = Reading::not_started;
};

}  // namespace pgproxy::net
