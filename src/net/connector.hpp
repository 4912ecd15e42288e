#pragma once

#include <memory>

#include "pgproxy/io/transport.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net {

/// Numeric addresses and unix sockets at once, names through libuv's threads; the addresses of a
/// name are tried in the resolver's order until one accepts.
class UvConnector final : public io::Connector {
 public:
  explicit UvConnector(UvLoop& loop) : loop_(loop) {}
  std::unique_ptr<io::ConnectAttempt> connect(const io::ServerAddress& address,
                                              io::ConnectListener& listener) override;

 private:
  UvLoop& loop_;
};

}  // namespace pgproxy::net
