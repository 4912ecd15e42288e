#pragma once

#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <functional>
#include <memory>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <vector>

#include "net/file_descriptor.hpp"
#include "net/socket_address.hpp"

#include "pgproxy/net/listener.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net::test {

/// A loop that a test runs until something has happened; every listener below stops it to let the
/// condition be looked at. The guard only ends a test that would hang.
class TestLoop final : private TimeoutListener {
 public:
  UvLoop loop{SocketOptions{}};

  void run_until(const std::function<bool()>& happened) {
    loop.timeouts().queue(std::chrono::seconds(30)).arm(guard_, loop.now());
    while (!happened()) {
      loop.run();
      REQUIRE_MESSAGE(!timed_out_, "what the test waits for never happened");
    }
    guard_.disarm();
  }

  /// One round of events, the threads' included.
  void run_round() {
    loop.post([this] { loop.stop(); });
    loop.run();
  }

 private:
  void on_timeout(Timeout&) override {
    timed_out_ = true;
    loop.stop();
  }
  Timeout guard_{*this};
  bool timed_out_ = false;
};

/// Writes down what a transport tells; the hooks run after that, and may destroy the transport.
struct Recorder final : io::TransportListener {
  explicit Recorder(UvLoop& of) : loop(of) {}
  void on_data(Bytes bytes) override {
    text += as_text(bytes);
    loop.stop();
    if (data_hook) data_hook(bytes);
  }
  void on_drained() override {
    ++drained_count;
    loop.stop();
    if (drained_hook) drained_hook();
  }
  void on_established() override {
    ++established_count;
    loop.stop();
    if (established_hook) established_hook();
  }
  void on_closed(const std::string& reason) override {
    closed.push_back(reason);
    loop.stop();
    if (closed_hook) closed_hook();
  }

  UvLoop& loop;
  std::string text;
  int drained_count = 0;
  int established_count = 0;  ///< TLS only
  std::vector<std::string> closed;
  std::function<void(Bytes)> data_hook;
  std::function<void()> drained_hook;
  std::function<void()> established_hook;
  std::function<void()> closed_hook;
};

struct Acceptances final : io::AcceptListener {
  explicit Acceptances(UvLoop& of) : loop(of) {}
  void on_accepted(std::unique_ptr<io::Transport> transport) override {
    transports.push_back(std::move(transport));
    loop.stop();
    if (hook) hook();
  }
  UvLoop& loop;
  std::vector<std::unique_ptr<io::Transport>> transports;
  std::function<void()> hook;
};

struct Connection final : io::ConnectListener {
  explicit Connection(UvLoop& of) : loop(of) {}
  void on_connected(std::unique_ptr<io::Transport> made) override {
    transport = std::move(made);
    loop.stop();
    if (hook) hook();
  }
  void on_connect_failed(const Error& failure) override {
    error = failure;
    loop.stop();
    if (hook) hook();
  }
  bool is_over() const { return transport != nullptr || error.has_value(); }

  UvLoop& loop;
  std::unique_ptr<io::Transport> transport;
  std::optional<Error> error;
  std::function<void()> hook;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "pgproxy_net_XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  std::string path;
};

inline config::Settings settings_for(const std::string& listen_addr, const std::string& directory) {
  config::Settings settings;
  settings.listen_addr = listen_addr;
  settings.unix_socket_dir = directory;
  settings.unix_socket_mode = 0700;
  settings.listen_backlog = 128;
  return settings;
}

/// The port in "127.0.0.1:6432".
inline std::uint16_t port_of(const std::string& address) {
  return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

enum class Kind { tcp, unix_socket };

/// Both ends of a connection through our own listener and connector.
struct Pair {
  explicit Pair(TestLoop& test, Kind kind = Kind::tcp) {
    Acceptances acceptances(test.loop);
    const bool tcp = kind == Kind::tcp;
    auto listener = Listener::open(
        test.loop, settings_for(tcp ? "127.0.0.1" : "", tcp ? "" : directory.path), acceptances);
    REQUIRE(listener);
    Connection connection(test.loop);
    const auto attempt = test.loop.connector().connect(
        tcp ? io::ServerAddress{"127.0.0.1", port_of((*listener)->addresses()[0])}
            : io::ServerAddress{directory.path, 0},
        connection);
    test.run_until([&] { return connection.is_over() && !acceptances.transports.empty(); });
    REQUIRE(connection.transport);
    near = std::move(connection.transport);
    far = std::move(acceptances.transports[0]);
  }
  TemporaryDirectory directory;
  std::unique_ptr<io::Transport> near;
  std::unique_ptr<io::Transport> far;
};

/// A plain listening socket on 127.0.0.1, to play servers that misbehave.
struct PlainServer {
  PlainServer() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    auto address = numeric_address("127.0.0.1", 0);
    REQUIRE(::bind(fd.get(), address->raw(), address->length) == 0);
    REQUIRE(::listen(fd.get(), 16) == 0);
    port = port_of(listening_text(fd.get()));
  }
  /// One connection: our transport, and the server's bare socket.
  std::unique_ptr<io::Transport> connect(TestLoop& test, FileDescriptor& server_end) {
    Connection connection(test.loop);
    const auto attempt = test.loop.connector().connect({"127.0.0.1", port}, connection);
    test.run_until([&] { return connection.is_over(); });
    REQUIRE(connection.transport);
    server_end.reset(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(server_end.is_open());
    return std::move(connection.transport);
  }
  FileDescriptor fd;
  std::uint16_t port = 0;
};

/// Closes with RST.
inline void reset_connection(FileDescriptor& fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  REQUIRE(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
  fd.reset();
}

/// Text that shows when a piece is missing, doubled or out of order.
inline std::string numbered_text(std::size_t size_bytes) {
  std::string text;
  text.reserve(size_bytes + 16);
  for (std::size_t i = 0; text.size() < size_bytes; ++i) text += std::to_string(i) + ' ';
  return text;
}

}  // namespace pgproxy::net::test
