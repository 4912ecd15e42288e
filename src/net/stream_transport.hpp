#pragma once

#include <cstdint>
#include <memory>
#include <uv.h>

#include "net/file_descriptor.hpp"
#include "net/uv_handle.hpp"

#include "pgproxy/io/transport.hpp"

namespace pgproxy::net {

/// A stream handle around a connected or connecting non-blocking socket. A uv_tcp_t carries unix
/// sockets as well: libuv looks at its type only to pass file descriptors.
HandlePtr<uv_tcp_t> open_stream(UvLoop& loop, FileDescriptor fd);

/// A TCP or unix connection. Idle it is this object and the handle: no buffer, no queue.
///
/// How it ends: a write error alone does not tell the listener. It shuts the socket down, so that
/// reading comes to an end by itself, after whatever the other side still sent (a server's last
/// words); only that end is reported, with the error of the write as its reason.
class StreamTransport final : public io::Transport {
 public:
  StreamTransport(UvLoop& loop, HandlePtr<uv_tcp_t> handle);
  ~StreamTransport() override;

  void set_listener(io::TransportListener& listener) override;
  void write(Bytes first, Bytes second = {}) override;
  std::size_t queued_bytes() const override;
  void pause_reading() override;
  void resume_reading() override;
  io::Endpoint peer() const override;
  io::Endpoint local() const override;

  /// Sends FIN; nothing may be queued, nothing may be written any more.
  void finish_writing();
  /// The other side sends nothing more.
  bool has_read_all() const { return reading_ == Reading::ended; }
  bool is_broken() const { return error_ != 0; }
  int fd() const;

 private:
  //  not_started -> active <-> paused;   active, paused -> dropping;   active, dropping -> ended
  enum class Reading : std::uint8_t { not_started, active, paused, dropping, ended };
  struct WriteQueue;

  static void on_alloc(uv_handle_t* handle, std::size_t suggested, uv_buf_t* buffer);
  static void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer);
  static void on_written(uv_write_t* request, int status);

  uv_stream_t* stream() const { return reinterpret_cast<uv_stream_t*>(handle_.get()); }
  void start_reading(Reading as);
  void end_reading(int status);
  void report_closed();
  void enqueue(Bytes bytes);
  int send_queue();
  void after_sent(int status);
  void break_off(int status);

  UvLoop& loop_;
  HandlePtr<uv_tcp_t> handle_;
  io::TransportListener* listener_ = nullptr;  ///< null before the first and after on_closed()
  std::unique_ptr<WriteQueue> queue_;          ///< only while the kernel refuses bytes
  int error_ = 0;                              ///< libuv status; not 0: broken
  Reading reading_ = Reading::not_started;
};

}  // namespace pgproxy::net
