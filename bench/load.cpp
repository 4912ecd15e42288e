#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <random>
#include <vector>

#include "load_client.hpp"

// Many clients in one thread. Protocol with whoever started it: prints "ready" when all clients are
// logged in and warm; measures once for each line on stdin, and prints a line of JSON each time;
// keeps its clients connected until stdin ends.
namespace pgproxy::bench {
namespace {

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

struct LoadOptions {
  ClientOptions client;
  std::string user = "bench";
  std::string password;
  std::uint64_t clients = 1;
  std::uint64_t logins_at_once = 100;
  std::uint64_t warmup = 0;        ///< transactions
  std::uint64_t transactions = 0;  ///< 0: by time
  double seconds = 0;
  double pace_seconds = 0;  ///< 0: ask again as soon as answered
};

class Load {
 public:
  explicit Load(const LoadOptions& options)
      : options_(options), credentials_(options.user, options.password), epoll_(make_epoll()) {
    for (std::uint64_t i = 0; i < options.clients; ++i) {
      clients_.push_back(std::make_unique<Client>(options_.client, credentials_, i + 1));
    }
  }

  void log_in() {
    if (is_churn()) return;
    while (logged_in_ < clients_.size()) {
      while (started_ < clients_.size() && started_ - logged_in_ < options_.logins_at_once) {
        clients_[started_++]->connect(epoll_.get());
      }
      wait_for_events(-1);
    }
  }

  void warm_up() {
    left_ = options_.warmup;
    run_closed(UINT64_MAX);
  }

  /// Prints what was measured.
  void measure() {
    latencies_ns_.clear();
    const std::uint64_t bytes_before = wire_bytes();
    const std::uint64_t begin = now_ns();
    const auto duration = static_cast<std::uint64_t>(options_.seconds * 1e9);
    left_ = options_.transactions == 0 ? UINT64_MAX : options_.transactions;
    const std::uint64_t end = options_.transactions == 0 ? begin + duration : UINT64_MAX;
    if (options_.pace_seconds > 0) {
      run_paced(begin, end);
    } else {
      run_closed(end);
    }
    print(static_cast<double>(now_ns() - begin) / 1e9, wire_bytes() - bytes_before);
  }

 private:
  bool is_churn() const { return options_.client.mode == Mode::churn; }

  /// Each client asks again as soon as it is answered, until the time or the transactions are used
  /// up; returns when all are answered.
  void run_closed(std::uint64_t end) {
    end_ns_ = end;
    for (const auto& client : clients_) start(*client, now_ns());
    while (running_ > 0) wait_for_events(-1);
  }

  /// Each client asks once per period, each at its own random moment of it. A latency counts from
  /// the moment when the client should have asked: what the load itself is late is not forgiven.
  void run_paced(std::uint64_t begin, std::uint64_t end) {
    end_ns_ = 0;  // nobody asks again by himself
    const double period = options_.pace_seconds * 1e9;
    std::vector<double> phases(clients_.size());
    std::mt19937_64 random(1);
    std::ranges::generate(phases,
                          [&] { return std::uniform_real_distribution<>(0, period)(random); });
    std::ranges::sort(phases);
    for (std::uint64_t n = 0;; ++n) {
      const std::uint64_t round = n / phases.size();
      const auto due = begin + static_cast<std::uint64_t>(static_cast<double>(round) * period +
                                                          phases[n % phases.size()]);
      if (due >= end) break;
      for (std::uint64_t now = now_ns(); now < due; now = now_ns()) {
        wait_for_events(static_cast<std::int64_t>(due - now));
      }
      Client& client = *clients_[n % clients_.size()];
      if (client.is_busy()) {
        ++skipped_;  // shows as a latency of more than a period, too
      } else {
        ask(client, due);
      }
    }
    while (running_ > 0) wait_for_events(-1);
  }

  void start(Client& client, std::uint64_t now) {
    if (left_ == 0 || now >= end_ns_) return;
    --left_;
    if (is_churn()) {
      ++running_;
      client.began_ns = now;
      client.connect(epoll_.get());
    } else {
      ask(client, now);
    }
  }

  void ask(Client& client, std::uint64_t began) {
    ++running_;
    client.began_ns = began;
    client.ask();
  }

  void wait_for_events(std::int64_t timeout_ns) {
    const timespec timeout{.tv_sec = timeout_ns / 1'000'000'000,
                           .tv_nsec = timeout_ns % 1'000'000'000};
    const int count = ::epoll_pwait2(epoll_.get(), events_.data(), events_.size(),
                                     timeout_ns < 0 ? nullptr : &timeout, nullptr);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      on_event(*static_cast<Client*>(event.data.ptr), event.events);
    }
  }

  void on_event(Client& client, std::uint32_t events) {
    switch (client.on_events(events)) {
      case Client::Event::none: return;
      case Client::Event::logged_in:
        ++logged_in_;
        if (is_churn()) client.ask();
        return;
      case Client::Event::answered:
        const std::uint64_t now = now_ns();
        latencies_ns_.push_back(now - client.began_ns);
        --running_;
        if (is_churn()) client.disconnect();
        start(client, now);
        return;
    }
  }

  std::uint64_t wire_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& client : clients_) sum += client->wire_bytes();
    return sum;
  }

  void print(double seconds, std::uint64_t bytes) {
    std::ranges::sort(latencies_ns_);
    const auto at = [this](double share) {
      if (latencies_ns_.empty()) return 0.0;
      const auto last = static_cast<double>(latencies_ns_.size() - 1);
      return static_cast<double>(latencies_ns_[static_cast<std::size_t>(share * last)]) / 1000;
    };
    std::printf(
        "{\"transactions\": %zu, \"seconds\": %.6f, \"bytes\": %llu, \"skipped\": %llu, "
        "\"p50_us\": %.1f, \"p95_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
        latencies_ns_.size(), seconds, static_cast<unsigned long long>(bytes),
        static_cast<unsigned long long>(skipped_), at(0.5), at(0.95), at(0.99), at(1));
  }

  const LoadOptions& options_;
  Credentials credentials_;
  Fd epoll_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::array<epoll_event, 512> events_;
  std::vector<std::uint64_t> latencies_ns_;
  std::uint64_t started_ = 0;
  std::uint64_t logged_in_ = 0;
  std::uint64_t running_ = 0;
  std::uint64_t left_ = 0;
  std::uint64_t end_ns_ = 0;
  std::uint64_t skipped_ = 0;
};

void add_options(CLI::App& app, LoadOptions& options) {
  static const std::map<std::string, Mode> modes{
      {"simple", Mode::simple},      {"extended", Mode::extended}, {"prepared", Mode::prepared},
      {"bulk", Mode::bulk},          {"copy", Mode::copy},         {"churn", Mode::churn},
      {"read_only", Mode::read_only}};
  app.add_option("--host", options.client.host, "IPv4 address")->capture_default_str();
  app.add_option("--port", options.client.port)->required();
  app.add_option("--user", options.user)->capture_default_str();
  app.add_option("--password", options.password, "for cleartext, md5 and SCRAM-SHA-256");
  app.add_option("--database", options.client.database)->required();
  app.add_option("--clients", options.clients)->capture_default_str();
  app.add_option("--mode", options.client.mode, "what a transaction is")
      ->transform(CLI::CheckedTransformer(modes));
  app.add_option("--rows", options.client.rows, "rows of 100 bytes per bulk or copy transaction");
  app.add_flag("--tls", options.client.is_encrypted, "encrypted, the server's certificate unseen");
  app.add_option("--delay-us", options.client.delay_us,
                 "time the fake server takes for a simple Query");
  app.add_option("--logins-at-once", options.logins_at_once)->capture_default_str();
  app.add_option("--warmup", options.warmup, "transactions before the measurement");
  app.add_option("--transactions", options.transactions, "how many to measure");
  app.add_option("--seconds", options.seconds, "how long to measure, without --transactions");
  app.add_option("--pace", options.pace_seconds, "each client asks once in so many seconds");
}

}  // namespace
}  // namespace pgproxy::bench

int main(int argc, char** argv) try {
  CLI::App app("Load client for benchmarks");
  pgproxy::bench::LoadOptions options;
  pgproxy::bench::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  pgproxy::bench::Load load(options);
  load.log_in();
  load.warm_up();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::puts("ready");
  std::string line;
  while (std::getline(std::cin, line)) load.measure();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench_load: %s\n", error.what());
  return 1;
}
