#include "pgproxy/net/listener.hpp"

#include <fcntl.h>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>

#include "net/stream_transport.hpp"
#include "net_fixture.hpp"

#include "pgproxy/base/log.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;

namespace {

std::string socket_path(const TemporaryDirectory& directory) {
  return directory.path + "/.s.PGSQL.0";
}

/// A bound unix socket whose file stays when it closes, as after a crash.
FileDescriptor bind_unix(const std::string& path) {
  FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = unix_address(path);
  REQUIRE(::bind(fd.get(), address->raw(), address->length) == 0);
  return fd;
}

/// Leaves the process no descriptor above those that it has.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const FileDescriptor lowest_free(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    rlimit tight = before_;
    tight.rlim_cur = static_cast<rlim_t>(lowest_free.get());
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
  }
  ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("listen: all of listen_addr and the unix socket, reported for the log") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  auto settings = settings_for(" 127.0.0.1 , 127.0.0.2", directory.path);
  settings.unix_socket_mode = 0640;
  const auto listener = Listener::open(test.loop, settings, acceptances);
  REQUIRE(listener);
  const auto& addresses = (*listener)->addresses();
  REQUIRE(addresses.size() == 3);
  CHECK(addresses[0].starts_with("127.0.0.1:"));
  CHECK(addresses[1].starts_with("127.0.0.2:"));
  CHECK(addresses[2] == "unix:" + socket_path(directory));
  struct stat made = {};
  REQUIRE(::stat(socket_path(directory).c_str(), &made) == 0);
  CHECK((made.st_mode & 0777) == 0640);
}

TEST_CASE("listen: '*' is every address of the machine") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  const auto listener = Listener::open(test.loop, settings_for("*", ""), acceptances);
  REQUIRE(listener);
  REQUIRE_FALSE((*listener)->addresses().empty());
  CHECK((*listener)->addresses()[0].starts_with("0.0.0.0:"));
}

TEST_CASE("listen: names are resolved") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  CHECK(Listener::open(test.loop, settings_for("localhost", ""), acceptances));
  const auto bad = Listener::open(test.loop, settings_for("a..b", ""), acceptances);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message.find("\"a..b\" of listen_addr") != std::string::npos);
}

TEST_CASE("listen: nothing to listen on is an error") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  const auto listener = Listener::open(test.loop, settings_for("", ""), acceptances);
  REQUIRE_FALSE(listener);
  CHECK(listener.error().message == "nothing to listen on");
}

TEST_CASE("listen: a port in use names listen_port and another value") {
  TestLoop test;
  PlainServer other;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  auto settings = settings_for("127.0.0.1", directory.path);
  settings.listen_port = other.port;
  const auto listener = Listener::open(test.loop, settings, acceptances);
  REQUIRE_FALSE(listener);
  CHECK(listener.error().message.ends_with(": Address already in use"));
  CHECK(listener.error().hint.find("listen_port = ") != std::string::npos);
  CHECK(std::filesystem::is_empty(directory.path));
}

TEST_CASE("listen: an address of another machine names listen_addr") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  const auto listener = Listener::open(test.loop, settings_for("192.0.2.1", ""), acceptances);
  REQUIRE_FALSE(listener);
  CHECK(listener.error().hint.find("listen_addr") != std::string::npos);
}

TEST_CASE("listen: a unix socket that answers is in use, and is left alone") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  const auto settings = settings_for("", directory.path);
  const auto first = Listener::open(test.loop, settings, acceptances);
  REQUIRE(first);
  const auto second = Listener::open(test.loop, settings, acceptances);
  REQUIRE_FALSE(second);
  CHECK(second.error().message == "unix socket is in use");
  CHECK_FALSE(second.error().hint.empty());
  CHECK(std::filesystem::exists(socket_path(directory)));
}

TEST_CASE("listen: a socket file that nobody serves is replaced") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  bind_unix(socket_path(directory)).reset();
  REQUIRE(std::filesystem::exists(socket_path(directory)));
  CHECK(Listener::open(test.loop, settings_for("", directory.path), acceptances));
}

TEST_CASE("listen: a file that is no socket is never removed") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  std::ofstream(socket_path(directory)) << "precious";
  const auto listener = Listener::open(test.loop, settings_for("", directory.path), acceptances);
  REQUIRE_FALSE(listener);
  CHECK(std::filesystem::is_regular_file(socket_path(directory)));
}

TEST_CASE("listen: bad unix_socket_dir and unix_socket_group are named") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  const auto missing =
      Listener::open(test.loop, settings_for("", directory.path + "/missing"), acceptances);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().hint.find("unix_socket_dir") != std::string::npos);
  const auto too_long =
      Listener::open(test.loop, settings_for("", "/" + std::string(200, 'x')), acceptances);
  REQUIRE_FALSE(too_long);
  CHECK(too_long.error().hint.find("unix_socket_dir") != std::string::npos);
  auto settings = settings_for("", directory.path);
  settings.unix_socket_group = "no such group";
  const auto no_group = Listener::open(test.loop, settings, acceptances);
  REQUIRE_FALSE(no_group);
  CHECK(no_group.error().message.starts_with("unix_socket_group: "));
  CHECK(std::filesystem::is_empty(directory.path));
}

TEST_CASE("closing removes the socket file, unless it is another process's by then") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  auto listener = Listener::open(test.loop, settings_for("", directory.path), acceptances);
  REQUIRE(listener);
  SUBCASE("ours") {
    (*listener)->close();
    CHECK_FALSE(std::filesystem::exists(socket_path(directory)));
  }
  SUBCASE("another's") {
    std::filesystem::rename(socket_path(directory), directory.path + "/ours");
    const FileDescriptor other = bind_unix(socket_path(directory));
    listener->reset();
    CHECK(std::filesystem::exists(socket_path(directory)));
  }
}

TEST_CASE("after close nobody is accepted, and who was accepted stays") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  const auto listener = Listener::open(test.loop, settings_for("127.0.0.1", ""), acceptances);
  REQUIRE(listener);
  const io::ServerAddress address{"127.0.0.1", port_of((*listener)->addresses()[0])};
  Connection first(test.loop), second(test.loop);
  // From inside the call, with a second newcomer waiting already.
  acceptances.hook = [&] { (*listener)->close(); };
  const auto attempt = test.loop.connector().connect(address, first);
  const auto another = test.loop.connector().connect(address, second);
  test.run_until([&] { return first.is_over() && !acceptances.transports.empty(); });
  Recorder near(test.loop);
  first.transport->set_listener(near);
  acceptances.transports[0]->write(as_bytes("still here"));
  test.run_until([&] { return near.text == "still here"; });
  CHECK(acceptances.transports.size() == 1);
  Connection third(test.loop);
  const auto late = test.loop.connector().connect(address, third);
  test.run_until([&] { return third.is_over(); });
  CHECK(third.error);
}

TEST_CASE("many newcomers at once are all accepted") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  const auto listener = Listener::open(test.loop, settings_for("", directory.path), acceptances);
  REQUIRE(listener);
  std::vector<FileDescriptor> clients;
  const auto address = unix_address(socket_path(directory));
  for (int i = 0; i < 100; ++i) {
    clients.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(clients.back().get(), address->raw(), address->length) == 0);
  }
  test.run_until([&] { return !acceptances.transports.empty(); });
  CHECK(acceptances.transports.size() < 100);  // other events have their turn in between
  test.run_until([&] { return acceptances.transports.size() == 100; });
}

TEST_CASE("sockets that listen already can be taken over") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  PlainServer server;
  const auto port = server.port;
  auto listener = Listener::adopt(test.loop, {server.fd.release()}, acceptances);
  REQUIRE(listener);
  CHECK((*listener)->addresses() == std::vector<std::string>{"127.0.0.1:" + std::to_string(port)});
  Connection connection(test.loop);
  const auto attempt = test.loop.connector().connect({"127.0.0.1", port}, connection);
  test.run_until([&] { return connection.is_over() && !acceptances.transports.empty(); });
  CHECK(connection.transport);
}

TEST_CASE("a descriptor that does not listen cannot be taken over") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  PlainServer good;
  const int unconnected = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto listener = Listener::adopt(test.loop, {unconnected, good.fd.release()}, acceptances);
  REQUIRE_FALSE(listener);
  CHECK(listener.error().message.ends_with("is not a listening stream socket"));
  CHECK(listener.error().hint.find("ListenStream") != std::string::npos);
}

TEST_CASE(
    "without descriptors newcomers are closed at once, and served again when there are some") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  const auto listener = Listener::open(test.loop, settings_for("", directory.path), acceptances);
  REQUIRE(listener);
  std::vector<std::unique_ptr<io::Transport>> clients;
  Recorder recorder(test.loop);
  const auto address = unix_address(socket_path(directory));
  const auto connect = [&](FileDescriptor fd) {
    REQUIRE(::connect(fd.get(), address->raw(), address->length) == 0);
    clients.push_back(std::make_unique<StreamTransport>(test.loop, std::move(fd)));
    clients.back()->set_listener(recorder);
  };
  // UBSan opens a pipe to check the first use of a class: have all used before that fails.
  log::line(log::Level::warning, "the next warning is about descriptors, and expected");
  const auto new_socket = [] {
    return FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  };
  connect(new_socket());
  test.run_until([&] { return acceptances.transports.size() == 1; });
  acceptances.transports[0]->write(as_bytes("welcome"));
  acceptances.transports.clear();
  test.run_until([&] { return recorder.closed.size() == 1; });
  std::vector<FileDescriptor> sockets(20);
  for (auto& fd : sockets) fd = new_socket();
  {
    const NoMoreDescriptors scarcity;
    for (auto& fd : sockets) connect(std::move(fd));
    test.run_until([&] { return recorder.closed.size() == 21; });
    CHECK(acceptances.transports.empty());
    CHECK((*listener)->refused_count() == 20);
  }
  connect(new_socket());
  test.run_until([&] { return !acceptances.transports.empty(); });
  CHECK((*listener)->refused_count() == 20);
}

TEST_CASE("close_tcp leaves unix sockets, and who waited in the kernel's queue is not reset") {
  TestLoop test;
  TemporaryDirectory directory;
  Acceptances acceptances(test.loop);
  const auto listener =
      Listener::open(test.loop, settings_for("127.0.0.1", directory.path), acceptances);
  REQUIRE(listener);
  const auto port = port_of((*listener)->addresses()[0]);
  const auto tcp = numeric_address("127.0.0.1", port);
  const FileDescriptor waiting(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(waiting.get(), tcp->raw(), tcp->length) == 0);
  CHECK(acceptances.transports.empty());
  (*listener)->accept_waiting();
  (*listener)->close_tcp();
  CHECK(acceptances.transports.size() == 1);
  const FileDescriptor late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(::connect(late.get(), tcp->raw(), tcp->length) != 0);
  const auto address = unix_address(socket_path(directory));
  const FileDescriptor local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(local.get(), address->raw(), address->length) == 0);
  test.run_until([&] { return acceptances.transports.size() == 2; });
  (*listener)->close_tcp();
  CHECK((*listener)->addresses() == std::vector<std::string>{"unix:" + socket_path(directory)});
}

TEST_CASE("so_reuseport shares a port with whoever has it too, and with nobody else") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  auto settings = settings_for("127.0.0.1", "");
  settings.so_reuseport = true;
  const auto first = Listener::open(test.loop, settings, acceptances);
  REQUIRE(first);
  settings.listen_port = port_of((*first)->addresses()[0]);
  CHECK(Listener::open(test.loop, settings, acceptances));
  settings.so_reuseport = false;
  const auto other = Listener::open(test.loop, settings, acceptances);
  REQUIRE_FALSE(other);
  CHECK(other.error().hint.contains("so_reuseport = 1"));
}
