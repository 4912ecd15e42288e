#include "net/tls_transport.hpp"

#include <future>
#include <sys/socket.h>

#include "tls_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;

namespace {

constexpr std::size_t more_than_sockets_hold = 16 * 1024 * 1024;

/// Both ends of a connection, `near` as client and `far` as server of TLS.
struct TlsPair {
  explicit TlsPair(TestLoop& of, const std::string& host = "localhost") : test(of), plain(of) {
    const config::Settings settings = tls_settings_for(identity, issuer.ca_file());
    near = make_server_tls(settings).value()->start(std::move(plain.near), {}, host);
    far = make_client_tls(settings).value()->start(std::move(plain.far), {}, "");
    near->set_listener(near_end);
    far->set_listener(far_end);
  }
  void shake_hands() {
    test.run_until(
        [&] { return near_end.established_count == 1 && far_end.established_count == 1; });
  }

  TestLoop& test;
  Pair plain;
  Issuer issuer;
  Identity identity = issuer.issue("pooler", "DNS:localhost");
  Recorder near_end{test.loop}, far_end{test.loop};
  int near_fd = dynamic_cast<StreamTransport&>(*plain.near).fd();
  std::unique_ptr<io::Transport> near;
  std::unique_ptr<io::Transport> far;
};

/// Keeps a thread until the promise is fulfilled or gone.
struct Occupation final : io::Job {
  explicit Occupation(std::promise<void>& gate) : end(gate.get_future()) {}
  void run() override { end.wait(); }
  void on_done() override {}
  std::future<void> end;
};

}  // namespace

TEST_CASE("TLS: large messages arrive whole in both directions at once") {
  TestLoop test;
  TlsPair pair(test);
  pair.far_end.data_hook = [&](Bytes bytes) { pair.far->write(bytes); };
  pair.shake_hands();
  CHECK(pair.near->tls()->version == "TLSv1.3");
  CHECK(pair.near->tls()->is_peer_verified);
  const std::string message = numbered_text(more_than_sockets_hold);
  pair.near->write(as_bytes(message));
  CHECK(pair.near->queued_bytes() > 0);
  pair.near->write(as_bytes("more"), as_bytes("end"));
  const std::size_t all = message.size() + 7;
  test.run_until([&] { return pair.near_end.text.size() == all; });
  CHECK(pair.near_end.text == message + "moreend");
  CHECK(pair.near_end.drained_count == 1);
  CHECK(pair.near->queued_bytes() == 0);
}

TEST_CASE("TLS: what is written before the handshake is done leaves behind it") {
  TestLoop test;
  TlsPair pair(test);
  CHECK(pair.near->tls() == nullptr);
  pair.near->write(as_bytes("startup "), as_bytes("packet"));
  CHECK(pair.near->queued_bytes() == 14);
  test.run_until([&] { return pair.far_end.text.size() == 14; });
  CHECK(pair.far_end.text == "startup packet");
  CHECK(pair.near_end.drained_count == 1);
}

TEST_CASE("TLS: nothing that was written reaches a server with another name") {
  TestLoop test;
  TlsPair pair(test, "other.example");
  pair.near->write(as_bytes("secret"));
  test.run_until([&] { return !pair.near_end.closed.empty(); });
  CHECK(pair.near_end.closed[0].starts_with(
      "TLS handshake failed: server certificate does not match host name \"other.example\""));
  CHECK(pair.near_end.established_count == 0);
  CHECK(pair.near->tls() == nullptr);
  pair.near.reset();
  test.run_until([&] { return !pair.far_end.closed.empty(); });
  CHECK(pair.far_end.text == "");
}

TEST_CASE("TLS: a paused reader gets nothing until it reads again") {
  TestLoop test;
  TlsPair pair(test);
  pair.shake_hands();
  pair.far->pause_reading();
  const std::string message = numbered_text(more_than_sockets_hold);
  pair.near->write(as_bytes(message));
  test.loop.post([&] { test.loop.stop(); });
  test.loop.run();
  CHECK(pair.far_end.text == "");
  pair.far->resume_reading();
  test.run_until([&] { return pair.far_end.text.size() == message.size(); });
  CHECK(pair.far_end.text == message);
}

TEST_CASE("TLS: paused during the handshake, what came with its end waits") {
  TestLoop test;
  TlsPair pair(test);
  pair.far->pause_reading();
  pair.near->write(as_bytes("startup"));
  pair.shake_hands();
  CHECK(pair.far_end.text == "");
  pair.far->resume_reading();
  test.run_until([&] { return !pair.far_end.text.empty(); });
  CHECK(pair.far_end.text == "startup");
}

TEST_CASE("TLS: an end is told from a cut") {
  TestLoop test;
  TlsPair pair(test);
  pair.shake_hands();
  pair.near->write(as_bytes("bye"));
  SUBCASE("closed by us") {
    pair.near.reset();
    test.run_until([&] { return !pair.far_end.closed.empty(); });
    CHECK(pair.far_end.closed == std::vector<std::string>{"EOF"});
  }
  SUBCASE("closed gracefully by us") {
    test.loop.close_gracefully(std::move(pair.near));
    test.run_until([&] { return !pair.far_end.closed.empty(); });
    CHECK(pair.far_end.closed == std::vector<std::string>{"EOF"});
  }
  SUBCASE("cut") {
    ::shutdown(pair.near_fd, SHUT_WR);
    test.run_until([&] { return !pair.far_end.closed.empty(); });
    CHECK(pair.far_end.closed == std::vector<std::string>{"EOF without TLS close_notify"});
  }
  CHECK(pair.far_end.text == "bye");
}

TEST_CASE("TLS: the listener may destroy the transport in every call") {
  TestLoop test;
  TlsPair pair(test);
  SUBCASE("on_established") {
    pair.near_end.established_hook = [&] { pair.near.reset(); };
  }
  SUBCASE("on_data") {
    pair.near_end.data_hook = [&](Bytes) { pair.near.reset(); };
    pair.far->write(as_bytes("hello"));
  }
  SUBCASE("on_drained") {
    pair.near_end.drained_hook = [&] { pair.near.reset(); };
    pair.near->write(as_bytes("startup"));
  }
  SUBCASE("on_closed") {
    pair.near_end.closed_hook = [&] { pair.near.reset(); };
    pair.far.reset();
  }
  test.run_until([&] { return pair.near == nullptr; });
  if (pair.far != nullptr) test.run_until([&] { return !pair.far_end.closed.empty(); });
}

TEST_CASE("TLS: plain bytes in place of a handshake end it") {
  TestLoop test;
  Issuer issuer;
  const Identity identity = issuer.issue("pooler", "DNS:localhost");
  Pair plain(test);
  Recorder far(test.loop);
  const auto server = make_client_tls(tls_settings_for(identity, issuer.ca_file()))
                          .value()
                          ->start(std::move(plain.far), as_bytes("GET / HTTP/1.1\r\n\r\n"), "");
  server->set_listener(far);
  test.run_until([&] { return !far.closed.empty(); });
  CHECK(far.closed[0] == "TLS handshake failed: http request");
}

TEST_CASE("TLS: either end may vanish while a thread is at its handshake") {
  TestLoop test;
  TlsPair pair(test);
  const HandshakeQueue& handshakes = test.loop.handshakes();
  REQUIRE(handshakes.in_progress() == 1);  // near's first step
  SUBCASE("the client, before it sent anything") {
    pair.near.reset();
    test.run_until([&] { return !pair.far_end.closed.empty(); });
    CHECK(pair.far_end.closed[0] == "TLS handshake not finished: EOF");
  }
  SUBCASE("the server, when it had the client's first message") {
    while (test.loop.handshakes().in_progress() == 1) test.run_round();
    while (test.loop.handshakes().in_progress() == 0) test.run_round();
    pair.far.reset();
    test.run_until([&] { return !pair.near_end.closed.empty(); });
    CHECK(pair.near_end.closed[0] == "TLS handshake not finished: EOF");
  }
  while (handshakes.in_progress() > 0) test.run_round();
  CHECK(pair.near_end.established_count + pair.far_end.established_count == 0);
}

TEST_CASE("TLS: a client's Finished is looked at while the only thread is busy") {
  TestLoop test;
  TlsPair pair(test);
  std::promise<void> gate;
  std::unique_ptr<io::PendingJob> occupied;
  pair.near_end.established_hook = [&] {
    occupied = test.loop.executor().submit(std::make_unique<Occupation>(gate));
  };
  pair.near->write(as_bytes("startup"));
  test.run_until([&] { return !pair.far_end.text.empty(); });
  CHECK(occupied != nullptr);
  CHECK(pair.far_end.established_count == 1);
  CHECK(pair.far_end.text == "startup");
}

TEST_CASE("TLS: a loop may end while a thread is at a handshake") {
  TestLoop test;
  TlsPair pair(test);
  CHECK(test.loop.handshakes().in_progress() == 1);
}

TEST_CASE("settings that OpenSSL cannot use name themselves and OpenSSL's reason") {
  Issuer issuer;
  const Identity identity = issuer.issue("pooler");
  const Identity other = issuer.issue("other");
  config::Settings settings = tls_settings_for(identity, issuer.ca_file());
  const auto client_problem = [&settings] {
    const auto made = make_client_tls(settings);
    return made ? std::string() : made.error().setting + ": " + made.error().message;
  };
  CHECK(client_problem() == "");
  SUBCASE("key of another certificate") {
    settings.client_tls_key_file = other.key_file;
    CHECK(client_problem() ==
          "client_tls_key_file: \"" + other.key_file + "\": key values mismatch");
  }
  SUBCASE("no such file") {
    settings.client_tls_cert_file = "/nowhere";
    CHECK(client_problem() == "client_tls_cert_file: \"/nowhere\": No such file or directory");
  }
  SUBCASE("unknown curve") {
    settings.client_tls_ecdhcurve = "rot13";
    CHECK(client_problem().starts_with("client_tls_ecdhcurve: \"rot13\": "));
  }
  SUBCASE("unknown ciphers") {
    settings.client_tls_ciphers = "rot13";
    CHECK(client_problem() == "client_tls_ciphers: \"rot13\": no cipher match");
  }
  SUBCASE("the servers' side") {
    settings.server_tls_ca_file = identity.key_file;
    const auto made = make_server_tls(settings);
    REQUIRE_FALSE(made);
    CHECK(made.error().setting == "server_tls_ca_file");
  }
  SUBCASE("disabled") {
    settings.client_tls_sslmode = config::SslMode::disable;
    settings.client_tls_cert_file = "/nowhere";
    CHECK(make_client_tls(settings).value() == nullptr);
  }
}
