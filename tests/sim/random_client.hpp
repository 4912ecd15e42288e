#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "world.hpp"

namespace pgproxy::sim {

/// What random clients may do besides asking.
struct Temper {
  bool changes_settings = true;
  bool leaves_residue = false;
  bool runs_code = false;
  bool names_statements = false;  ///< by SQL
  bool may_be_refused = false;    ///< what would pin may be met with an error
  bool must_rerun = false;        ///< a stale plan is nothing that it hears of
  bool resets_settings = true;    ///< not in session mode: startup settings are not the server's
  bool asks_for_much = true;      ///< rows above every high-water mark
  bool cancels = true;
  bool vanishes = true;
  bool uses_transactions = true;  ///< not in statement mode
  bool expects_faults = false;    ///< may be told FATAL at any time
  bool is_routed = false;         ///< writes, reads only, and may be told that there is no server
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
  void begin_read_only(Script& script);
  void open_read_only(Script& script, const std::string& text, bool is_extended);
  void read_in_one_cycle(Script& script);
  void insert(Script& script);
  void begin_alone(Script& script);
  void extended(Script& script);
  void statement(Script& script);
  void run_unnamed(Script& script, const std::string& text, bool parses);
  void named_statement(Script& script);
  void use_statement(Script& script, const std::string& name, const Prepared& known);
  void prepare(Script& script, const std::string& name);
  void alone(Script& script);
  /// Why an answer cannot be foretold: the configuration may refuse the statement, or DDL may have
  /// made its plan stale.
  enum class Doubt { refusal, stale_plan, no_server };
  void ask_alone(Script& script, Doubt doubt, std::function<void(Script&)> build);
  void judge();
  void copy_in(Script& script, bool is_extended);
  void go_on(Script& script);
  std::string state_text(Script& script);
  void say(Script& script, const std::vector<std::string>& texts);
  void sync(Script& script);
  bool believes_the_truth() const;
  void sleep(Script& script);

  World& world_;
  Temper temper_;
  Client* client_ = nullptr;
  const Client* cancel_ = nullptr;
  /// What our session holds if nobody comes between us and PostgreSQL.
  Cluster cluster_;
  std::unique_ptr<Session> session_;
  unsigned number_ = 0;
  unsigned batches_left_ = 0;
  Unfinished unfinished_ = Unfinished::nothing;
  std::optional<std::string>
      unnamed_;  ///< text of the unnamed statement that PostgreSQL has for us
  /// Builds the one cycle that is under way whose answer could not be foretold.
  std::function<void(Script&)> unjudged_;
  Doubt doubt_ = Doubt::refusal;  ///< about that cycle
  std::optional<Script> before_;  ///< that cycle: where things stood
  unsigned tables_before_ = 0;
  bool has_deferred_error_ = false;
  bool has_savepoint_ = false;
  bool is_read_only_ = false;  ///< this transaction
  /// Since it began to say something: a replica cannot keep what is parsed behind that.
  bool has_changed_settings_ = false;
  /// Startup settings can be given again, and cycles be run again: no COPY has left open how many
  /// answers are due.
  bool may_reset_ = true;
  bool is_sleeping_ = false;
  bool is_stopping_ = false;
  unsigned doubts_ = 0;  ///< times in a row that it was told otherwise about its settings
};

}  // namespace pgproxy::sim
