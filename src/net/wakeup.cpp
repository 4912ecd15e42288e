#include "net/wakeup.hpp"

#include <cerrno>
#include <cstdint>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <uv.h>

#include "net/uv_handle.hpp"

namespace pgproxy::net {
namespace {

int open_event() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

}  // namespace

Wakeup::Wakeup(uv_loop_s& loop, std::function<void()> on_wake)
    : event_(open_event()),
      watch_(make_handle<uv_poll_t>(loop, this, uv_poll_init, event_.get())),
      on_wake_(std::move(on_wake)) {
  uv_poll_start(watch_.get(), UV_READABLE, [](uv_poll_t* handle, int, int) {
    if (auto* self = static_cast<Wakeup*>(handle->data)) self->receive();
  });
}

Wakeup::~Wakeup() = default;

void Wakeup::send() {
  const std::uint64_t one = 1;
  const ssize_t count = ::write(event_.get(), &one, sizeof one);
  PGPROXY_ASSERT(count == sizeof one);  // it counts to 2^64 before it refuses
}

void Wakeup::receive() {
  std::uint64_t sent_count = 0;
  if (::read(event_.get(), &sent_count, sizeof sent_count) == sizeof sent_count) on_wake_();
}

}  // namespace pgproxy::net
