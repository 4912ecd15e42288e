#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "fake_session.hpp"

// A PostgreSQL 15 that does no work, so that the proxy in front of it is what costs.
namespace pgproxy::bench {
namespace {

class FakeServer {
 public:
  /// A primary on the first of the hosts, its standbys on the others; all on one port.
  FakeServer(const std::vector<std::string>& hosts, std::uint16_t port) : epoll_(make_epoll()) {
    for (const std::string& host : hosts) {
      listeners_.push_back(std::make_unique<Fd>(listen_on(host, port)));
      watch(epoll_.get(), listeners_.back()->get(), nullptr);
      port = this->port();
    }
  }

  std::uint16_t port() const { return port_of(listeners_.front()->get()); }

  [[noreturn]] void run() {
    std::array<epoll_event, 512> events;
    for (;;) {
      const timespec* timeout = until_next_due();
      const int count =
          ::epoll_pwait2(epoll_.get(), events.data(), events.size(), timeout, nullptr);
      for (int i = 0; i < count; ++i) {
        auto* session = static_cast<FakeSession*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (session == nullptr) {
          accept_all();
        } else {
          settle(session, session->on_events(events[static_cast<std::size_t>(i)].events));
        }
      }
      answer_due();
    }
  }

 private:
  void accept_all() {
    for (const auto& listener : listeners_) {
      const ServerRole role =
          listener == listeners_.front() ? ServerRole::primary : ServerRole::standby;
      for (int fd = accept_from(listener->get()); fd >= 0; fd = accept_from(listener->get())) {
        auto session = std::make_unique<FakeSession>(fd, ++last_pid_, role);
        watch(epoll_.get(), fd, session.get());
        sessions_.emplace(session.get(), std::move(session));
      }
    }
  }

  void settle(FakeSession* session, bool goes_on) {
    delayed_.erase(session);
    if (!goes_on) {
      sessions_.erase(session);
    } else if (session->due()) {
      delayed_.emplace(session, *session->due());
    }
  }

  // One entry per busy server connection of a pool: few enough to look through.
  const timespec* until_next_due() {
    if (delayed_.empty()) return nullptr;
    Time next = Time::max();
    for (const auto& [session, due] : delayed_) next = std::min(next, due);
    const auto left =
        std::max(next - std::chrono::steady_clock::now(), std::chrono::nanoseconds(0));
    timeout_ = {.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
    return &timeout_;
  }

  void answer_due() {
    if (delayed_.empty()) return;
    const Time now = std::chrono::steady_clock::now();
    std::vector<FakeSession*> due_now;
    for (const auto& [session, due] : delayed_) {
      if (due <= now) due_now.push_back(session);
    }
    for (FakeSession* session : due_now) settle(session, session->on_due());
  }

  Fd epoll_;
  std::vector<std::unique_ptr<Fd>> listeners_;
  std::uint32_t last_pid_ = 0;
  timespec timeout_{};
  std::unordered_map<FakeSession*, std::unique_ptr<FakeSession>> sessions_;
  std::unordered_map<FakeSession*, Time> delayed_;
};

}  // namespace
}  // namespace pgproxy::bench

int main(int argc, char** argv) try {
  CLI::App app("Fake PostgreSQL server for benchmarks; prints the port it listens on");
  std::vector<std::string> hosts = {"127.0.0.1"};
  std::uint16_t port = 0;
  app.add_option("--host", hosts, "IPv4 addresses to listen on: of a primary, and of its standbys")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--port", port, "0: any free one")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  pgproxy::bench::FakeServer server(hosts, port);
  std::printf("%u\n", server.port());
  std::fflush(stdout);
  server.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench_fake_server: %s\n", error.what());
  return 1;
}
