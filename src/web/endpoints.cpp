#include "web/endpoints.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "web/page.hpp"
#include "web/rows.hpp"

#include "pgproxy/metrics/exposition.hpp"

namespace pgproxy::web {
namespace {

Response error(int status, std::string_view text, std::string extra_headers = {}) {
  return {
      .status = status, .body = dump({{"error", text}}), .extra_headers = std::move(extra_headers)};
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

/// A server is away, and there is no other one that could be a primary. Who has standbys only, all
/// of them there, wants no primary.
bool is_without_primary(const std::vector<HostRow>& hosts) {
  const auto is_away = [](const HostRow& host) { return !host.may_connect; };
  const auto may_be_primary = [](const HostRow& host) {
    return host.may_connect && host.role != "standby";
  };
  return std::ranges::any_of(hosts, is_away) && std::ranges::none_of(hosts, may_be_primary);
}

Response ready(const metrics::Status& status) {
  const std::string_view reason = status.is_draining                 ? "draining"
                                  : status.is_starting               ? "starting"
                                  : is_without_primary(status.hosts) ? "no primary"
                                                                     : "";
  if (reason.empty()) return {.body = dump({{"ready", true}})};
  return {.status = 503, .body = dump({{"ready", false}, {"reason", reason}})};
}

/// The program answers: 200, whatever its servers do.
Response health(const metrics::Status& status) {
  const auto reasons = trouble_json(status.health);
  return {.body = dump({{"status", reasons.empty() ? "ok" : "degraded"}, {"reasons", reasons}})};
}

Response capacity(const metrics::Status& status) {
  auto rows = ordered_json::array();
  for (const CapacityRow& row : status.capacity) rows.push_back(capacity_json(row));
  return {.body = dump({{"capacity", std::move(rows)}})};
}

std::string_view origin_of(const config::ConfigRow& row) {
  return row.is_set ? "SET" : row.given ? "given" : "default";
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
  for (const SlowQueryRow& row : *found) rows.push_back(slow_query_json(row));
  return {.body = dump({{"slow_queries", std::move(rows)}})};
}

Response page_status(Source& source) {
  const auto status = source.status();
  const auto slow_queries = source.slow_queries();
  const auto errors = source.errors();
  if (status == nullptr || !slow_queries || !errors) return error(503, "the loop does not answer");
  return {.body = dump(status_json(*status, *slow_queries, *errors))};
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

/// The page has no data: it asks for /status, with the token that it asked its user for. What it
/// may run and load is what it was built with.
Response status_page() {
  return {.content_type = "text/html; charset=utf-8",
          .body = std::string(page_html),
          .extra_headers = fmt::format(
              "Content-Security-Policy: default-src 'none'; script-src 'sha256-{}'; style-src "
              "'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action "
              "'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n",
              page_script_sha256, page_style_sha256)};
}

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
  const bool is_read = request.method == "GET" || request.method == "HEAD";
  if (request.path == "/" && is_read) return status_page();
  if (!may_enter(request.authorization, token)) {
    return error(401, "a bearer token is needed (http_token)", "WWW-Authenticate: Bearer\r\n");
  }
  if (!is_read) {
    return error(405, "only GET and HEAD", "Allow: GET, HEAD\r\n");
  }
  if (request.path == "/config") return configuration(source);
  if (request.path == "/slow-queries") return slow_queries(source);
  if (request.path == "/status") return page_status(source);
  for (const Endpoint& endpoint : kEndpoints) {
    if (request.path != endpoint.path) continue;
    const auto status = source.status();
    return status != nullptr ? endpoint.respond(*status) : error(503, "the loop does not answer");
  }
  return error(
      404,
      "there is nothing here; try /, /metrics, /status, /pool-stats, /slow-queries, /capacity, "
      "/config, /health, /ready");
}

}  // namespace pgproxy::web
