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

/// The handshakes of a loop that could go on. Answering a client's first message costs up to a
/// millisecond of computing (an RSA signature), a transaction some ten microseconds: one newcomer
/// in each round of events, between which every established connection is served. A storm of
/// logins delays a reply by one such step, however many there are; while nothing else happens,
/// rounds follow each other at once. What was begun goes before what is new, so that of many
/// handshakes some are soon over instead of all being late; and so do handshakes with servers,
/// for which established clients may be waiting and of which max_server_logins allows few.
class HandshakeQueue final : private Deferred {
 public:
  explicit HandshakeQueue(UvLoop& loop) : loop_(loop) {}

  /// Steps after the first are cheap: a handshake has about three of them.
  static constexpr int begun_per_round = 4;

  void add_newcomer(HandshakeTurn& turn) { add(newcomers_, turn); }
  void add_begun(HandshakeTurn& turn) { add(begun_, turn); }

 private:
  using Turns = IntrusiveList<HandshakeTurn>;

  void add(Turns& turns, HandshakeTurn& turn) {
    turns.push_back(turn);
    wait_for_next_round();
  }
  void wait_for_next_round() {
    if (!Deferred::is_linked()) loop_.defer(*this);
  }
  void on_deferred() override {
    for (int left = begun_per_round; left > 0 && !begun_.empty(); --left) run_first(begun_);
    if (!newcomers_.empty()) run_first(newcomers_);
    if (!begun_.empty() || !newcomers_.empty()) wait_for_next_round();
  }
  static void run_first(Turns& turns) {
    HandshakeTurn& turn = turns.front();
    turn.unlink();
    turn.on_turn();  // may destroy what it is a part of, and queue others
  }

  UvLoop& loop_;
  Turns begun_;
  Turns newcomers_;
};

}  // namespace pgproxy::net
