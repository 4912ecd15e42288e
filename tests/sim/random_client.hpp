#pragma once

#include <optional>
#include <string>

#include "world.hpp"

namespace pgproxy::sim {

/// What random clients may do besides asking.
struct Temper {
  bool leaves_residue = false;
  bool asks_for_much = true;  ///< rows above every high-water mark
  bool cancels = true;
  bool vanishes = true;
  bool uses_transactions = true;  ///< not in statement mode
  bool expects_faults = false;    ///< may be told FATAL at any time
};

/// A seat at which one client after the other does legal things by chance, until told to stop.
class RandomClient {
 public:
  RandomClient(World& world, Temper temper) : world_(world), temper_(temper) { again(); }
  void stop() { is_stopping_ = true; }
  const Client* client() const { return client_; }

 private:
  enum class Unfinished { nothing, flushed, copy, extended_copy };
  void again();
  void act();
  void arrive();
  void interfere();
  void batch();
  void cycle(Script& script);
  void simple(Script& script);
  void transaction(Script& script);
  void extended(Script& script);
  void statement(Script& script);
  void named_statement(Script& script);
  void prepare(Script& script, const std::string& name);
  void copy_in(Script& script, bool is_extended);
  void go_on(Script& script);
  void residue(Script& script);
  void sleep(Script& script);

  World& world_;
  Temper temper_;
  Client* client_ = nullptr;
  const Client* cancel_ = nullptr;
  NameMap startup_;
  unsigned number_ = 0;
  unsigned batches_left_ = 0;
  Unfinished unfinished_ = Unfinished::nothing;
  std::optional<std::string>
      unnamed_;    ///< text of the unnamed statement that PostgreSQL has for us
  NameMap named_;  ///< texts of the named ones
  bool has_deferred_error_ = false;
  bool is_sleeping_ = false;
  bool is_stopping_ = false;
};

}  // namespace pgproxy::sim
