#include "net/socket_address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <string_view>
#include <sys/un.h>
#include <system_error>
#include <uv.h>

namespace pgproxy::net {
namespace {

constexpr std::string_view socket_file_prefix = "/.s.PGSQL.";

SocketAddress name_of(int fd, End end) {
  SocketAddress address;
  address.length = sizeof address.storage;
  const int status = end == End::peer ? ::getpeername(fd, address.raw(), &address.length)
                                      : ::getsockname(fd, address.raw(), &address.length);
  return status == 0 ? address : SocketAddress();
}

std::string numeric_host(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family, address, text, sizeof text);
  return text;
}

/// The path, '@' for the leading zero of an abstract one; empty for an unnamed socket.
std::string unix_path_of(const SocketAddress& address) {
  constexpr socklen_t header = offsetof(sockaddr_un, sun_path);
  if (address.length <= header) return {};
  const auto& name = reinterpret_cast<const sockaddr_un&>(address.storage);
  const std::string_view whole(name.sun_path, address.length - header);
  if (whole[0] == '\0') return "@" + std::string(whole.substr(1));
  return std::string(whole.substr(0, whole.find('\0')));
}

std::uint16_t port_in(std::string_view path) {
  const auto at = path.rfind(socket_file_prefix);
  if (at == std::string_view::npos) return 0;
  const std::string_view digits = path.substr(at + socket_file_prefix.size());
  std::uint16_t port = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return port;
}

io::Endpoint unix_endpoint(int fd) {
  io::Endpoint endpoint{.host = "unix", .is_unix = true, .fd = fd};
  // Only the listening side has a name, and either end may be asked for it.
  const std::string own = unix_path_of(name_of(fd, End::local));
  endpoint.port = port_in(own.empty() ? unix_path_of(name_of(fd, End::peer)) : own);
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
    endpoint.peer_pid = peer.pid;
    endpoint.peer_uid = peer.uid;
  }
  return endpoint;
}

}  // namespace

SocketAddress::SocketAddress(const sockaddr* address, socklen_t address_length)
    : length(std::min<socklen_t>(address_length, sizeof storage)) {
  std::memcpy(&storage, address, length);
}

std::optional<SocketAddress> numeric_address(const std::string& host, std::uint16_t port) {
  sockaddr_in v4{};
  if (uv_ip4_addr(host.c_str(), port, &v4) == 0) {
    return SocketAddress(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  sockaddr_in6 v6{};
  if (uv_ip6_addr(host.c_str(), port, &v6) == 0) {
    return SocketAddress(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  }
  return std::nullopt;
}

std::string unix_socket_path(const std::string& directory, std::uint16_t port) {
  return directory + std::string(socket_file_prefix) + std::to_string(port);
}

std::optional<SocketAddress> unix_address(const std::string& path) {
  sockaddr_un name{};
  if (path.size() >= sizeof name.sun_path) return std::nullopt;
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const bool abstract = path.starts_with('@');
  if (abstract) name.sun_path[0] = '\0';
  // An abstract name is as long as the length says; a path has its zero after it.
  const auto length = offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1);
  return SocketAddress(reinterpret_cast<const sockaddr*>(&name), static_cast<socklen_t>(length));
}

io::Endpoint endpoint_of(int fd, End end) {
  const SocketAddress address = name_of(fd, end);
  switch (address.family()) {
    case AF_INET: {
      const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
      return {.host = numeric_host(AF_INET, &v4.sin_addr), .port = ntohs(v4.sin_port), .fd = fd};
    }
    case AF_INET6: {
      const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
      // A dual-stack socket that systemd opened shows IPv4 clients as ::ffff:a.b.c.d.
      const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
      return {.host = mapped ? numeric_host(AF_INET, &v6.sin6_addr.s6_addr[12])
                             : numeric_host(AF_INET6, &v6.sin6_addr),
              .port = ntohs(v6.sin6_port),
              .fd = fd};
    }
    case AF_UNIX: return unix_endpoint(fd);
    default: return {};
  }
}

std::string listening_text(int fd) {
  const SocketAddress address = name_of(fd, End::local);
  if (address.family() == AF_UNIX) return "unix:" + unix_path_of(address);
  return endpoint_of(fd, End::local).text();
}

std::string system_text(int error) {
  const int code = std::abs(error);
  // libuv numbers the resolver's errors from 3000 on, far above the system's.
  return code >= 3000 ? uv_strerror(-code) : std::generic_category().message(code);
}

}  // namespace pgproxy::net
