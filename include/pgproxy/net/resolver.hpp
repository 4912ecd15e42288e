#pragma once

#include "pgproxy/io/resolver.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net {

/// getaddrinfo(3) on libuv's threads.
class UvResolver final : public io::Resolver {
 public:
  explicit UvResolver(UvLoop& loop) : loop_(loop) {}
  std::unique_ptr<io::ResolveAttempt> resolve(const std::string& host,
                                              io::ResolveListener& listener) override;

 private:
  UvLoop& loop_;
};

}  // namespace pgproxy::net
