#pragma once

#include <memory>
#include <uv.h>

#include "pgproxy/base/assert.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net {

template <class Handle>
void CloseHandle::operator()(Handle* handle) const {
  handle->data = nullptr;  // late callbacks find no owner and return
  uv_close(reinterpret_cast<uv_handle_t*>(handle),
           [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
}

/// A handle on the heap, initialised by `init(loop, handle, args...)`, which must not fail; its
/// callbacks find `owner` in `data`.
template <class Handle, class Init, class... Args>
HandlePtr<Handle> make_handle(uv_loop_t& loop, void* owner, Init init, Args... args) {
  auto handle = std::make_unique<Handle>();
  const int status = init(&loop, handle.get(), args...);
  PGPROXY_ASSERT(status == 0);
  handle->data = owner;
  return HandlePtr<Handle>(handle.release());  // only an initialised handle may reach uv_close
}

}  // namespace pgproxy::net
