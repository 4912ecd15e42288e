#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/base/result.hpp"
#include "pgproxy/base/timeouts.hpp"
#include "pgproxy/config/settings.hpp"
#include "pgproxy/pool/pool.hpp"
#include "pgproxy/route/choose.hpp"
#include "pgproxy/route/cluster.hpp"
#include "pgproxy/route/decide.hpp"

namespace pgproxy::session {

/// The setting, as the layer that decides knows it.
route::Mode mode_of(config::Routing routing);

/// What the clients of one pool share whose entry names several hosts.
struct Routing {
  route::Cluster* cluster = nullptr;
  config::RoutingSettings settings = {};
  const route::CatalogRef* catalog = nullptr;  ///< of the database; nullptr: not needed
  std::vector<pool::Pool*> replicas = {};      ///< by place in the view; nullptr: not used yet
  std::vector<route::ReplicaLoad> loads = {};  ///< memory for a choice
  std::size_t turn = 0;                        ///< where the search for the next replica begins
  struct Count {
    std::uint64_t number = 0;
    std::uint64_t last_fingerprint = 0;  ///< of the last one's first statement
    TimePoint last_at{};
  };
  /// Transactions sent to each side, by the reason.
  std::array<std::array<Count, route::reason_count>, 2> counts{};

  void count(route::Target target, route::Reason reason, std::uint64_t fingerprint, TimePoint now) {
    Count& count = counts[static_cast<std::size_t>(target)][static_cast<std::size_t>(reason)];
    ++count.number;
    count.last_fingerprint = fingerprint;
    count.last_at = now;
  }
  template <class Visit>
  void for_each_count(Visit visit) const {
    for (std::size_t target = 0; target < counts.size(); ++target) {
      for (std::size_t reason = 0; reason < counts[target].size(); ++reason) {
        const Count& count = counts[target][reason];
        if (count.number == 0) continue;
        visit(static_cast<route::Target>(target), static_cast<route::Reason>(reason), count);
      }
    }
  }
};

/// What routing knows of one client.
struct SessionRouting {
  SessionRouting(Routing& routing, TimeoutListener& client) : shared(routing), go_on(client) {}

  Routing& shared;
  Timeout go_on;  ///< its server was lost: what it sent since is looked at
  /// The number of the question whose answer covers what it wrote last; 0: it has not written.
  std::uint64_t written = 0;
  std::optional<route::WalPosition> fence;             ///< that answer
  route::Target target = route::Target::primary;       ///< of the transaction at hand
  route::Reason reason = route::Reason::unknown_text;  ///< likewise
  std::uint64_t fingerprint = 0;                       ///< of its first statement; 0: not known
  /// By the statements sent to the server at hand there is a transaction block behind them, or
  /// none; not set: as ReadyForQuery has it.
  std::optional<bool> is_block_sent;
  /// A transaction block was lost with its server: it counts as one that has failed, until its end.
  bool is_block_lost = false;
  struct Loss {
    Error error;
    std::string settings;  ///< ParameterStatus of what the transaction had changed
  };
  std::unique_ptr<Loss> loss;  ///< of its server, of which the client has yet to hear
  bool has_ended_one = false;  ///< on the server at hand a transaction has ended
  // The end of the transaction on a replica.
  bool is_end_bound = false;     ///< what the last Bind was for is COMMIT or ROLLBACK
  bool has_ended = false;        ///< that was executed
  bool is_ending_early = false;  ///< the Sync behind it is ours
  bool has_early_error = false;  ///< something in front of that has failed
  /// It waits for a replica that it may read from (on_no_replica = wait).
  bool is_waiting = false;
  // What a replica refuses is run again (rerun_on = replica_refusal).
  bool may_rerun = false;  ///< the statement at hand, of whose reply nothing was passed on
  bool is_rerun_due = false;
  bool was_refused = false;  ///< what comes next was: until it has a server it is for the primary
  std::string held_reply;    ///< what came before the first row
};

}  // namespace pgproxy::session
