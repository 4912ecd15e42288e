#include "net/stream_transport.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include "net/socket_address.hpp"

namespace pgproxy::net {

/// Bytes that the kernel refused; those before `sent` have left.
struct StreamTransport::WriteQueue {
  std::vector<std::uint8_t> bytes;
  std::size_t sent = 0;

  Bytes rest() const { return Bytes(bytes).subspan(sent); }
};

/// In line while there is something to read, and the socket is not polled for it.
class StreamTransport::Newcomer final : public Deferred {
 public:
  explicit Newcomer(StreamTransport& transport) : transport_(transport) {}

  void on_deferred() override {
    if (!transport_.wants_to_read()) return;
    transport_.start_reading(transport_.reading_);
    transport_.read_once();  // may destroy *this
  }

 private:
  StreamTransport& transport_;
};

namespace {

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

/// Bytes sent, or -1 with errno.
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

StreamTransport::StreamTransport(UvLoop& loop, FileDescriptor fd)
    : loop_(loop),
      fd_(std::move(fd)),
      handle_(make_handle<uv_poll_t>(loop.raw(), this, uv_poll_init, fd_.get())) {}

StreamTransport::~StreamTransport() = default;

void StreamTransport::set_listener(io::TransportListener& listener) {
  listener_ = &listener;
  if (reading_ == Reading::not_started) start_reading(Reading::active);
}

void StreamTransport::start_reading(Reading as) {
  reading_ = as;
  set_interest(interest_ | UV_READABLE);
}

void StreamTransport::stop_reading(Reading as) {
  reading_ = as;
  if (newcomer_ != nullptr) newcomer_->unlink();  // it lines up again when it is polled again
  set_interest(interest_ & ~UV_READABLE);
}

void StreamTransport::set_interest(int events) {
  interest_ = events;
  const int status =
      events == 0 ? uv_poll_stop(handle_.get()) : uv_poll_start(handle_.get(), events, on_poll);
  PGPROXY_ASSERT(status == 0);  // fails only for a handle that is closed
}

void StreamTransport::pause_reading() {
  if (reading_ != Reading::active) return;
  if (is_broken()) {
    reading_ = Reading::dropping;  // must still come to its end
    return;
  }
  stop_reading(Reading::paused);
}

void StreamTransport::resume_reading() {
  if (reading_ == Reading::paused) start_reading(Reading::active);
}

/// What is called from here comes last: it may destroy the transport. The other kind of event, if
/// it is there too, comes again in the next round.
void StreamTransport::on_poll(uv_poll_t* handle, int status, int events) {
  auto* self = static_cast<StreamTransport*>(handle->data);
  if (self == nullptr) return;
  // After an error libuv polls no more: recv() and send() say what it is, and what came before it.
  if (status < 0) self->set_interest(self->interest_);
  const bool may_write = status < 0 || (events & UV_WRITABLE) != 0;
  if (may_write && self->queue_ != nullptr) return self->flush_queue();
  if ((self->interest_ & UV_READABLE) == 0) return;
  if (self->newcomer_ == nullptr || self->loop_.may_serve_newcomer()) return self->read_once();
  self->set_interest(self->interest_ & ~UV_READABLE);
  self->loop_.line_up(*self->newcomer_);
}

void StreamTransport::treat_as_newcomer() {
  newcomer_ = std::make_unique<Newcomer>(*this);
}

void StreamTransport::admit() {
  const bool is_in_line = newcomer_ != nullptr && newcomer_->is_linked();
  newcomer_.reset();
  if (is_in_line && wants_to_read()) start_reading(reading_);
}

void StreamTransport::read_once() {
  const auto buffer = loop_.read_buffer();
  ssize_t count = 0;
  do {
    count = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count < 0 && would_block(errno)) return;
  if (count <= 0) return end_reading(count < 0 ? errno : 0);
  if (reading_ == Reading::dropping) return;
  listener_->on_data(Bytes(buffer).first(static_cast<std::size_t>(count)));  // may destroy *this
}

void StreamTransport::end_reading(int error) {
  stop_reading(Reading::ended);
  if (error_ == 0) error_ = error;
  report_closed();
}

void StreamTransport::report_closed() {
  io::TransportListener* listener = std::exchange(listener_, nullptr);
  if (listener == nullptr) return;
  listener->on_closed(is_broken() ? system_text(error_) : "EOF");  // may destroy *this
}

void StreamTransport::write(Bytes first, Bytes second) {
  if (is_broken() || (first.empty() && second.empty())) return;
  std::size_t sent_bytes = 0;
  if (queue_ == nullptr) {
    const ssize_t sent = send_now(fd(), first, second);
    if (sent < 0 && !would_block(errno)) return break_off(errno);
    sent_bytes = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
    if (sent_bytes == first.size() + second.size()) return;
    queue_ = std::make_unique<WriteQueue>();
    set_interest(interest_ | UV_WRITABLE);
  }
  const std::size_t of_first = std::min(sent_bytes, first.size());
  for (const Bytes bytes : {first.subspan(of_first), second.subspan(sent_bytes - of_first)}) {
    queue_->bytes.insert(queue_->bytes.end(), bytes.begin(), bytes.end());
  }
}

void StreamTransport::flush_queue() {
  const ssize_t sent = send_now(fd(), queue_->rest(), {});
  if (sent < 0) {
    if (would_block(errno)) return;
    break_off(errno);
    if (has_read_all()) report_closed();  // reading will not do it any more; may destroy *this
    return;
  }
  queue_->sent += static_cast<std::size_t>(sent);
  if (!queue_->rest().empty()) {
    // What has left is dropped now and then: the queue may never become empty.
    if (queue_->sent < queue_->bytes.size() / 2) return;
    queue_->bytes.erase(queue_->bytes.begin(),
                        queue_->bytes.begin() + static_cast<std::ptrdiff_t>(queue_->sent));
    queue_->sent = 0;
    return;
  }
  queue_.reset();
  set_interest(interest_ & ~UV_WRITABLE);
  if (listener_ != nullptr) listener_->on_drained();  // may destroy *this
}

void StreamTransport::break_off(int error) {
  error_ = error;
  queue_.reset();
  set_interest(interest_ & ~UV_WRITABLE);
  ::shutdown(fd(), SHUT_RDWR);
  // Who paused wants no data, but must hear of the end.
  if (reading_ == Reading::paused) start_reading(Reading::dropping);
}

std::size_t StreamTransport::queued_bytes() const {
  return queue_ == nullptr ? 0 : queue_->rest().size();
}

void StreamTransport::finish_writing() {
  ::shutdown(fd(), SHUT_WR);
}

void StreamTransport::stop_input() {
  ::shutdown(fd(), SHUT_RD);
}

io::Endpoint StreamTransport::peer() const {
  return endpoint_of(fd(), End::peer);
}
io::Endpoint StreamTransport::local() const {
  return endpoint_of(fd(), End::local);
}

}  // namespace pgproxy::net
