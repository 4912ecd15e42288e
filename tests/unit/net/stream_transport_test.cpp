#include "net/stream_transport.hpp"

#include <netinet/tcp.h>
#include <unistd.h>

#include "net_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;

namespace {

constexpr std::size_t more_than_sockets_hold = 16 * 1024 * 1024;

}  // namespace

TEST_CASE("large messages arrive whole in both directions at once") {
  for (const Kind kind : {Kind::tcp, Kind::unix_socket}) {
    CAPTURE(static_cast<int>(kind));
    TestLoop test;
    Pair pair(test, kind);
    Recorder near(test.loop), far(test.loop);
    far.data_hook = [&](Bytes bytes) { pair.far->write(bytes); };
    pair.near->set_listener(near);
    pair.far->set_listener(far);

    const std::string message = numbered_text(more_than_sockets_hold);
    pair.near->write(as_bytes(message));
    CHECK(pair.near->queued_bytes() > 0);
    const std::string more = numbered_text(100'000);
    pair.near->write(as_bytes(more), as_bytes("end"));  // behind what is queued
    const std::size_t all = message.size() + more.size() + 3;
    test.run_until([&] { return near.text.size() == all; });

    CHECK(near.text == message + more + "end");
    CHECK(near.drained_count == 1);
    CHECK(pair.near->queued_bytes() == 0);
  }
}

TEST_CASE("two spans leave in order, and empty ones do not matter") {
  TestLoop test;
  Pair pair(test);
  Recorder far(test.loop);
  pair.far->set_listener(far);
  pair.near->write(as_bytes("one "), as_bytes("two "));
  pair.near->write({}, as_bytes("three "));
  pair.near->write({});
  pair.near->write(as_bytes("four"));
  CHECK(pair.near->queued_bytes() == 0);
  test.run_until([&] { return far.text.size() == 18; });
  CHECK(far.text == "one two three four");
  CHECK(far.drained_count == 0);
}

TEST_CASE("a second span that only partly fits is queued from the right byte") {
  TestLoop test;
  Pair pair(test, Kind::unix_socket);
  Recorder near(test.loop), far(test.loop);
  pair.near->set_listener(near);
  const std::string second = numbered_text(more_than_sockets_hold);
  pair.near->write(as_bytes("first "), as_bytes(second));
  CHECK(pair.near->queued_bytes() > 0);
  pair.far->set_listener(far);
  test.run_until([&] { return far.text.size() == second.size() + 6; });
  CHECK(far.text == "first " + second);
}

TEST_CASE("the end of the other side is told once, as EOF") {
  TestLoop test;
  Pair pair(test);
  Recorder near(test.loop);
  pair.near->set_listener(near);
  pair.far->write(as_bytes("bye"));
  pair.far.reset();
  test.run_until([&] { return !near.closed.empty(); });
  CHECK(near.text == "bye");
  pair.near->write(as_bytes("x"));  // answered by RST
  pair.near->write(as_bytes("y"));
  bool posted = false;
  test.loop.post([&] {
    posted = true;
    test.loop.stop();
  });
  test.run_until([&] { return posted; });
  CHECK(near.closed == std::vector<std::string>{"EOF"});
}

TEST_CASE("the listener may destroy the transport in on_data, while more than one read is there") {
  TestLoop test;
  Pair pair(test);
  Recorder near(test.loop);
  near.data_hook = [&](Bytes) { pair.near.reset(); };
  const std::string message = numbered_text(4 * test.loop.read_buffer().size());
  pair.far->write(as_bytes(message));
  pair.near->set_listener(near);
  test.run_until([&] { return !near.text.empty(); });
  CHECK(near.text.size() <= test.loop.read_buffer().size());
  Recorder far(test.loop);
  pair.far->set_listener(far);
  test.run_until([&] { return !far.closed.empty(); });
  CHECK(near.closed.empty());
}

TEST_CASE("the listener may destroy the transport in on_drained") {
  TestLoop test;
  Pair pair(test);
  Recorder near(test.loop), far(test.loop);
  near.drained_hook = [&] { pair.near.reset(); };
  pair.near->set_listener(near);
  pair.far->set_listener(far);
  const std::string message = numbered_text(more_than_sockets_hold);
  pair.near->write(as_bytes(message));
  test.run_until([&] { return !far.closed.empty(); });
  CHECK(far.text.size() == message.size());
  CHECK(near.drained_count == 1);
}

TEST_CASE("the listener may destroy the transport in on_closed") {
  TestLoop test;
  Pair pair(test);
  Recorder near(test.loop);
  near.closed_hook = [&] { pair.near.reset(); };
  pair.near->set_listener(near);
  pair.far.reset();
  test.run_until([&] { return !near.closed.empty(); });
  CHECK(pair.near == nullptr);
}

TEST_CASE("destroying a transport drops what is queued, without a word to its listener") {
  TestLoop test;
  Pair pair(test);
  Recorder near(test.loop), far(test.loop);
  pair.near->set_listener(near);
  pair.near->write(as_bytes(numbered_text(more_than_sockets_hold)));
  REQUIRE(pair.near->queued_bytes() > 0);
  pair.near.reset();
  pair.far->set_listener(far);
  test.run_until([&] { return !far.closed.empty(); });
  CHECK(near.drained_count == 0);
  CHECK(near.closed.empty());
}

TEST_CASE("a listener set inside on_data gets everything that follows") {
  TestLoop test;
  Pair pair(test);
  Recorder first(test.loop), second(test.loop);
  first.data_hook = [&](Bytes) { pair.near->set_listener(second); };
  const std::string message = numbered_text(4 * test.loop.read_buffer().size());
  Recorder far(test.loop);
  pair.far->set_listener(far);
  pair.near->set_listener(first);
  pair.far->write(as_bytes(message));
  test.run_until([&] { return first.text.size() + second.text.size() == message.size(); });
  CHECK_FALSE(second.text.empty());
  CHECK(first.text + second.text == message);
  pair.far.reset();
  test.run_until([&] { return !second.closed.empty(); });
  CHECK(first.closed.empty());
}

TEST_CASE("a paused transport delivers nothing and loses nothing") {
  TestLoop test;
  Pair pair(test);
  Recorder near(test.loop), far(test.loop);
  near.data_hook = [&](Bytes) { pair.near->pause_reading(); };
  pair.near->set_listener(near);
  pair.far->set_listener(far);
  const std::string message = numbered_text(more_than_sockets_hold);
  pair.far->write(as_bytes(message));
  test.run_until([&] { return !near.text.empty(); });
  CHECK(near.text.size() <= test.loop.read_buffer().size());

  const std::size_t before = near.text.size();
  pair.near->write(as_bytes("still there?"));  // the other direction goes on
  test.run_until([&] { return !far.text.empty(); });
  CHECK(near.text.size() == before);

  near.data_hook = nullptr;
  pair.near->resume_reading();
  pair.near->resume_reading();  // no effect
  test.run_until([&] { return near.text.size() == message.size(); });
  CHECK(near.text == message);
}

TEST_CASE("writing to a peer that has reset ends in one on_closed, never from inside write") {
  for (const bool paused : {false, true}) {
    CAPTURE(paused);
    TestLoop test;
    PlainServer server;
    FileDescriptor server_end;
    const auto transport = server.connect(test, server_end);
    Recorder near(test.loop);
    transport->set_listener(near);
    if (paused) transport->pause_reading();
    reset_connection(server_end);
    transport->write(as_bytes("a"));
    transport->write(as_bytes("b"));
    CHECK(near.closed.empty());
    CHECK(transport->queued_bytes() == 0);
    test.run_until([&] { return !near.closed.empty(); });
    CHECK(near.closed == std::vector<std::string>{"Connection reset by peer"});
    transport->write(as_bytes("c"));
  }
}

TEST_CASE("pausing after a failed write does not hide the end") {
  TestLoop test;
  PlainServer server;
  FileDescriptor server_end;
  const auto transport = server.connect(test, server_end);
  Recorder near(test.loop);
  transport->set_listener(near);
  reset_connection(server_end);
  transport->write(as_bytes("a"));
  transport->pause_reading();
  test.run_until([&] { return !near.closed.empty(); });
  CHECK(near.closed.size() == 1);
}

TEST_CASE("a reset while bytes are queued and reading is paused is told") {
  TestLoop test;
  PlainServer server;
  FileDescriptor server_end;
  const auto transport = server.connect(test, server_end);
  Recorder near(test.loop);
  transport->set_listener(near);
  transport->pause_reading();
  transport->write(as_bytes(numbered_text(more_than_sockets_hold)));
  REQUIRE(transport->queued_bytes() > 0);
  reset_connection(server_end);
  test.run_until([&] { return !near.closed.empty(); });
  CHECK(near.closed.size() == 1);
  CHECK(near.drained_count == 0);
  CHECK(transport->queued_bytes() == 0);
}

TEST_CASE("what a server said before it reset is delivered although a write failed first") {
  TestLoop test;
  PlainServer server;
  FileDescriptor server_end;
  const auto transport = server.connect(test, server_end);
  Recorder near(test.loop);
  transport->set_listener(near);
  REQUIRE(::send(server_end.get(), "last words", 10, 0) == 10);
  server_end.reset();               // FIN
  transport->write(as_bytes("a"));  // the answer is RST
  transport->write(as_bytes("b"));  // fails
  test.run_until([&] { return !near.closed.empty(); });
  CHECK(near.text == "last words");
  CHECK(near.closed == std::vector<std::string>{"Broken pipe"});
}

TEST_CASE("a failed write ends the connection although the peer keeps its end open") {
  TestLoop test;
  Pair pair(test, Kind::unix_socket);
  Recorder near(test.loop);
  pair.near->set_listener(near);
  REQUIRE(::shutdown(dynamic_cast<StreamTransport&>(*pair.far).fd(), SHUT_RD) == 0);
  pair.near->write(as_bytes("a"));
  test.run_until([&] { return !near.closed.empty(); });
  CHECK(near.closed == std::vector<std::string>{"Broken pipe"});
}

TEST_CASE("a peer that only stopped sending can still be written to") {
  TestLoop test;
  PlainServer server;
  FileDescriptor server_end;
  const auto transport = server.connect(test, server_end);
  Recorder near(test.loop);
  transport->set_listener(near);
  REQUIRE(::shutdown(server_end.get(), SHUT_WR) == 0);
  test.run_until([&] { return !near.closed.empty(); });
  transport->write(as_bytes("answer"));
  char answer[16] = "";
  CHECK(::recv(server_end.get(), answer, sizeof answer, 0) == 6);
}

TEST_CASE("a graceful close delivers the last bytes although the peer's input was never read") {
  for (const Kind kind : {Kind::tcp, Kind::unix_socket}) {
    CAPTURE(static_cast<int>(kind));
    TestLoop test;
    Pair pair(test, kind);
    Recorder near(test.loop), far(test.loop);
    near.closed_hook = [&] { pair.near.reset(); };
    pair.far->set_listener(far);
    pair.far->pause_reading();
    pair.near->write(as_bytes("input that nobody reads"));
    const std::string message = numbered_text(more_than_sockets_hold);
    pair.far->write(as_bytes(message));
    REQUIRE(pair.far->queued_bytes() > 0);
    test.loop.close_gracefully(std::move(pair.far));
    pair.near->set_listener(near);
    test.run_until([&] { return !near.closed.empty(); });
    CHECK(near.text == message);
    CHECK(near.closed == std::vector<std::string>{"EOF"});
    CHECK(far.closed.empty());
  }
}

TEST_CASE("a graceful close inside on_closed still flushes to a peer that only stopped sending") {
  TestLoop test;
  PlainServer server;
  FileDescriptor server_end;
  auto transport = server.connect(test, server_end);
  Recorder near(test.loop);
  const std::string message = numbered_text(more_than_sockets_hold);
  near.closed_hook = [&] { test.loop.close_gracefully(std::move(transport)); };
  transport->set_listener(near);
  transport->write(as_bytes(message));
  REQUIRE(::shutdown(server_end.get(), SHUT_WR) == 0);
  test.run_until([&] { return !near.closed.empty(); });

  // The plain end becomes a transport: the loop serves both.
  Recorder far(test.loop);
  StreamTransport far_end(test.loop, FileDescriptor(server_end.release()));
  far_end.set_listener(far);
  test.run_until([&] { return !far.closed.empty(); });
  CHECK(far.text == message);
  CHECK(far.closed == std::vector<std::string>{"EOF"});
}

TEST_CASE("a graceful close of a broken connection ends at once") {
  TestLoop test;
  PlainServer server;
  FileDescriptor server_end;
  auto transport = server.connect(test, server_end);
  Recorder near(test.loop);
  transport->set_listener(near);
  reset_connection(server_end);
  test.run_until([&] { return !near.closed.empty(); });
  test.loop.close_gracefully(std::move(transport));
  CHECK(near.closed.size() == 1);
}

TEST_CASE("endpoints name both sides") {
  TestLoop test;
  SUBCASE("TCP") {
    Pair pair(test);
    CHECK(pair.near->peer().host == "127.0.0.1");
    CHECK(pair.near->peer().text() == pair.far->local().text());
    CHECK(pair.near->local().text() == pair.far->peer().text());
    CHECK_FALSE(pair.near->peer().is_unix);
  }
  SUBCASE("unix socket") {
    TemporaryDirectory directory;
    Acceptances acceptances(test.loop);
    auto settings = settings_for("", directory.path);
    settings.listen_port = 6432;
    const auto listener = Listener::open(test.loop, settings, acceptances);
    REQUIRE(listener);
    Connection connection(test.loop);
    const auto attempt = test.loop.connector().connect({directory.path, 6432}, connection);
    test.run_until([&] { return connection.is_over() && !acceptances.transports.empty(); });
    for (const auto& end : {connection.transport->peer(), acceptances.transports[0]->peer()}) {
      CHECK(end.is_unix);
      CHECK(end.host == "unix");
      CHECK(end.port == 6432);
      CHECK(end.peer_uid == ::getuid());
      CHECK(end.peer_pid == ::getpid());
    }
  }
}

TEST_CASE("TCP sockets send small writes at once and are kept alive, connected or accepted") {
  TestLoop test;
  Pair pair(test);
  for (const auto* transport : {pair.near.get(), pair.far.get()}) {
    int value = 0;
    socklen_t length = sizeof value;
    const int fd = dynamic_cast<const StreamTransport&>(*transport).fd();
    REQUIRE(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length) == 0);
    CHECK(value != 0);
    REQUIRE(::getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length) == 0);
    CHECK(value != 0);
  }
}

TEST_CASE("an idle connection is one small object beside libuv's handle") {
  CHECK(sizeof(StreamTransport) <= 72);
  CHECK(sizeof(StreamTransport) + sizeof(uv_poll_t) <= 250);
}
