#include "web/rows.hpp"

namespace pgproxy::web {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double seconds(WallTime time) {
  return seconds(std::chrono::duration_cast<Duration>(time.time_since_epoch()));
}

double seconds(std::uint64_t microseconds) {
  return static_cast<double>(microseconds) / 1e6;
}

std::string dump(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json pool_json(const metrics::PoolStatus& pool) {
  const PoolRow& row = pool.row;
  return {{"database", row.database},
          {"user", row.user},
          {"pool_mode", row.pool_mode},
          {"size", row.sv_active + row.sv_idle + row.sv_tested + row.sv_login},
          {"free_size", row.sv_idle},
          {"min_size", pool.min_pool_size},
          {"max_size", row.pool_size},
          {"reserve_size", pool.reserve_pool_size},
          {"connections_active", row.sv_active},
          {"connections_idle", row.sv_idle},
          {"connections_pinned", row.sv_pinned},
          {"connections_failed", pool.counters.connect_failure_count()},
          {"clients_active", row.cl_active - row.cl_idle},
          {"clients_idle", row.cl_idle},
          {"clients_waiting", row.cl_waiting},
          {"longest_wait_seconds", seconds(row.maxwait)},
          {"transactions_total", pool.counters.xact_count},
          {"queries_total", pool.counters.query_count},
          {"queries_slow", pool.counters.slow_query_count},
          {"pool_exhausted_count", pool.counters.exhausted_count},
          {"wait_timeouts_total", pool.counters.wait_timeout_count}};
}

ordered_json capacity_json(const CapacityRow& row) {
  return {{"kind", row.kind},           {"name", row.name},
          {"state", row.state},         {"planned", row.planned},
          {"instances", row.instances}, {"allowed", row.allowed},
          {"others", row.others},       {"arithmetic", row.arithmetic},
          {"hint", row.hint},           {"measured", row.measured}};
}

ordered_json slow_query_json(const SlowQueryRow& row) {
  return {{"ended_at", seconds(row.ended_at)},
          {"database", row.database},
          {"user", row.user},
          {"client", row.addr},
          {"application_name", row.application_name},
          {"server_pid", row.backend_pid},
          {"total_seconds", seconds(row.total)},
          {"wait_seconds", seconds(row.wait)},
          {"connect_seconds", seconds(row.connect)},
          {"replay_seconds", seconds(row.replay)},
          {"execution_seconds", seconds(row.execution)},
          {"client_seconds", seconds(row.client)},
          {"rows", row.rows},
          {"bytes", row.bytes},
          {"failed", row.has_failed},
          {"query", row.text}};
}

ordered_json error_json(const ErrorRow& row) {
  return {{"time", seconds(row.time)}, {"database", row.database}, {"user", row.user},
          {"client", row.addr},        {"sqlstate", row.sqlstate}, {"message", row.message},
          {"hint", row.hint}};
}

ordered_json trouble_json(const std::vector<HealthRow>& health) {
  auto rows = ordered_json::array();
  for (const HealthRow& row : health) {
    if (row.is_well()) continue;
    rows.push_back({{"kind", row.kind},
                    {"name", row.name},
                    {"state", row.state},
                    {"reason", row.reason},
                    {"hint", row.hint},
                    {"since", seconds(row.since)}});
  }
  return rows;
}

}  // namespace pgproxy::web
