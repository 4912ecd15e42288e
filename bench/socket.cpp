#include "socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

namespace pgproxy::bench {
namespace {

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

sockaddr_in address_of(const std::string& host, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("\"" + host + "\": want an IPv4 address");
  }
  return address;
}

int make_socket() {
  const int fd =
      checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  const int on = 1;
  checked(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
  return fd;
}

}  // namespace

Fd::~Fd() {
  ::close(fd_);
}

int listen_on(const std::string& host, std::uint16_t port) {
  const int fd = make_socket();
  const int on = 1;
  checked(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  const sockaddr_in address = address_of(host, port);
  checked(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  checked(::listen(fd, SOMAXCONN), "listen");
  return fd;
}

std::uint16_t port_of(int listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  checked(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  return ntohs(address.sin_port);
}

int accept_from(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED)) return -1;
  checked(fd, "accept");
  const int on = 1;
  checked(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
  return fd;
}

int start_connecting(const std::string& host, std::uint16_t port) {
  const int fd = make_socket();
  const sockaddr_in address = address_of(host, port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 &&
      errno != EINPROGRESS) {
    throw std::system_error(errno, std::generic_category(), "connect");
  }
  return fd;
}

int make_epoll() {
  return checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
}

void watch(int epoll, int fd, void* data) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  event.data.ptr = data;
  checked(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

bool Socket::flush() {
  while (has_output()) {
    std::size_t sent = 0;
    if (!send_some(std::string_view(out_).substr(sent_), sent)) return false;
    if (sent == 0) return true;
    sent_ += sent;
  }
  out_.clear();
  sent_ = 0;
  return true;
}

void Socket::use_tls(SSL_CTX& context) {
  ssl_.reset(SSL_new(&context));
  SSL_set_fd(ssl_.get(), fd());
  SSL_set_connect_state(ssl_.get());
}

bool Socket::ask_for_tls() {
  static constexpr std::string_view request("\0\0\0\x08\x04\xd2\x16\x2f", 8);
  if (tls_ == Tls::asked) return true;
  const ssize_t count = ::send(fd(), request.data(), request.size(), MSG_NOSIGNAL);
  if (count < 0) return errno == EAGAIN;  // still connecting
  tls_ = Tls::asked;
  return true;
}

/// As recv().
ssize_t Socket::read_tls() {
  if (tls_ != Tls::granted) {
    char answer = 0;
    const ssize_t count = ::recv(fd(), &answer, 1, 0);
    if (count <= 0) return count;
    if (answer != 'S') throw std::runtime_error("TLS was declined");
    tls_ = Tls::granted;
  }
  const int count = SSL_read(ssl_.get(), read_buffer.data(), read_buffer.size());
  if (count > 0) return count;
  errno = EAGAIN;
  return SSL_get_error(ssl_.get(), count) == SSL_ERROR_WANT_READ ? -1 : 0;
}

bool Socket::send_tls(std::string_view block, std::size_t& sent) {
  if (tls_ != Tls::granted) return ask_for_tls();
  const int status = SSL_write_ex(ssl_.get(), block.data(), block.size(), &sent);
  if (status == 1) return true;
  sent = 0;
  const int error = SSL_get_error(ssl_.get(), status);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

bool Socket::send_some(std::string_view block, std::size_t& sent) {
  sent = 0;
  if (ssl_ != nullptr) return send_tls(block, sent);
  const ssize_t count = ::send(fd(), block.data(), block.size(), MSG_NOSIGNAL);
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  sent = static_cast<std::size_t>(count);
  return true;
}

}  // namespace pgproxy::bench
