#include "pgproxy/pool/server_host.hpp"

#include <deque>
#include <doctest/doctest.h>

#include "pgproxy/pool/pool.hpp"

using namespace pgproxy;
using namespace pgproxy::pool;
using namespace std::chrono_literals;

namespace {

const Error refused{.sqlstate = "08001", .message = "Connection refused"};
const Error starting{.sqlstate = "57P03", .message = "the database system is starting up"};
const Error wrong_password{.sqlstate = "28P01", .message = "password authentication failed"};
const Error full{.sqlstate = "53300", .message = "sorry, too many clients already"};

/// A loop that has a clock and timeouts only.
class Clock final : public io::Loop, private AlarmSetter {
 public:
  TimePoint now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  Timeouts& timeouts() override { return timeouts_; }
  io::Connector& connector() override { std::abort(); }
  io::Executor& executor() override { std::abort(); }
  void destroy_later(std::unique_ptr<io::Disposable>) override {}
  void close_gracefully(std::unique_ptr<io::Transport>) override {}
  void pass(Duration duration) {
    now_ += duration;
    timeouts_.expire(now_);
  }

 private:
  void set_alarm(TimePoint) override {}
  TimePoint now_{1000s};
  Timeouts timeouts_{*this};
};

struct Fixture final : HostListener {
  explicit Fixture(std::uint32_t max_attempts = 2) {
    log::configure({.least = log::Level::fatal});
    settings.auto_recover = true;
    settings.max_attempts = max_attempts;
    settings.attempt_interval = 5s;
    settings.failure_threshold = 3;
    settings.check_interval = 1s;
    settings.failed_until = config::FailedUntil::health_check;
  }
  void on_host_changed(ServerHost& changed, HostState before) override {
    changes += std::string(to_string(before)) + ">" + std::string(to_string(changed.state())) + " ";
  }
  bool start_attempt(ServerHost&) override {
    attempts += has_room ? 1 : 0;
    return has_room;
  }
  std::string take_changes() { return std::exchange(changes, {}); }

  Clock clock;
  config::Settings settings;
  std::string changes;
  unsigned attempts = 0;
  bool has_room = true;
  ServerHost host{clock, settings, *this, {.host = "10.0.0.1", .port = 5432}};
};

}  // namespace

TEST_CASE("a server that cannot be reached is tried at the interval, and then given up") {
  Fixture f;
  CHECK(f.host.name() == "10.0.0.1:5432");
  f.host.on_login_failed(refused);
  CHECK(f.take_changes() == "healthy>recovering ");
  CHECK_FALSE(f.host.may_connect());
  CHECK(f.host.refusal().sqlstate == "57P03");
  CHECK(f.host.describe().state == "recovering 0 of 2");
  f.clock.pass(4s);
  CHECK(f.attempts == 0);
  f.clock.pass(1s);
  CHECK(f.attempts == 1);
  f.host.on_attempt_done(&starting);
  CHECK(f.host.describe().state == "recovering 1 of 2");
  f.clock.pass(5s);
  CHECK(f.attempts == 2);
  f.host.on_attempt_done(&refused);
  CHECK(f.take_changes() == "recovering>failed ");
  CHECK(f.host.refusal().sqlstate == "08006");
  CHECK(f.host.refusal().message == "server 10.0.0.1:5432 has failed: Connection refused");
  f.clock.pass(100s);
  CHECK(f.attempts == 2);
}

TEST_CASE("an attempt that succeeds makes it healthy, and the next failure starts anew") {
  Fixture f;
  f.host.on_login_failed(refused);
  f.clock.pass(5s);
  f.host.on_attempt_done(&refused);
  f.clock.pass(5s);
  f.host.on_attempt_done(nullptr);
  CHECK(f.take_changes() == "healthy>recovering recovering>healthy ");
  f.clock.pass(100s);
  CHECK(f.attempts == 2);
  f.host.on_login_failed(refused);
  CHECK(f.host.describe().state == "recovering 0 of 2");
}

TEST_CASE("without auto_recover the first failure is final") {
  Fixture f;
  f.settings.auto_recover = false;
  f.host.on_login_failed(refused);
  CHECK(f.take_changes() == "healthy>failed ");
  CHECK(f.host.refusal().hint.contains("auto_recover = 1"));
  f.clock.pass(100s);
  CHECK(f.attempts == 0);
}

TEST_CASE("why a server connection did not come to be has one of a few names") {
  const auto reason = [](const char* sqlstate, const char* message) {
    return failure_reason({.sqlstate = sqlstate, .message = message});
  };
  const std::string connecting = "could not connect to server \"h\" port 5432: ";
  CHECK(reason("08006", (connecting + "Connection refused").c_str()) == "refused");
  CHECK(reason("08006", (connecting + "No such file or directory").c_str()) == "refused");
  CHECK(reason("08006", (connecting + "Connection timed out").c_str()) == "timeout");
  CHECK(reason("08006", (connecting + "No route to host").c_str()) == "network");
  CHECK(reason("08006", "could not translate host name \"h\" to an address: unknown") == "name");
  CHECK(reason("08006", "server_connect_timeout: server did not accept the login") == "timeout");
  CHECK(reason("08006", "server closed the connection unexpectedly") == "closed");
  CHECK(reason("08004", "certificate verify failed") == "tls");
  CHECK(reason("08P01", "unexpected message from server during login: 0x48") == "protocol");
  CHECK(reason("22023", "server_settings, init_statements or connect_query: no") == "settings");
  CHECK(failure_reason(wrong_password) == "authentication");
  CHECK(failure_reason(full) == "full");
  CHECK(failure_reason(starting) == "unavailable");
  CHECK(reason("3D000", "database \"x\" does not exist") == "other");
}

TEST_CASE("a server that refuses one user, or has no slot, is there") {
  CHECK(failure_kind(wrong_password) == FailureKind::refusal);
  CHECK(failure_kind(full) == FailureKind::full);
  CHECK(failure_kind({.sqlstate = "08004", .message = "certificate verify failed"}) ==
        FailureKind::refusal);
  CHECK(failure_kind(starting) == FailureKind::unreachable);
  Fixture f;
  f.host.on_login_failed(wrong_password);
  f.host.on_login_failed(full);
  CHECK(f.take_changes() == "");
  f.host.on_login_failed(refused);
  f.clock.pass(5s);
  f.host.on_attempt_done(&wrong_password);
  CHECK(f.host.state() == HostState::healthy);
}

TEST_CASE("an attempt that nobody has room for does not count") {
  Fixture f;
  f.has_room = false;
  f.host.on_login_failed(refused);
  f.clock.pass(5s);
  f.clock.pass(5s);
  CHECK(f.host.describe().state == "recovering 0 of 2");
  f.has_room = true;
  f.clock.pass(5s);
  CHECK(f.attempts == 1);
}

TEST_CASE("a lost connection makes it suspect, and a login tells") {
  Fixture f;
  f.host.on_connection_lost({.sqlstate = "08006", .message = "gone"});
  CHECK(f.host.state() == HostState::suspect);
  CHECK(f.host.may_connect());
  f.host.on_login_done();
  CHECK(f.host.state() == HostState::healthy);
  f.host.on_connection_lost({.sqlstate = "57P01", .message = "terminated"});
  f.host.on_login_failed(refused);
  CHECK(f.take_changes() == "healthy>suspect suspect>healthy healthy>suspect suspect>recovering ");
}

TEST_CASE("the end of one session says nothing of its server") {
  Fixture f;
  for (const char* sqlstate : {"25P03", "57P05", "XX000", "25P04"}) {
    f.host.on_connection_lost({.sqlstate = sqlstate, .message = "this one only"});
  }
  CHECK(f.take_changes() == "");
}

TEST_CASE("failure_threshold checks in a row, and not fewer, are a failure") {
  Fixture f;
  f.host.on_check_failed(refused, true);
  f.host.on_check_failed(refused, true);
  f.host.on_check_passed(1ms);
  CHECK(f.take_changes() == "healthy>suspect suspect>healthy ");
  f.host.on_check_failed(refused, true);
  f.host.on_check_failed(refused, true);
  CHECK_FALSE(f.host.is_gone());
  f.host.on_check_failed(refused, true);
  CHECK(f.host.is_gone());
  CHECK(f.host.is_silent());
  CHECK(f.take_changes() == "healthy>suspect suspect>recovering ");
  f.host.on_check_passed(1ms);
  CHECK_FALSE(f.host.is_gone());
  CHECK(f.host.state() == HostState::healthy);
  CHECK(f.host.describe().reason.contains("last health check 1.0 ms"));
}

TEST_CASE("checks that fail while it is recovered tell its pools once") {
  Fixture f(100);
  f.host.on_login_failed(refused);
  f.take_changes();
  for (int i = 0; i < 5; ++i) f.host.on_check_failed(refused, false);
  CHECK(f.take_changes() == "recovering>recovering ");
  CHECK(f.host.is_gone());
  CHECK_FALSE(f.host.is_silent());
}

TEST_CASE("what ends the state failed is what failed_until says") {
  Fixture f;
  f.settings.auto_recover = false;
  f.settings.failed_until = config::FailedUntil::reconnect;
  f.host.on_login_failed(refused);
  f.host.on_check_passed(1ms);
  CHECK(f.host.state() == HostState::failed);
  f.host.reset();
  CHECK(f.host.state() == HostState::suspect);
  f.host.on_login_failed(refused);
  f.settings.failed_until = config::FailedUntil::health_check;
  f.host.on_check_passed(1ms);
  CHECK(f.host.state() == HostState::healthy);
}

TEST_CASE("a login that ends late changes nothing that is decided") {
  Fixture f;
  f.host.on_login_failed(refused);
  f.host.on_login_failed(refused);
  CHECK(f.take_changes() == "healthy>recovering ");
  f.clock.pass(5s);
  f.host.on_check_passed(1ms);  // faster than the attempt
  f.host.on_attempt_done(nullptr);
  CHECK(f.take_changes() == "recovering>healthy ");
}

TEST_CASE("a pool's books are compared") {
  CHECK(contradictions({}) == "");
  CHECK(contradictions({.permits = 3, .servers = 3, .idle_listed = 1, .idle_seen = 1}) == "");
  CHECK(contradictions({.permits = 3, .servers = 2}) == "3 permits but 2 server connections");
  CHECK(contradictions({.logins_counted = 1, .waiters_listed = 2}) ==
        "1 logins counted but 0 logging in, 0 waiters counted but 2 waiting");
  CHECK(contradictions({.idle_listed = 1}) == "1 idle listed but 0 idle");
}
