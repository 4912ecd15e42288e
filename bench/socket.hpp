#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <openssl/ssl.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "pgproxy/base/bytes.hpp"

// Non-blocking TCP on epoll for the two benchmark programs. They use no layer of the proxy but
// wire, so that what is measured is not also the measure. Failures to set something up throw
// std::system_error.
namespace pgproxy::bench {

/// Owns a file descriptor.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd();
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Listens on host:port; port 0 takes a free one.
int listen_on(const std::string& host, std::uint16_t port);
std::uint16_t port_of(int listener);
/// Accepts one connection, or -1 when none is waiting.
int accept_from(int listener);
/// Begins to connect; EPOLLOUT tells the end.
int start_connecting(const std::string& host, std::uint16_t port);

int make_epoll();
/// Edge-triggered, both directions, once for the socket's whole life: no epoll_ctl per transaction.
void watch(int epoll, int fd, void* data);

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

/// A connected socket with the bytes that neither side has taken yet.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}

  /// Asks for TLS before anything else is sent (SSLRequest); trusts everybody.
  void use_tls(SSL_CTX& context);

  int fd() const { return fd_.get(); }
  /// What flush() sends; append to it.
  std::string& out() { return out_; }
  bool has_output() const { return sent_ < out_.size(); }

  /// Sends out(); what the kernel refuses stays. False: the connection is gone.
  bool flush();
  /// Sends from memory that the caller keeps; counts what went, 0 when the kernel refuses. False:
  /// gone.
  bool send_some(std::string_view block, std::size_t& sent);

  /// Reads until the kernel has no more. `consume` gets all unconsumed bytes and says how many it
  /// took; the rest comes again, with more behind it. False: the connection is gone.
  template <class Consume>
  bool receive(Consume consume) {
    for (;;) {
      const ssize_t count =
          ssl_ != nullptr ? read_tls() : ::recv(fd(), read_buffer.data(), read_buffer.size(), 0);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == EAGAIN;
      if (count == 0) return false;
      const auto size = static_cast<std::size_t>(count);
      take({read_buffer.data(), size}, consume);
      if (size < read_buffer.size() && ssl_ == nullptr)
        return true;  // drained: epoll tells about the next byte
    }
  }
  /// Offers the bytes left over by receive() once more.
  template <class Consume>
  void consume_rest(Consume consume) {
    take({}, consume);
  }

 private:
  template <class Consume>
  void take(Bytes fresh, Consume consume) {
    if (rest_.empty()) {
      rest_ = as_text(fresh.subspan(consume(fresh)));
      return;
    }
    rest_ += as_text(fresh);
    rest_.erase(0, consume(as_bytes(rest_)));
  }

  ssize_t read_tls();
  bool ask_for_tls();
  bool send_tls(std::string_view block, std::size_t& sent);

  static inline std::array<std::uint8_t, 262144> read_buffer;  // one thread, used up within a call

  Fd fd_;
  std::string out_;
  std::size_t sent_ = 0;
  std::string rest_;
  enum class Tls : std::uint8_t { wanted, asked, granted };
  Tls tls_ = Tls::wanted;
  std::unique_ptr<SSL, FreeSsl> ssl_;  ///< none: no TLS
};

}  // namespace pgproxy::bench
