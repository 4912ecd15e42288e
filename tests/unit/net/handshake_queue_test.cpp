#include "net/handshake_queue.hpp"

#include <doctest/doctest.h>
#include <list>
#include <memory>
#include <string>
#include <vector>

using namespace pgproxy;
using namespace pgproxy::net;

namespace {

struct OneThread final : io::Executor {
  std::unique_ptr<io::PendingJob> submit(std::unique_ptr<io::Job>) override { return nullptr; }
  unsigned thread_count() const override { return 1; }
};

/// Takes its place when its turn comes, and keeps it until the test takes it away.
struct Turn final : HandshakeTurn {
  Turn(HandshakeQueue& queue, std::string& log, char name)
      : queue_(queue), log_(log), name_(name) {}
  void on_turn() override {
    log_ += name_;
    place = std::make_unique<HandshakeQueue::Place>(queue_);
  }
  std::unique_ptr<HandshakeQueue::Place> place;

 private:
  HandshakeQueue& queue_;
  std::string& log_;
  char name_;
};

struct Queue {
  Turn& turn(char name) { return turns.emplace_back(handshakes, log, name); }

  OneThread executor;
  HandshakeQueue handshakes{executor};
  std::string log;
  std::list<Turn> turns;
};

}  // namespace

TEST_CASE("handshakes: one step more than there are threads is in progress") {
  Queue queue;
  for (const char name : {'a', 'b', 'c', 'd'}) queue.handshakes.add_newcomer(queue.turn(name));
  CHECK(queue.log == "ab");
  queue.turns.front().place.reset();
  CHECK(queue.log == "abc");
  CHECK(queue.handshakes.in_progress() == 2);
}

TEST_CASE("handshakes: what was begun goes before newcomers") {
  Queue queue;
  for (const char name : {'a', 'b', 'c'}) queue.handshakes.add_newcomer(queue.turn(name));
  for (const char name : {'1', '2'}) queue.handshakes.add_begun(queue.turn(name));
  for (Turn& turn : queue.turns) turn.place.reset();
  CHECK(queue.log == "ab12c");
}

TEST_CASE("handshakes: who is gone is passed by") {
  Queue queue;
  for (const char name : {'a', 'b', 'c', 'd'}) queue.handshakes.add_newcomer(queue.turn(name));
  queue.turns.erase(std::next(queue.turns.begin(), 2));
  queue.turns.front().place.reset();
  CHECK(queue.log == "abd");
}
