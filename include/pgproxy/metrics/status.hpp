#pragma once

#include <cstdint>
#include <vector>

#include "pgproxy/base/snapshot.hpp"

namespace pgproxy::metrics {

/// One pool with all that is counted for it.
struct PoolStatus {
  PoolRow row;
  PoolCounters counters;
  std::uint32_t min_pool_size = 0;
  std::uint32_t reserve_pool_size = 0;
};

/// What the program is doing, at one moment: plain values, made on the loop's thread and read by
/// any.
struct Status {
  std::vector<PoolStatus> pools;
  std::vector<PinTotalRow> pins;
  std::vector<HealthRow> health;
  std::vector<CapacityRow> capacity;
  std::vector<HostRow> hosts;
  std::vector<RouteRow> routes;
  ClientCounters clients;
  CoordinationCounts coordination;
  ListCounts lists;
  WallTime started_at{};
  WallTime taken_at{};       ///< the moment
  Duration loop_cpu_time{};  ///< that the loop's thread has used since the start
  bool is_starting = false;  ///< nobody is let in yet
  bool is_draining = false;
};

}  // namespace pgproxy::metrics
