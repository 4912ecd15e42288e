#pragma once

#include <vector>

#include "pgproxy/base/snapshot.hpp"

namespace pgproxy::admin {

/// Knows of nothing: for the columns of an answer without the cost of its rows.
class NoRows final : public StatusSource {
 public:
  std::vector<ConnectionRow> clients() const override { return {}; }
  std::vector<ConnectionRow> servers() const override { return {}; }
  std::vector<PoolRow> pools() const override { return {}; }
  std::vector<StatsRow> stats() const override { return {}; }
  ListCounts lists() const override { return {}; }
  std::vector<PinRow> pins() const override { return {}; }
  std::vector<PinTotalRow> pin_totals() const override { return {}; }
  std::vector<HealthRow> health() const override { return {}; }
  std::vector<CapacityRow> capacity() const override { return {}; }
  std::vector<QueryRow> queries() const override { return {}; }
  std::vector<SlowQueryRow> slow_queries() const override { return {}; }
  std::vector<DatabaseRow> databases() const override { return {}; }
  std::vector<UserRow> users() const override { return {}; }
  std::vector<WaitRow> waits() const override { return {}; }
  std::vector<ErrorRow> errors() const override { return {}; }
  std::vector<MemoryRow> memory() const override { return {}; }
  std::vector<HostRow> hosts() const override { return {}; }
  std::vector<RouteRow> routes() const override { return {}; }
  std::vector<RouteExplanation> explain_route(std::string_view) const override { return {}; }
  PoolerState pooler_state() const override { return {}; }
};

}  // namespace pgproxy::admin
