#include <algorithm>
#include <deque>

#include "net_fixture.hpp"

using namespace pgproxy;
using namespace pgproxy::net;
using namespace pgproxy::net::test;

namespace {

constexpr std::size_t served_per_round = 16;

/// Accepted connections, the last of which is admitted; each has something to read.
struct Storm {
  explicit Storm(std::size_t newcomer_count) {
    auto listener = Listener::open(test.loop, settings_for("127.0.0.1", ""), acceptances);
    REQUIRE(listener);
    auto address = numeric_address("127.0.0.1", port_of((*listener)->addresses()[0]));
    while (clients.size() < newcomer_count + 1) {
      clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      REQUIRE(::connect(clients.back().get(), address->raw(), address->length) == 0);
      test.run_until([&] { return transports().size() == clients.size(); });
    }
    for (const auto& transport : transports()) {
      transport->set_listener(recorders.emplace_back(test.loop));
    }
    transports().back()->admit();
    for (const FileDescriptor& client : clients) REQUIRE(::send(client.get(), "x", 1, 0) == 1);
  }

  std::vector<std::unique_ptr<io::Transport>>& transports() { return acceptances.transports; }
  std::size_t served_newcomers() const {
    return static_cast<std::size_t>(std::count_if(
        recorders.begin(), recorders.end() - 1, [](const Recorder& r) { return !r.text.empty(); }));
  }
  bool is_admitted_served() const { return !recorders.back().text.empty(); }

  TestLoop test;
  Acceptances acceptances{test.loop};
  std::vector<FileDescriptor> clients;
  std::deque<Recorder> recorders;
};

}  // namespace

TEST_CASE("of many newcomers a round serves some, and everybody who was admitted") {
  Storm storm(50);
  storm.test.run_round();
  CHECK(storm.is_admitted_served());
  CHECK(storm.served_newcomers() == served_per_round);
  storm.test.run_round();
  CHECK(storm.served_newcomers() == 2 * served_per_round);
  storm.test.run_until([&] { return storm.served_newcomers() == 50; });
}

TEST_CASE("who sends again while others wait stands behind them") {
  Storm storm(40);
  storm.test.run_round();
  std::size_t first = 0;
  while (storm.recorders[first].text.empty()) ++first;
  REQUIRE(::send(storm.clients[first].get(), "y", 1, 0) == 1);
  storm.test.run_until([&] { return storm.recorders[first].text == "xy"; });
  CHECK(storm.served_newcomers() == 40);
}

TEST_CASE("a newcomer in line may be admitted, paused or destroyed") {
  Storm storm(40);
  storm.test.run_round();
  std::vector<std::size_t> waiting;
  for (std::size_t i = 0; i < 40; ++i) {
    if (storm.recorders[i].text.empty()) waiting.push_back(i);
  }
  REQUIRE(waiting.size() == 40 - served_per_round);
  const std::size_t admitted = waiting[21], paused = waiting[22], destroyed = waiting[23];
  storm.transports()[admitted]->admit();
  storm.transports()[paused]->pause_reading();
  storm.transports()[destroyed].reset();
  storm.test.run_round();
  CHECK(storm.recorders[admitted].text == "x");
  storm.test.run_until([&] { return storm.served_newcomers() == 38; });
  CHECK(storm.recorders[paused].text.empty());
  CHECK(storm.recorders[destroyed].text.empty());
  storm.transports()[paused]->resume_reading();
  storm.test.run_until([&] { return !storm.recorders[paused].text.empty(); });
}

TEST_CASE("a newcomer in line may be paused and read on from at once") {
  Storm storm(40);
  storm.test.run_round();
  for (std::size_t i = 0; i < 40; ++i) {
    storm.transports()[i]->pause_reading();
    storm.transports()[i]->resume_reading();
  }
  storm.test.run_until([&] { return storm.served_newcomers() == 40; });
}

TEST_CASE("the end of a paused newcomer is told although others are in line") {
  for (const bool is_admitted : {false, true}) {
    Storm storm(40);
    storm.test.run_round();
    std::size_t served = 0;
    while (storm.recorders[served].text.empty()) ++served;
    storm.transports()[served]->pause_reading();
    reset_connection(storm.clients[served]);
    storm.transports()[served]->write(as_bytes("a"));
    storm.test.run_round();  // stands in line with the end now
    if (is_admitted) storm.transports()[served]->admit();
    storm.test.run_until([&] { return !storm.recorders[served].closed.empty(); });
    CHECK(storm.recorders[served].closed.size() == 1);
    CHECK(storm.recorders[served].text == "x");
  }
}

TEST_CASE("a newcomer in line that is gone is told as such in its turn") {
  Storm storm(40);
  storm.test.run_round();
  for (FileDescriptor& client : storm.clients) client.reset();
  storm.test.run_until([&] {
    return std::ranges::all_of(storm.recorders,
                               [](const Recorder& r) { return r.closed.size() == 1; });
  });
  for (const Recorder& recorder : storm.recorders) {
    CHECK(recorder.text == "x");
    CHECK(recorder.closed == std::vector<std::string>{"EOF"});
  }
}
