#include "net/connector.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <utility>
#include <uv.h>
#include <vector>

#include "net/file_descriptor.hpp"
#include "net/socket_address.hpp"
#include "net/stream_transport.hpp"
#include "net/uv_handle.hpp"

#include "pgproxy/net/resolver.hpp"

namespace pgproxy::net {
namespace {

std::string hint_for(const io::ServerAddress& address, int error) {
  switch (error) {
    case ENOENT:
      return fmt::format(
          "There is no socket \"{}\": check the host and port of this database, and "
          "unix_socket_directories of the server.",
          unix_socket_path(address.host, address.port));
    case ECONNREFUSED:
      return "Nothing accepts connections there: start the server, or correct the host and port "
             "of this database.";
    case EMFILE:
    case ENFILE: return "Raise LimitNOFILE of the service (ulimit -n), or lower max_client_conn.";
    case EADDRNOTAVAIL:
      return "No free local port: widen net.ipv4.ip_local_port_range, or use a unix socket.";
    case EAGAIN:
      return "The server's queue of new connections is full: lower max_server_logins, or raise "
             "net.core.somaxconn.";
    case EINVAL: return "Check tcp_keepidle, tcp_keepcnt, tcp_keepintvl and tcp_user_timeout.";
    case ENAMETOOLONG: return "A unix socket's path may have 107 bytes: use a shorter directory.";
    default: return "";
  }
}

/// One connect(): look up, then address after address.
class Attempt final : public io::ConnectAttempt, private Deferred, private io::ResolveListener {
 public:
  Attempt(UvLoop& loop, io::ServerAddress address, io::ConnectListener& listener)
      : loop_(loop), address_(std::move(address)), listener_(listener) {}

  /// Finds the addresses, now or later, and begins.
  void start();

 private:
  void on_resolved(const std::vector<std::string>& addresses) override;
  void on_resolve_failed(const Error& error) override;
  static void on_answered(uv_connect_t* request, int status);
  void on_deferred() override;

  void try_next();
  int begin(const SocketAddress& address);
  int begin_tcp(const SocketAddress& address);
  void succeed();
  Error failure() const;

  UvLoop& loop_;
  const io::ServerAddress address_;
  io::ConnectListener& listener_;
  std::unique_ptr<io::ResolveAttempt> lookup_;
  std::vector<SocketAddress> addresses_;
  std::size_t next_ = 0;
  HandlePtr<uv_tcp_t> handle_;  ///< of the address being tried
  FileDescriptor connected_;
  int last_error_ = 0;  ///< errno
};

void Attempt::start() {
  if (address_.is_unix()) {
    const auto address = unix_address(unix_socket_path(address_.host, address_.port));
    if (address) addresses_.push_back(*address);
    last_error_ = ENAMETOOLONG;
  } else if (const auto address = numeric_address(address_.host, address_.port)) {
    addresses_.push_back(*address);
  } else {
    lookup_ = UvResolver(loop_).resolve(address_.host, *this);
    return;
  }
  try_next();
}

void Attempt::on_resolved(const std::vector<std::string>& addresses) {
  lookup_.reset();
  for (const std::string& text : addresses) {
    if (const auto address = numeric_address(text, address_.port)) addresses_.push_back(*address);
  }
  try_next();
}

void Attempt::on_resolve_failed(const Error& error) {
  const Error copy = error;
  lookup_.reset();
  listener_.on_connect_failed(copy);  // may destroy *this
}

void Attempt::try_next() {
  while (next_ < addresses_.size()) {
    const int error = begin(addresses_[next_++]);
    if (error == 0) return;
    last_error_ = error;
  }
  loop_.defer(*this);
}

/// 0: under way. An errno: no use.
int Attempt::begin(const SocketAddress& address) {
  FileDescriptor fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return errno;
  if (address.family() == AF_UNIX) {
    // A unix socket connects or fails at once. libuv 1.44 knows no abstract names: done here.
    if (::connect(fd.get(), address.raw(), address.length) != 0) return errno;
    connected_ = std::move(fd);
    loop_.defer(*this);
    return 0;
  }
  if (const int error = loop_.socket_options().apply(fd.get())) return error;
  handle_ = make_handle<uv_tcp_t>(loop_.raw(), this, uv_tcp_init);
  if (const int status = uv_tcp_open(handle_.get(), fd.release())) return -status;
  return begin_tcp(address);
}

int Attempt::begin_tcp(const SocketAddress& address) {
  auto request = std::make_unique<uv_connect_t>();
  const int status = uv_tcp_connect(request.get(), handle_.get(), address.raw(), on_answered);
  if (status != 0) return -status;
  [[maybe_unused]] const auto* libuvs = request.release();  // on_answered frees it
  return 0;
}

void Attempt::on_answered(uv_connect_t* request, int status) {
  const std::unique_ptr<uv_connect_t> done(request);
  auto* self = static_cast<Attempt*>(request->handle->data);
  if (self == nullptr) return;  // given up
  if (status == 0) {
    uv_os_fd_t fd = -1;
    uv_fileno(reinterpret_cast<const uv_handle_t*>(self->handle_.get()), &fd);
    self->connected_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));  // the handle closes its own
    status = self->connected_.is_open() ? 0 : -errno;
  }
  self->handle_.reset();
  if (status == 0) return self->succeed();
  self->last_error_ = -status;
  self->try_next();
}

void Attempt::on_deferred() {
  if (connected_.is_open()) return succeed();
  listener_.on_connect_failed(failure());  // may destroy *this
}

void Attempt::succeed() {
  auto transport = std::make_unique<StreamTransport>(loop_, std::move(connected_));
  listener_.on_connected(std::move(transport));  // may destroy *this
}

Error Attempt::failure() const {
  return {.sqlstate = "08001",
          .message = fmt::format("could not connect to server \"{}\" port {}: {}", address_.host,
                                 address_.port, system_text(last_error_)),
          .detail = addresses_.size() < 2
                        ? ""
                        : fmt::format("The name has {} addresses; none of them could be connected "
                                      "to. The error is that of the last one.",
                                      addresses_.size()),
          .hint = hint_for(address_, last_error_)};
}

}  // namespace

std::unique_ptr<io::ConnectAttempt> UvConnector::connect(const io::ServerAddress& address,
                                                         io::ConnectListener& listener) {
  auto attempt = std::make_unique<Attempt>(loop_, address, listener);
  attempt->start();
  return attempt;
}

}  // namespace pgproxy::net
