#include "net/listening_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <optional>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <utility>

#include "net/socket_address.hpp"

#include "pgproxy/base/log.hpp"
#include "pgproxy/net/socket_options.hpp"

namespace pgproxy::net {
namespace {

/// Startup errors go to the log only: no SQLSTATE.
std::unexpected<Error> refusal(std::string message, std::string hint, std::string detail = {}) {
  return std::unexpected(Error{.sqlstate = {},
                               .message = std::move(message),
                               .detail = std::move(detail),
                               .hint = std::move(hint)});
}

Result<FileDescriptor> new_socket(int family) {
  FileDescriptor fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.is_open()) return fd;
  return refusal(fmt::format("cannot open a socket: {}", system_text(errno)),
                 "Raise LimitNOFILE of the service (ulimit -n).");
}

std::string tcp_hint(int error, std::uint16_t port) {
  switch (error) {
    case EADDRINUSE:
      return fmt::format(
          "Another process listens there: stop it, or choose another port, for example "
          "listen_port = {}; with so_reuseport = 1 at both they may share it.",
          port < 65535 ? port + 1 : port - 1);
    case EACCES:
      return "Ports below 1024 need privileges: choose a higher one, for example listen_port = "
             "6432.";
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return "This machine has no such address: correct listen_addr ('*' for all).";
    case EINVAL: return "Check tcp_keepidle, tcp_keepcnt, tcp_keepintvl and tcp_user_timeout.";
    default: return "Check listen_addr and listen_port.";
  }
}

struct TcpPlace {
  std::string name;  ///< as the log shows it
  SocketAddress address;
};

/// 0, or the errno of the step that failed. Accepted sockets inherit the options (Linux does that
/// for TCP_NODELAY and keepalive), so accepting one costs no system call for them.
int listen_at(int fd, const SocketAddress& address, const config::Settings& settings) {
  const int on = 1;
  if (::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return errno;
  if (settings.so_reuseport && ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
    return errno;
  }
  if (address.family() == AF_INET6 &&
      ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) {
    return errno;
  }
  if (const int error = SocketOptions::from(settings).apply(fd)) return error;
  if (::bind(fd, address.raw(), address.length) != 0) return errno;
  return ::listen(fd, static_cast<int>(settings.listen_backlog)) == 0 ? 0 : errno;
}

/// nullopt: IPv6, which this machine does not have (containers often do not).
Result<std::optional<ListeningSocket>> open_tcp(const TcpPlace& place,
                                                const config::Settings& settings) {
  FileDescriptor fd(
      ::socket(place.address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int error = fd.is_open() ? listen_at(fd.get(), place.address, settings) : errno;
  if (error == 0) return ListeningSocket(std::move(fd), {});
  const bool lacks_v6 =
      place.address.family() == AF_INET6 && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL);
  if (lacks_v6) return std::nullopt;
  return refusal(fmt::format("cannot listen on {}: {}", place.name, system_text(error)),
                 tcp_hint(error, settings.listen_port));
}

Result<std::vector<TcpPlace>> places_of(const std::string& host, std::uint16_t port) {
  if (const auto address = numeric_address(host, port)) {
    return std::vector{TcpPlace{io::Endpoint{.host = host, .port = port}.text(), *address}};
  }
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (status != 0) {
    return refusal(
        fmt::format("cannot find \"{}\" of listen_addr: {}", host, ::gai_strerror(status)),
        "Use a numeric address of this machine, or '*' for all.");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  std::vector<TcpPlace> places;
  for (; found != nullptr; found = found->ai_next) {
    places.push_back({fmt::format("{}:{}", host, port), {found->ai_addr, found->ai_addrlen}});
  }
  return places;
}

/// The items of listen_addr, '*' spelled out.
std::vector<std::vector<std::string>> listed_hosts(std::string_view listen_addr) {
  std::vector<std::vector<std::string>> items;
  while (!listen_addr.empty()) {
    const std::size_t comma = std::min(listen_addr.find(','), listen_addr.size());
    std::string_view item = listen_addr.substr(0, comma);
    listen_addr.remove_prefix(std::min(comma + 1, listen_addr.size()));
    const auto first = item.find_first_not_of(" \t");
    if (first == std::string_view::npos) continue;
    item = item.substr(first, item.find_last_not_of(" \t") - first + 1);
    if (item == "*") {
      items.push_back({"0.0.0.0", "::"});
    } else {
      items.push_back({std::string(item)});
    }
  }
  return items;
}

/// One item of listen_addr. That IPv6 is missing is an error only when nothing else is left of it.
std::optional<Error> open_item(const std::vector<std::string>& hosts,
                               const config::Settings& settings,
                               std::vector<ListeningSocket>& sockets) {
  std::vector<TcpPlace> places;
  for (const auto& host : hosts) {
    auto found = places_of(host, settings.listen_port);
    if (!found) return found.error();
    std::ranges::move(*found, std::back_inserter(places));
  }
  bool any = false;
  for (const auto& place : places) {
    auto socket = open_tcp(place, settings);
    if (!socket) return socket.error();
    if (*socket) {
      sockets.push_back(std::move(**socket));
      any = true;
    } else {
      log::line(log::Level::warning, "not listening on {} over IPv6: this machine has none",
                place.name);
    }
  }
  if (any) return std::nullopt;
  return Error{.sqlstate = {},
               .message = fmt::format("cannot listen on {}: {}", places.front().name,
                                      system_text(EADDRNOTAVAIL)),
               .hint = tcp_hint(EADDRNOTAVAIL, settings.listen_port)};
}

Error unix_error(const std::string& path, int error) {
  return {.sqlstate = {},
          .message = fmt::format("cannot listen on unix:{}: {}", path, system_text(error)),
          .hint = "Check that unix_socket_dir exists and may be written to."};
}

std::unexpected<Error> socket_in_use(const std::string& path) {
  return refusal("unix socket is in use",
                 "Stop the other process that listens there, or choose another unix_socket_dir or "
                 "listen_port.",
                 "unix:" + path);
}

/// Makes room for the socket: removes the file that a dead process left, never anything else.
Result<void> clear_path(const std::string& path, const SocketAddress& address) {
  struct stat there = {};
  if (::lstat(path.c_str(), &there) != 0) return {};  // if that matters, bind will say why
  if (!S_ISSOCK(there.st_mode)) {
    return refusal(fmt::format("cannot listen on unix:{}: there is another file", path),
                   "Remove it, or choose another unix_socket_dir.");
  }
  auto probe = new_socket(AF_UNIX);
  if (!probe) return std::unexpected(probe.error());
  // EAGAIN: somebody listens, with a full queue.
  if (::connect(probe->get(), address.raw(), address.length) == 0 || errno == EAGAIN) {
    return socket_in_use(path);
  }
  if (errno != ECONNREFUSED) return std::unexpected(unix_error(path, errno));
  if (::unlink(path.c_str()) != 0) return std::unexpected(unix_error(path, errno));
  return {};
}

/// unix_socket_mode and unix_socket_group; before listen(), so that nobody slips in.
Result<void> restrict_access(const std::string& path, const config::Settings& settings) {
  if (!settings.unix_socket_group.empty()) {
    const group* found = ::getgrnam(settings.unix_socket_group.c_str());
    if (found == nullptr) {
      return refusal(
          fmt::format("unix_socket_group: there is no group \"{}\"", settings.unix_socket_group),
          "Create the group, or leave unix_socket_group empty.");
    }
    if (::chown(path.c_str(), static_cast<uid_t>(-1), found->gr_gid) != 0) {
      return refusal(fmt::format("cannot give unix:{} to group \"{}\": {}", path,
                                 settings.unix_socket_group, system_text(errno)),
                     "Make the user that pgproxy runs as a member of unix_socket_group.");
    }
  }
  if (::chmod(path.c_str(), settings.unix_socket_mode) != 0) {
    return std::unexpected(unix_error(path, errno));
  }
  return {};
}

Result<ListeningSocket> open_unix(const config::Settings& settings) {
  const std::string path = unix_socket_path(settings.unix_socket_dir, settings.listen_port);
  const auto address = unix_address(path);
  if (!address) {
    return refusal(fmt::format("the path of the unix socket is too long: {}", path),
                   "It may have 107 bytes: choose a shorter unix_socket_dir.");
  }
  const bool is_file = !path.starts_with('@');
  if (is_file) {
    if (auto cleared = clear_path(path, *address); !cleared) {
      return std::unexpected(cleared.error());
    }
  }
  auto fd = new_socket(AF_UNIX);
  if (!fd) return std::unexpected(fd.error());
  if (::bind(fd->get(), address->raw(), address->length) != 0) {
    if (errno == EADDRINUSE) return socket_in_use(path);
    return std::unexpected(unix_error(path, errno));
  }
  ListeningSocket socket(std::move(*fd), is_file ? SocketFile(path) : SocketFile());
  if (is_file) {
    if (auto done = restrict_access(path, settings); !done) return std::unexpected(done.error());
  }
  if (::listen(socket.fd(), static_cast<int>(settings.listen_backlog)) != 0) {
    return std::unexpected(unix_error(path, errno));
  }
  return socket;
}

int int_option(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

}  // namespace

SocketFile::SocketFile(std::string path) : path_(std::move(path)) {
  struct stat made = {};
  ::lstat(path_.c_str(), &made);
  device_ = made.st_dev;
  inode_ = made.st_ino;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}

SocketFile::~SocketFile() {
  struct stat there = {};
  if (path_.empty() || ::lstat(path_.c_str(), &there) != 0) return;
  if (there.st_dev == device_ && there.st_ino == inode_) ::unlink(path_.c_str());
}

Result<std::vector<ListeningSocket>> open_listening_sockets(const config::Settings& settings) {
  std::vector<ListeningSocket> sockets;
  for (const auto& hosts : listed_hosts(settings.listen_addr)) {
    if (auto error = open_item(hosts, settings, sockets)) return std::unexpected(*error);
  }
  if (!settings.unix_socket_dir.empty()) {
    auto socket = open_unix(settings);
    if (!socket) return std::unexpected(socket.error());
    sockets.push_back(std::move(*socket));
  }
  if (sockets.empty()) {
    return refusal(
        "nothing to listen on",
        "Set listen_addr (for example 127.0.0.1) or unix_socket_dir (for example /tmp).");
  }
  return sockets;
}

Result<ListeningSocket> adopt_listening_socket(int fd) {
  FileDescriptor owned(fd);
  if (int_option(fd, SO_TYPE) != SOCK_STREAM || int_option(fd, SO_ACCEPTCONN) != 1) {
    return refusal(fmt::format("file descriptor {} is not a listening stream socket", fd),
                   "In the systemd socket unit use ListenStream= and leave Accept= off.");
  }
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return ListeningSocket(std::move(owned), {});
}

}  // namespace pgproxy::net
