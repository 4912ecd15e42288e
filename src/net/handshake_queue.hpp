#pragma once

#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/io/executor.hpp"

namespace pgproxy::net {

/// Waits for its turn in a HandshakeQueue; leaves it when destroyed.
class HandshakeTurn : public ListHook<HandshakeTurn> {
 public:
  /// Submits a job that holds a HandshakeQueue::Place. Tells no listener anything.
  virtual void on_turn() = 0;

 protected:
  ~HandshakeTurn() = default;
};

/// The handshakes of a loop that could go on. A step may cost a millisecond of computing (an RSA
/// signature), a transaction some ten microseconds: steps are jobs of the executor, whose threads
/// need not be shared fairly, but whose queue is kept short, so that a login by password or a look
/// at the name service does not stand behind a storm of them. What was begun goes before what is
/// new, so that of many handshakes some are soon over instead of all being late; and so do
/// handshakes with servers, for which established clients may be waiting and of which
/// max_server_logins allows few.
class HandshakeQueue {
 public:
  explicit HandshakeQueue(io::Executor& executor)
      // One more than can run, so that no thread waits for the loop.
      : most_in_progress_(executor.thread_count() + 1) {}

  /// A step in progress: to be held until the executor is through with it, wanted or not.
  class Place {
   public:
    explicit Place(HandshakeQueue& queue) : queue_(queue) { ++queue_.in_progress_; }
    ~Place() {
      --queue_.in_progress_;
      queue_.run();
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    HandshakeQueue& queue_;
  };

  void add_newcomer(HandshakeTurn& turn) { add(newcomers_, turn); }
  void add_begun(HandshakeTurn& turn) { add(begun_, turn); }
  unsigned in_progress() const { return in_progress_; }

 private:
  using Turns = IntrusiveList<HandshakeTurn>;

  void add(Turns& turns, HandshakeTurn& turn) {
    turns.push_back(turn);
    run();
  }
  void run() {
    while (in_progress_ < most_in_progress_) {
      if (begun_.empty() && newcomers_.empty()) return;
      HandshakeTurn& turn = begun_.empty() ? newcomers_.front() : begun_.front();
      turn.unlink();
      turn.on_turn();
    }
  }

  const unsigned most_in_progress_;
  unsigned in_progress_ = 0;
  Turns begun_;
  Turns newcomers_;
};

}  // namespace pgproxy::net
