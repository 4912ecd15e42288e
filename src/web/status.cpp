// /status: what the page at / shows. The page makes rates of the counters itself.
#include <algorithm>
#include <functional>
#include <numeric>
#include <tuple>

#include "web/rows.hpp"

namespace pgproxy::web {
namespace {

/// A page with more of them would not be read; /pool-stats has all.
constexpr std::size_t max_shown_pools = 100;
constexpr std::size_t max_shown_queries = 20;
constexpr std::size_t max_shown_errors = 20;

std::uint64_t error_count(const PoolCounters& counters) {
  return std::accumulate(counters.errors.begin(), counters.errors.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const auto& entry) { return sum + entry.second; });
}

ordered_json histogram_json(const Histogram& histogram) {
  return {{"bounds_us", Histogram::bounds_us}, {"counts", histogram.counts()}};
}

ordered_json totals_json(const PoolCounters& counters) {
  return {{"transactions", counters.xact_count},
          {"queries", counters.query_count},
          {"queries_slow", counters.slow_query_count},
          {"errors", error_count(counters)},
          {"bytes_received", counters.bytes_received},
          {"bytes_sent", counters.bytes_sent},
          {"query_times", histogram_json(counters.query_times)},
          {"wait_times", histogram_json(counters.wait_times)}};
}

/// Those with most to do, in the order of their names.
std::vector<const metrics::PoolStatus*> shown_pools(const metrics::Status& status) {
  std::vector<const metrics::PoolStatus*> pools;
  for (const metrics::PoolStatus& pool : status.pools) pools.push_back(&pool);
  if (pools.size() > max_shown_pools) {
    const auto end = pools.begin() + max_shown_pools;
    std::ranges::partial_sort(pools, end, std::greater<>(), [](const metrics::PoolStatus* pool) {
      return std::tuple(pool->row.cl_waiting, pool->row.sv_active, pool->counters.query_count);
    });
    pools.erase(end, pools.end());
  }
  std::ranges::sort(pools, std::less<>(), [](const metrics::PoolStatus* pool) {
    return std::tie(pool->row.database, pool->row.user);
  });
  return pools;
}

ordered_json pools_json(const metrics::Status& status) {
  auto rows = ordered_json::array();
  for (const metrics::PoolStatus* pool : shown_pools(status)) {
    ordered_json row = pool_json(*pool);
    row["query_seconds_total"] = seconds(pool->counters.query_time);
    row["errors_total"] = error_count(pool->counters);
    rows.push_back(std::move(row));
  }
  return rows;
}

template <class Row, class IsMeant>
const Row* find(const std::vector<Row>& rows, IsMeant is_meant) {
  const auto at = std::ranges::find_if(rows, is_meant);
  return at != rows.end() ? &*at : nullptr;
}

ordered_json server_json(const metrics::Status& status, const HostRow& host) {
  ordered_json json = {{"name", host.name},
                       {"role", host.role},
                       {"connections", host.connections},
                       {"failures_total", host.failures},
                       {"recovery_attempts_total", host.attempts}};
  if (host.check_latency) json["check_seconds"] = seconds(*host.check_latency);
  const auto is_its_health = [&](const HealthRow& row) {
    return row.kind == "server" && row.name == host.name;
  };
  if (const HealthRow* health = find(status.health, is_its_health)) {
    json["state"] = health->state;
    json["is_well"] = health->is_well();
    json["reason"] = health->reason;
    json["hint"] = health->hint;
    json["since"] = seconds(health->since);
  }
  const auto is_its_capacity = [&](const CapacityRow& row) {
    return row.kind == "server" && row.name == host.name && row.state != "unknown";
  };
  if (const CapacityRow* capacity = find(status.capacity, is_its_capacity)) {
    json["capacity"] = {{"planned", std::uint64_t{capacity->planned} * capacity->instances},
                        {"allowed", capacity->allowed},
                        {"others", capacity->others}};
  }
  return json;
}

ordered_json servers_json(const metrics::Status& status) {
  auto rows = ordered_json::array();
  for (const HostRow& host : status.hosts) rows.push_back(server_json(status, host));
  return rows;
}

ordered_json slow_queries_json(const std::vector<SlowQueryRow>& slow_queries) {
  auto rows = ordered_json::array();
  for (const SlowQueryRow& row : slow_queries) {
    if (rows.size() == max_shown_queries) break;
    rows.push_back(slow_query_json(row));
  }
  return rows;
}

ordered_json errors_json(const std::vector<ErrorRow>& errors) {
  auto rows = ordered_json::array();
  for (const ErrorRow& row : errors) {
    if (rows.size() == max_shown_errors) break;
    rows.push_back(error_json(row));
  }
  return rows;
}

}  // namespace

ordered_json status_json(const metrics::Status& status,
                         const std::vector<SlowQueryRow>& slow_queries,
                         const std::vector<ErrorRow>& errors) {
  PoolCounters totals;
  PoolRow connections;
  for (const metrics::PoolStatus& pool : status.pools) {
    totals += pool.counters;
    connections += pool.row;
  }
  ordered_json pools = pools_json(status);
  const std::size_t left_out = status.pools.size() - pools.size();
  return {{"version", PGPROXY_VERSION},
          {"time", seconds(status.taken_at)},
          {"started_at", seconds(status.started_at)},
          {"starting", status.is_starting},
          {"draining", status.is_draining},
          {"loop_cpu_seconds", seconds(status.loop_cpu_time)},
          {"clients",
           {{"active", connections.cl_active - connections.cl_idle},
            {"idle", connections.cl_idle},
            {"waiting", connections.cl_waiting},
            {"logging_in", status.lists.login_clients}}},
          {"totals", totals_json(totals)},
          {"pools", std::move(pools)},
          {"pools_left_out", left_out},
          {"servers", servers_json(status)},
          {"health", trouble_json(status.health)},
          {"slow_queries", slow_queries_json(slow_queries)},
          {"errors", errors_json(errors)}};
}

}  // namespace pgproxy::web
