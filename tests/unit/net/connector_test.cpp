#include <unistd.h>

#include "net_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;

namespace {

/// A port of 127.0.0.1 where nobody listens.
std::uint16_t dead_port() {
  return PlainServer().port;
}

}  // namespace

TEST_CASE("connect: refused is 08001 with the system's words, a hint, and never told at once") {
  TestLoop test;
  Connection connection(test.loop);
  const auto port = dead_port();
  const auto attempt = test.loop.connector().connect({"127.0.0.1", port}, connection);
  CHECK_FALSE(connection.is_over());
  test.run_until([&] { return connection.is_over(); });
  REQUIRE(connection.error);
  CHECK(connection.error->sqlstate == "08001");
  CHECK(connection.error->message == "could not connect to server \"127.0.0.1\" port " +
                                         std::to_string(port) + ": Connection refused");
  CHECK_FALSE(connection.error->hint.empty());
}

TEST_CASE("connect: a missing unix socket is named in the hint, and never told at once") {
  TestLoop test;
  TemporaryDirectory directory;
  Connection connection(test.loop);
  const auto attempt = test.loop.connector().connect({directory.path, 5432}, connection);
  CHECK_FALSE(connection.is_over());
  test.run_until([&] { return connection.is_over(); });
  REQUIRE(connection.error);
  CHECK(connection.error->message.ends_with(": No such file or directory"));
  CHECK(connection.error->hint.find(directory.path + "/.s.PGSQL.5432") != std::string::npos);
}

TEST_CASE("connect: a unix socket directory that is too long is an error") {
  TestLoop test;
  Connection connection(test.loop);
  const auto attempt =
      test.loop.connector().connect({"/" + std::string(200, 'x'), 5432}, connection);
  test.run_until([&] { return connection.is_over(); });
  REQUIRE(connection.error);
  CHECK(connection.error->message.ends_with(": File name too long"));
}

TEST_CASE("connect: abstract unix sockets work, ours and the server's") {
  TestLoop test;
  Acceptances acceptances(test.loop);
  const std::string name = "@pgproxy-net-test-" + std::to_string(::getpid());
  const auto listener = Listener::open(test.loop, settings_for("", name), acceptances);
  REQUIRE(listener);
  CHECK((*listener)->addresses() == std::vector<std::string>{"unix:" + name + "/.s.PGSQL.0"});
  Connection connection(test.loop);
  const auto attempt = test.loop.connector().connect({name, 0}, connection);
  test.run_until([&] { return connection.is_over() && !acceptances.transports.empty(); });
  CHECK(connection.transport);
}

TEST_CASE("connect: the addresses of a name are tried until one accepts") {
  TestLoop test;
  PlainServer server;  // 127.0.0.1 only; localhost may be ::1 as well
  Connection connection(test.loop);
  const auto attempt = test.loop.connector().connect({"localhost", server.port}, connection);
  CHECK_FALSE(connection.is_over());
  test.run_until([&] { return connection.is_over(); });
  REQUIRE(connection.transport);
  CHECK(connection.transport->peer().host == "127.0.0.1");
}

TEST_CASE("connect: a name that cannot be is an error with a hint") {
  TestLoop test;
  Connection connection(test.loop);
  // An empty label is refused without asking anybody.
  const auto attempt = test.loop.connector().connect({"a..b", 5432}, connection);
  test.run_until([&] { return connection.is_over(); });
  REQUIRE(connection.error);
  CHECK(connection.error->sqlstate == "08001");
  CHECK(connection.error->message.starts_with(
      "could not translate host name \"a..b\" to an address: "));
  CHECK_FALSE(connection.error->hint.empty());
}

TEST_CASE("connect: an attempt that is destroyed is never heard of again") {
  TestLoop test;
  PlainServer server;
  TemporaryDirectory directory;
  Connection cancelled(test.loop);
  for (const io::ServerAddress& address :
       {io::ServerAddress{"127.0.0.1", server.port}, io::ServerAddress{"127.0.0.1", dead_port()},
        io::ServerAddress{"localhost", server.port}, io::ServerAddress{directory.path, 5432}}) {
    test.loop.connector().connect(address, cancelled).reset();
  }
  Connection kept(test.loop);
  const auto attempt = test.loop.connector().connect({"localhost", server.port}, kept);
  test.run_until([&] { return kept.is_over(); });
  CHECK_FALSE(cancelled.is_over());
}

TEST_CASE("connect: a lookup in flight does not outlive the loop") {
  TestLoop test;
  Connection connection(test.loop);
  for (int i = 0; i < 8; ++i) {
    test.loop.connector().connect({"localhost", 1}, connection).reset();
  }
}

TEST_CASE("connect: the listener may destroy the attempt when told, either way") {
  TestLoop test;
  PlainServer server;
  TemporaryDirectory directory;
  for (const io::ServerAddress& address :
       {io::ServerAddress{"127.0.0.1", server.port}, io::ServerAddress{"127.0.0.1", dead_port()},
        io::ServerAddress{directory.path, 5432}}) {
    Connection connection(test.loop);
    std::unique_ptr<io::ConnectAttempt> attempt;
    connection.hook = [&] { attempt.reset(); };
    attempt = test.loop.connector().connect(address, connection);
    test.run_until([&] { return connection.is_over(); });
    CHECK(attempt == nullptr);
  }
}

TEST_CASE("connect: bytes written as soon as connected arrive") {
  TestLoop test;
  PlainServer server;
  Connection connection(test.loop);
  connection.hook = [&] { connection.transport->write(as_bytes("hello")); };
  const auto attempt = test.loop.connector().connect({"127.0.0.1", server.port}, connection);
  test.run_until([&] { return connection.is_over(); });
  const FileDescriptor server_end(::accept4(server.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  char text[16] = "";
  CHECK(::recv(server_end.get(), text, sizeof text, 0) == 5);
}
