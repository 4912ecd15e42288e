#pragma once

#include "pgproxy/base/intrusive_list.hpp"
#include "pgproxy/net/loop.hpp"

namespace pgproxy::net {

/// Waits for its turn in a HandshakeQueue; leaves it when destroyed.
class HandshakeTurn : public ListHook<HandshakeTurn> {
 public:
  virtual void on_turn() = 0;

 protected:
  ~HandshakeTurn() = default;
};

/// The handshakes of a loop that could go on, first come, first served. A step of a handshake costs
/// up to a millisecond of computing (an RSA signature), a transaction some ten microseconds: one
/// step in each round of events, between which every established connection is served. A storm of
/// logins delays a reply by one step, however many there are; while nothing else happens, rounds
/// follow each other at once.
class HandshakeQueue final : private Deferred {
 public:
  explicit HandshakeQueue(UvLoop& loop) : loop_(loop) {}

  void push_back(HandshakeTurn& turn) {
    turns_.push_back(turn);
    wait_for_next_round();
  }

 private:
  void wait_for_next_round() {
    if (!Deferred::is_linked()) loop_.defer(*this);
  }
  void on_deferred() override {
    if (turns_.empty()) return;
    HandshakeTurn& turn = turns_.front();
    turn.unlink();
    if (!turns_.empty()) wait_for_next_round();
    turn.on_turn();  // may destroy what it is a part of, and queue others
  }

  UvLoop& loop_;
  IntrusiveList<HandshakeTurn> turns_;
};

}  // namespace pgproxy::net
