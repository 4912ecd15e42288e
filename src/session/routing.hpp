#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "pgproxy/config/settings.hpp"
#include "pgproxy/pool/pool.hpp"
#include "pgproxy/route/choose.hpp"
#include "pgproxy/route/cluster.hpp"
#include "pgproxy/route/decide.hpp"

namespace pgproxy::session {

/// What the clients of one pool share whose entry names several hosts.
struct Routing {
  route::Cluster* cluster = nullptr;
  config::RoutingSettings settings = {};
  std::vector<pool::Pool*> replicas = {};      ///< by place in the view; nullptr: not used yet
  std::vector<route::ReplicaLoad> loads = {};  ///< memory for a choice
  std::size_t turn = 0;                        ///< where the search for the next replica begins
  /// Transactions sent to each side, by the reason.
  std::array<std::array<std::uint64_t, route::reason_count>, 2> counts{};

  void count(route::Target target, route::Reason reason) {
    ++counts[static_cast<std::size_t>(target)][static_cast<std::size_t>(reason)];
  }
  template <class Visit>
  void for_each_count(Visit visit) const {
    for (std::size_t target = 0; target < counts.size(); ++target) {
      for (std::size_t reason = 0; reason < counts[target].size(); ++reason) {
        const std::uint64_t count = counts[target][reason];
        if (count == 0) continue;
        visit(static_cast<route::Target>(target), static_cast<route::Reason>(reason), count);
      }
    }
  }
};

/// What routing knows of one client.
struct SessionRouting {
  explicit SessionRouting(Routing& routing) : shared(routing) {}

  Routing& shared;
  /// The number of the question whose answer covers what it wrote last; 0: it has not written.
  std::uint64_t written = 0;
  std::optional<route::WalPosition> fence;             ///< that answer
  route::Target target = route::Target::primary;       ///< of the transaction at hand
  route::Reason reason = route::Reason::unknown_text;  ///< likewise
  bool has_ended = false;  ///< COMMIT or ROLLBACK was sent of the transaction on a replica
  /// It waits for a replica that it may read from (on_no_replica = wait).
  bool is_waiting = false;
};

}  // namespace pgproxy::session
