#pragma once

#include "pgproxy/io/fd_watcher.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net {

class UvFdWatcher final : public io::FdWatcher {
 public:
  explicit UvFdWatcher(UvLoop& loop) : loop_(loop) {}
  std::unique_ptr<io::FdWatch> watch(int fd, io::FdListener& listener) override;

 private:
  UvLoop& loop_;
};

}  // namespace pgproxy::net
