#include "net/acceptor.hpp"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <memory>
#include <sys/resource.h>
#include <sys/socket.h>
#include <utility>

#include "net/socket_address.hpp"
#include "net/stream_transport.hpp"

#include "pgproxy/base/log.hpp"

namespace pgproxy::net {
namespace {

/// Newcomers per socket and round of events: a storm of them must not hold up who is there already.
constexpr int accepts_per_round = 16;

int open_spare() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

}  // namespace

SpareDescriptor::SpareDescriptor() : fd_(open_spare()) {}

bool SpareDescriptor::refuse_one(int listening_fd, TimePoint now) {
  note_exhausted(EMFILE, now);
  fd_.reset();
  FileDescriptor newcomer(::accept4(listening_fd, nullptr, nullptr, SOCK_CLOEXEC));
  const bool refused = newcomer.is_open();
  newcomer.reset();
  if (refused) ++refused_count_;
  fd_.reset(open_spare());
  return refused;
}

void SpareDescriptor::note_exhausted(int error, TimePoint now) {
  const bool known = last_noted_ && now - *last_noted_ < std::chrono::seconds(10);
  last_noted_ = now;
  if (known) return;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  log::line(
      log::Level::warning,
      "cannot accept a connection: {} (limit {}, {} refused so far); raise LimitNOFILE of the "
      "service, or lower max_client_conn",
      system_text(error), limit.rlim_cur, refused_count_);
}

Acceptor::Acceptor(UvLoop& loop, ListeningSocket socket, SpareDescriptor& spare,
                   io::AcceptListener& listener)
    : loop_(loop),
      socket_(std::move(socket)),
      spare_(spare),
      listener_(listener),
      poll_(make_handle<uv_poll_t>(loop.raw(), this, uv_poll_init, socket_.fd())) {
  watch();
}

void Acceptor::watch() {
  uv_poll_start(poll_.get(), UV_READABLE, on_readable);
}

void Acceptor::pause() {
  uv_poll_stop(poll_.get());
  loop_.timeouts().queue(std::chrono::seconds(1)).arm(pause_, loop_.now());
}

void Acceptor::on_timeout(Timeout&) {
  watch();
}

void Acceptor::on_readable(uv_poll_t* poll, int, int) {
  for (int left = accepts_per_round; left > 0; --left) {
    auto* self = static_cast<Acceptor*>(poll->data);
    if (self == nullptr || !self->accept_one()) return;  // closed by who was given the last one
  }
}

void Acceptor::accept_waiting() {
  while (accept_one()) {
  }
}

/// False: that was all for now.
bool Acceptor::accept_one() {
  FileDescriptor fd(::accept4(socket_.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd.is_open()) return handle_error(errno);
  auto newcomer = std::make_unique<StreamTransport>(loop_, std::move(fd));
  newcomer->treat_as_newcomer();
  listener_.on_accepted(std::move(newcomer));  // may destroy *this
  return true;
}

bool Acceptor::handle_error(int error) {
  switch (error) {
    case EAGAIN: return false;
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:     // a firewall's no
      return true;  // only that one newcomer is gone
    case EMFILE:
    case ENFILE:
      if (spare_.refuse_one(socket_.fd(), loop_.now())) return true;
      break;
    default: spare_.note_exhausted(error, loop_.now());
  }
  pause();
  return false;
}

}  // namespace pgproxy::net
