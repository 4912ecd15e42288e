#include "pgproxy/net/socket_options.hpp"

#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "pgproxy/config/settings.hpp"

namespace pgproxy::net {
namespace {

int set(int fd, int level, int option, std::uint32_t value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0 ? 0 : errno;
}

}  // namespace

SocketOptions SocketOptions::from(const config::Settings& settings) {
  return {.keepalive = settings.tcp_keepalive,
          .keepidle_s = settings.tcp_keepidle,
          .keepcnt = settings.tcp_keepcnt,
          .keepintvl_s = settings.tcp_keepintvl,
          .user_timeout_ms = settings.tcp_user_timeout};
}

int SocketOptions::apply(int fd) const {
  if (const int error = set(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return error;
  if (user_timeout_ms != 0) {
    if (const int error = set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms)) return error;
  }
  if (!keepalive) return 0;
  if (const int error = set(fd, SOL_SOCKET, SO_KEEPALIVE, 1)) return error;
  const struct {
    int option;
    std::uint32_t value;
  } probes[] = {{TCP_KEEPIDLE, keepidle_s}, {TCP_KEEPCNT, keepcnt}, {TCP_KEEPINTVL, keepintvl_s}};
  for (const auto& [option, value] : probes) {
    if (value == 0) continue;
    if (const int error = set(fd, IPPROTO_TCP, option, value)) return error;
  }
  return 0;
}

}  // namespace pgproxy::net
