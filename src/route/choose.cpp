#include "pgproxy/route/choose.hpp"

#include <algorithm>

#include "pgproxy/base/assert.hpp"

namespace pgproxy::route {
namespace {

/// Why not; nullopt: it may be used.
std::optional<Reason> objection(const HostView& host, const ReplicaLoad& load,
                                const ReplicaDemand& demand) {
  if (host.role != Role::standby || !load.may_connect || load.weight == 0) {
    return Reason::no_replica;
  }
  if (demand.max_lag && (!host.lag || *host.lag > *demand.max_lag)) return Reason::lag;
  if (demand.fence && !host.position.covers(*demand.fence)) return Reason::own_write;
  return std::nullopt;
}

/// Which objection was overcome latest.
int closeness(Reason reason) {
  return reason == Reason::own_write ? 2 : reason == Reason::lag ? 1 : 0;
}

/// With one transaction more it would still have less to do for its weight.
bool is_less_busy(const ReplicaLoad& left, const ReplicaLoad& right) {
  return (std::uint64_t{left.outstanding} + 1) * right.weight <
         (std::uint64_t{right.outstanding} + 1) * left.weight;
}

}  // namespace

std::expected<std::size_t, Reason> choose_replica(const ClusterView& view,
                                                  std::span<const ReplicaLoad> loads,
                                                  const ReplicaDemand& demand) {
  PGPROXY_ASSERT(loads.size() == view.hosts.size());
  std::expected<std::size_t, Reason> best = std::unexpected(Reason::no_replica);
  const std::size_t count = view.hosts.size();
  for (std::size_t step = 0; step < count; ++step) {
    const std::size_t index = (demand.turn % count + step) % count;
    const auto reason = objection(view.hosts[index], loads[index], demand);
    if (!reason) {
      if (!best || is_less_busy(loads[index], loads[*best])) best = index;
    } else if (!best && closeness(*reason) > closeness(best.error())) {
      best = std::unexpected(*reason);
    }
  }
  return best;
}

}  // namespace pgproxy::route
