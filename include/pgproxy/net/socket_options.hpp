#pragma once

#include <cstdint>

namespace pgproxy::config {
struct Settings;
}

namespace pgproxy::net {

/// What is set on every TCP socket, of clients and of servers; 0: the system's value.
/// TCP_NODELAY is always set as well.
struct SocketOptions {
  bool keepalive = true;
  std::uint32_t keepidle_s = 0;
  std::uint32_t keepcnt = 0;
  std::uint32_t keepintvl_s = 0;
  std::uint32_t user_timeout_ms = 0;

  /// From tcp_keepalive, tcp_keepidle, tcp_keepcnt, tcp_keepintvl and tcp_user_timeout.
  static SocketOptions from(const config::Settings& settings);

  /// Sets all of them on a TCP socket. 0, or the errno of the option that the kernel refused.
  int apply(int fd) const;
};

}  // namespace pgproxy::net
