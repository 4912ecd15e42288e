#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>

#include "pgproxy/base/time.hpp"
#include "pgproxy/route/cluster_view.hpp"
#include "pgproxy/route/decide.hpp"

namespace pgproxy::route {

/// What a server has to do for us.
struct ReplicaLoad {
  std::uint32_t outstanding = 0;  ///< transactions that run there or wait for a connection
  std::uint32_t weight = 1;       ///< its share beside the others'; 0: it gets none
  bool may_connect = true;        ///< it is neither failed nor recovering
};

/// What a replica has to fulfil.
struct ReplicaDemand {
  std::optional<WalPosition> fence;  ///< has to be replayed there
  /// Most lag that is put up with; a replica whose lag is not known is not used then.
  std::optional<Duration> max_lag;
  /// Of equals the first one from here on (modulo their number) is taken: a count of choices
  /// spreads them.
  std::size_t turn = 0;
};

/// The standby with the least work for its weight, of those that may be used: an index into
/// `view.hosts`, to which `loads` belong one by one. Otherwise the reason why there is none, as the
/// one that came closest has it: no_replica, lag, or own_write. Allocates nothing.
///
/// The view may be older than the standbys are: that makes it choose the primary more often, never
/// a stale replica.
std::expected<std::size_t, Reason> choose_replica(const ClusterView& view,
                                                  std::span<const ReplicaLoad> loads,
                                                  const ReplicaDemand& demand);

}  // namespace pgproxy::route
