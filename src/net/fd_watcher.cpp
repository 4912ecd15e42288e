#include "pgproxy/net/fd_watcher.hpp"

#include <uv.h>

#include "net/uv_handle.hpp"

namespace pgproxy::net {
namespace {

class Watch final : public io::FdWatch {
 public:
  Watch(UvLoop& loop, int fd, io::FdListener& listener)
      : handle_(make_handle<uv_poll_t>(loop.raw(), this, uv_poll_init, fd)), listener_(listener) {}

  void want(bool readable, bool writable) override {
    const int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    const int status =
        events == 0 ? uv_poll_stop(handle_.get()) : uv_poll_start(handle_.get(), events, on_poll);
    PGPROXY_ASSERT(status == 0);
  }

 private:
  /// After an error libuv polls no more: whoever reads is told by the read.
  static void on_poll(uv_poll_t* handle, int /*status*/, int /*events*/) {
    if (auto* self = static_cast<Watch*>(handle->data)) self->listener_.on_ready();
  }

  HandlePtr<uv_poll_t> handle_;
  io::FdListener& listener_;
};

}  // namespace

std::unique_ptr<io::FdWatch> UvFdWatcher::watch(int fd, io::FdListener& listener) {
  return std::make_unique<Watch>(loop_, fd, listener);
}

}  // namespace pgproxy::net
