#pragma once

#include <optional>
#include <string>
#include <sys/socket.h>

#include "pgproxy/io/transport.hpp"

namespace pgproxy::net {

/// An address as the kernel takes it.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;

  SocketAddress() = default;
  SocketAddress(const sockaddr* address, socklen_t address_length);

  int family() const { return storage.ss_family; }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

/// nullopt: `host` is not a numeric IPv4 or IPv6 address (a zone as in "fe80::1%eth0" is allowed).
std::optional<SocketAddress> numeric_address(const std::string& host, std::uint16_t port);

/// The file of the PostgreSQL socket for `port` in `directory`; "@…" stays as it is.
std::string unix_socket_path(const std::string& directory, std::uint16_t port);

/// '@' in front is the abstract namespace. nullopt: longer than the kernel's 107 bytes.
std::optional<SocketAddress> unix_address(const std::string& path);

/// One end of the connection on `fd`; empty when it is gone.
enum class End { local, peer };
io::Endpoint endpoint_of(int fd, End end);

/// "127.0.0.1:6432", "unix:/tmp/.s.PGSQL.6432": where `fd` listens.
std::string listening_text(int fd);

/// The system's words for an errno or for a negative libuv status.
std::string system_text(int error);

}  // namespace pgproxy::net
