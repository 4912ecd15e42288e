#include "net/stream_transport.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include "net/socket_address.hpp"

namespace pgproxy::net {

/// Bytes that the kernel refused. One uv_write at a time sends `sending`, which must not move
/// meanwhile; what is written in between gathers in `waiting`.
struct StreamTransport::WriteQueue {
  uv_write_t request = {};
  std::vector<std::uint8_t> sending;
  std::vector<std::uint8_t> waiting;
  bool in_flight = false;
};

namespace {

uv_buf_t as_buffer(Bytes bytes) {
  // libuv only reads what it sends, but says so in no type.
  auto* data = const_cast<std::uint8_t*>(bytes.data());
  return {.base = reinterpret_cast<char*>(data), .len = bytes.size()};
}

/// What uv_try_write does, by send(2): that takes a few per cent less than write(2), which libuv
/// uses.
ssize_t send_now(int fd, Bytes first, Bytes second) {
  ssize_t sent = 0;
  do {
    if (first.empty() || second.empty()) {
      const Bytes bytes = first.empty() ? second : first;
      sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      iovec parts[2] = {{const_cast<std::uint8_t*>(first.data()), first.size()},
                        {const_cast<std::uint8_t*>(second.data()), second.size()}};
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = 2;
      sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  } while (sent < 0 && errno == EINTR);
  return sent;
}

}  // namespace

HandlePtr<uv_tcp_t> open_stream(UvLoop& loop, FileDescriptor fd) {
  auto handle = make_handle<uv_tcp_t>(loop.raw(), nullptr, uv_tcp_init);
  const int status = uv_tcp_open(handle.get(), fd.release());
  PGPROXY_ASSERT(status == 0);  // fails only for what is no socket of ours
  return handle;
}

StreamTransport::StreamTransport(UvLoop& loop, HandlePtr<uv_tcp_t> handle)
    : loop_(loop), handle_(std::move(handle)) {
  handle_->data = this;
}

StreamTransport::~StreamTransport() {
  if (!queue_ || !queue_->in_flight) return;
  [[maybe_unused]] const auto* libuvs = queue_.release();  // on_written frees it
}

void StreamTransport::set_listener(io::TransportListener& listener) {
  listener_ = &listener;
  if (reading_ == Reading::not_started) start_reading(Reading::active);
}

void StreamTransport::start_reading(Reading as) {
  reading_ = as;
  const int status = uv_read_start(stream(), on_alloc, on_read);
  PGPROXY_ASSERT(status == 0);  // fails only for a handle that is closed or has ended
}

void StreamTransport::pause_reading() {
  if (reading_ != Reading::active) return;
  if (is_broken()) {
    reading_ = Reading::dropping;  // must still come to its end
    return;
  }
  reading_ = Reading::paused;
  uv_read_stop(stream());
}

void StreamTransport::resume_reading() {
  if (reading_ == Reading::paused) start_reading(Reading::active);
}

void StreamTransport::on_alloc(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
  auto* self = static_cast<StreamTransport*>(handle->data);
  const auto shared = self->loop_.read_buffer();
  *buffer = as_buffer(shared);
}

void StreamTransport::on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
  auto* self = static_cast<StreamTransport*>(stream->data);
  if (self == nullptr || count == 0) return;  // closed, or the kernel had nothing after all
  if (count < 0) return self->end_reading(static_cast<int>(count));
  if (self->reading_ == Reading::dropping) return;
  self->listener_->on_data({reinterpret_cast<const std::uint8_t*>(buffer->base),
                            static_cast<std::size_t>(count)});  // may destroy *self
}

void StreamTransport::end_reading(int status) {
  reading_ = Reading::ended;
  if (status != UV_EOF && error_ == 0) error_ = status;
  report_closed();
}

void StreamTransport::report_closed() {
  io::TransportListener* listener = std::exchange(listener_, nullptr);
  if (listener == nullptr) return;
  listener->on_closed(is_broken() ? system_text(error_) : "EOF");  // may destroy *this
}

void StreamTransport::write(Bytes first, Bytes second) {
  if (is_broken()) return;
  std::size_t sent_bytes = 0;
  if (!queue_) {
    if (first.empty() && second.empty()) return;
    const ssize_t sent = send_now(fd(), first, second);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
      return break_off(uv_translate_sys_error(errno));
    }
    sent_bytes = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
    if (sent_bytes == first.size() + second.size()) return;
    queue_ = std::make_unique<WriteQueue>();
  }
  const std::size_t of_first = std::min(sent_bytes, first.size());
  enqueue(first.subspan(of_first));
  enqueue(second.subspan(sent_bytes - of_first));
  if (queue_->in_flight) return;
  if (const int status = send_queue(); status < 0) break_off(status);
}

void StreamTransport::enqueue(Bytes bytes) {
  queue_->waiting.insert(queue_->waiting.end(), bytes.begin(), bytes.end());
}

/// Hands everything that waits to libuv; on failure nothing is in flight.
int StreamTransport::send_queue() {
  std::swap(queue_->sending, queue_->waiting);
  queue_->waiting.clear();
  queue_->request.data = queue_.get();
  const uv_buf_t buffer = as_buffer(queue_->sending);
  const int status = uv_write(&queue_->request, stream(), &buffer, 1, on_written);
  queue_->in_flight = status == 0;
  return status;
}

void StreamTransport::on_written(uv_write_t* request, int status) {
  auto* self = static_cast<StreamTransport*>(request->handle->data);
  if (self == nullptr) {
    delete static_cast<WriteQueue*>(request->data);
    return;
  }
  self->after_sent(status);
}

void StreamTransport::after_sent(int status) {
  queue_->in_flight = false;
  if (status == 0 && !is_broken() && !queue_->waiting.empty()) {
    status = send_queue();
    if (status == 0) return;
  }
  queue_.reset();
  if (status < 0 && !is_broken()) break_off(status);
  if (!is_broken()) {
    if (listener_ != nullptr) listener_->on_drained();  // may destroy *this
  } else if (has_read_all()) {
    report_closed();  // reading will not do it any more; may destroy *this
  }
}

void StreamTransport::break_off(int status) {
  error_ = status;
  if (queue_ && !queue_->in_flight) queue_.reset();
  ::shutdown(fd(), SHUT_RDWR);
  // Who paused wants no data, but must hear of the end.
  if (reading_ == Reading::paused) start_reading(Reading::dropping);
}

std::size_t StreamTransport::queued_bytes() const {
  if (!queue_ || is_broken()) return 0;
  return uv_stream_get_write_queue_size(stream()) + queue_->waiting.size();
}

void StreamTransport::finish_writing() {
  ::shutdown(fd(), SHUT_WR);
}

int StreamTransport::fd() const {
  uv_os_fd_t fd = -1;
  uv_fileno(reinterpret_cast<const uv_handle_t*>(handle_.get()), &fd);
  return fd;
}

io::Endpoint StreamTransport::peer() const {
  return endpoint_of(fd(), End::peer);
}
io::Endpoint StreamTransport::local() const {
  return endpoint_of(fd(), End::local);
}

}  // namespace pgproxy::net
