#include "web/endpoints.hpp"

#include <array>
#include <nlohmann/json.hpp>

#include "pgproxy/metrics/exposition.hpp"

namespace pgproxy::web {
namespace {

using nlohmann::ordered_json;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// What clients choose (names of databases and users) need not be UTF-8.
std::string dump(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Response error(int status, std::string_view text, std::string extra_headers = {}) {
  return {
      .status = status, .body = dump({{"error", text}}), .extra_headers = std::move(extra_headers)};
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

Response pool_stats(const metrics::Status& status) {
  auto pools = ordered_json::array();
  for (const metrics::PoolStatus& pool : status.pools) pools.push_back(pool_json(pool));
  return {.body = dump({{"pools", std::move(pools)}})};
}

Response prometheus_metrics(const metrics::Status& status) {
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
          .body = metrics::exposition(status)};
}

Response ready(const metrics::Status& status) {
  if (status.is_serving()) return {.body = dump({{"ready", true}})};
  const std::string_view reason = status.is_draining ? "draining" : "starting";
  return {.status = 503, .body = dump({{"ready", false}, {"reason", reason}})};
}

/// The program answers: 200, whatever its servers do.
Response health(const metrics::Status& status) {
  auto reasons = ordered_json::array();
  for (const HealthRow& row : status.health) {
    if (row.is_well()) continue;
    reasons.push_back({{"kind", row.kind},
                       {"name", row.name},
                       {"state", row.state},
                       {"reason", row.reason},
                       {"hint", row.hint},
                       {"since", seconds(row.since.time_since_epoch())}});
  }
  return {.body = dump({{"status", reasons.empty() ? "ok" : "degraded"}, {"reasons", reasons}})};
}

Response capacity(const metrics::Status& status) {
  auto rows = ordered_json::array();
  for (const CapacityRow& row : status.capacity) {
    rows.push_back({{"kind", row.kind},
                    {"name", row.name},
                    {"state", row.state},
                    {"planned", row.planned},
                    {"instances", row.instances},
                    {"allowed", row.allowed},
                    {"others", row.others},
                    {"arithmetic", row.arithmetic},
                    {"hint", row.hint},
                    {"measured", row.measured}});
  }
  return {.body = dump({{"capacity", std::move(rows)}})};
}

std::string_view origin_of(const config::ConfigRow& row) {
  return row.given ? "given" : "default";
}

Response configuration(Source& source) {
  auto rows = ordered_json::array();
  for (const config::ConfigRow& row : source.config()) {
    rows.push_back({{"name", row.name},
                    {"value", row.value},
                    {"origin", origin_of(row)},
                    {"default", row.default_value},
                    {"reason", row.reason},
                    {"changeable", row.changeable}});
  }
  if (rows.empty()) return error(503, "the loop does not answer");
  return {.body = dump({{"settings", std::move(rows)}})};
}

Response slow_queries(Source& source) {
  const auto found = source.slow_queries();
  if (!found) return error(503, "the loop does not answer");
  auto rows = ordered_json::array();
  for (const SlowQueryRow& row : *found) {
    rows.push_back({{"ended_at", seconds(row.ended_at.time_since_epoch())},
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
                    {"query", row.text}});
  }
  return {.body = dump({{"slow_queries", std::move(rows)}})};
}

struct Endpoint {
  std::string_view path;
  Response (*respond)(const metrics::Status& status);
};

constexpr std::array kEndpoints = {
    Endpoint{"/metrics", prometheus_metrics},
    Endpoint{"/pool-stats", pool_stats},
    Endpoint{"/capacity", capacity},
    Endpoint{"/health", health},
    Endpoint{"/ready", ready},
};

/// Takes as long for each wrong token of the right length.
bool is_same(std::string_view left, std::string_view right) {
  if (left.size() != right.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    difference |= static_cast<unsigned char>(left[i]) ^ static_cast<unsigned char>(right[i]);
  }
  return difference == 0;
}

bool may_enter(std::string_view authorization, const std::string& token) {
  constexpr std::string_view scheme = "Bearer ";
  return token.empty() ||
         (authorization.starts_with(scheme) && is_same(authorization.substr(scheme.size()), token));
}

}  // namespace

Response respond(const Request& request, const std::string& token, Source& source) {
  if (!may_enter(request.authorization, token)) {
    return error(401, "a bearer token is needed (http_token)", "WWW-Authenticate: Bearer\r\n");
  }
  if (request.method != "GET" && request.method != "HEAD") {
    return error(405, "only GET and HEAD", "Allow: GET, HEAD\r\n");
  }
  if (request.path == "/config") return configuration(source);
  if (request.path == "/slow-queries") return slow_queries(source);
  for (const Endpoint& endpoint : kEndpoints) {
    if (request.path != endpoint.path) continue;
    const auto status = source.status();
    return status != nullptr ? endpoint.respond(*status) : error(503, "the loop does not answer");
  }
  return error(
      404,
      "there is nothing here; try /metrics, /pool-stats, /slow-queries, /capacity, /config, "
      "/health, /ready");
}

}  // namespace pgproxy::web
