#include "web/endpoints.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace pgproxy;
using namespace pgproxy::web;

namespace {

class FixedSource final : public Source {
 public:
  std::shared_ptr<const metrics::Status> status() override {
    return is_stuck ? nullptr : std::make_shared<const metrics::Status>(now);
  }
  std::vector<config::ConfigRow> config() override {
    if (is_stuck) return {};
    return {{.name = "pool_mode", .value = "transaction", .given = true}};
  }
  std::optional<std::vector<SlowQueryRow>> slow_queries() override {
    if (is_stuck) return std::nullopt;
    return std::vector<SlowQueryRow>{{.database = "shop", .total = std::chrono::seconds(2)}};
  }
  std::optional<std::vector<ErrorRow>> errors() override {
    if (is_stuck) return std::nullopt;
    return recent_errors;
  }
  metrics::Status now;
  std::vector<ErrorRow> recent_errors;
  bool is_stuck = false;
};

Response get(FixedSource& source, std::string_view path) {
  return respond({.method = "GET", .path = path}, "", source);
}

}  // namespace

TEST_CASE("/pool-stats has a row for each pool, whatever bytes its names have") {
  FixedSource source;
  metrics::PoolStatus pool;
  pool.row.database = "a\xff\"b";
  pool.row.user = "app";
  pool.row.sv_idle = 2;
  pool.row.sv_active = 1;
  pool.row.pool_size = 20;
  pool.counters.query_count = 5;
  source.now.pools.push_back(pool);
  const Response response = get(source, "/pool-stats");
  CHECK(response.status == 200);
  const auto row = nlohmann::json::parse(response.body)["pools"][0];
  CHECK(row["user"] == "app");
  CHECK(row["size"] == 3);
  CHECK(row["free_size"] == 2);
  CHECK(row["max_size"] == 20);
  CHECK(row["queries_total"] == 5);
}

TEST_CASE("/slow-queries tells where the time went, in seconds") {
  FixedSource source;
  const auto row = nlohmann::json::parse(get(source, "/slow-queries").body)["slow_queries"][0];
  CHECK(row["database"] == "shop");
  CHECK(row["total_seconds"] == 2.0);
}

TEST_CASE("/health tells what is not well, and that the program is there") {
  FixedSource source;
  source.now.health = {{.kind = "server", .name = "10.0.0.1:5432", .state = "healthy"}};
  CHECK(get(source, "/health").body.contains("\"status\": \"ok\""));
  source.now.health.push_back({.kind = "coordination", .name = "h:1", .state = "held"});
  CHECK(get(source, "/health").body.contains("\"status\": \"ok\""));
  source.now.health.push_back(
      {.kind = "server", .name = "10.0.0.2:5432", .state = "failed", .reason = "refused"});
  const auto response = get(source, "/health");
  CHECK(response.status == 200);
  CHECK(response.body.contains("\"status\": \"degraded\""));
  CHECK(response.body.contains("\"name\": \"10.0.0.2:5432\""));
  CHECK_FALSE(response.body.contains("10.0.0.1"));
}

TEST_CASE("/ready is no while draining") {
  FixedSource source;
  CHECK(get(source, "/ready").status == 200);
  source.now.is_draining = true;
  CHECK(get(source, "/ready").status == 503);
  source.now.is_draining = false;
  source.now.is_starting = true;
  CHECK(get(source, "/ready").body.contains("starting"));
}

TEST_CASE("/ready is no without a primary") {
  FixedSource source;
  source.now.hosts = {{.name = "h:1", .role = "standby"}, {.name = "h:2", .role = "standby"}};
  CHECK(get(source, "/ready").status == 200);  // somebody wants just these
  source.now.hosts.push_back({.name = "h:3", .may_connect = false});
  CHECK(get(source, "/ready").status == 503);
  CHECK(get(source, "/ready").body.contains("no primary"));
  source.now.hosts[1].role = "primary";
  CHECK(get(source, "/ready").status == 200);
  source.now.hosts[1].role = "";  // it may be one
  CHECK(get(source, "/ready").status == 200);
  source.now.hosts = {{.name = "h:1", .may_connect = false}};
  CHECK(get(source, "/ready").status == 503);
}

TEST_CASE("a loop that does not answer is told") {
  FixedSource source;
  source.is_stuck = true;
  for (const std::string_view path : {"/metrics", "/pool-stats", "/health", "/ready", "/config",
                                      "/slow-queries", "/capacity", "/status"}) {
    CAPTURE(path);
    CHECK(get(source, path).status == 503);
  }
}

TEST_CASE("other paths and methods are refused") {
  FixedSource source;
  CHECK(get(source, "/etc/passwd").status == 404);
  CHECK(respond({.method = "POST", .path = "/config"}, "", source).status == 405);
  CHECK(respond({.method = "HEAD", .path = "/config"}, "", source).status == 200);
}

TEST_CASE("a token is asked for before anything else is said") {
  FixedSource source;
  const auto status = [&](std::string_view authorization, std::string_view path = "/metrics") {
    return respond({.method = "GET", .path = path, .authorization = authorization}, "hush", source)
        .status;
  };
  CHECK(status("") == 401);
  CHECK(status("Bearer hus") == 401);
  CHECK(status("Bearer husk") == 401);
  CHECK(status("hush") == 401);
  CHECK(status("", "/nowhere") == 401);
  CHECK(status("Bearer hush") == 200);
  CHECK(status("", "/status") == 401);
}

TEST_CASE("the page needs no token, knows nothing, and may run only what it was built with") {
  FixedSource source;
  source.is_stuck = true;
  const Response page = respond({.method = "GET", .path = "/"}, "hush", source);
  CHECK(page.status == 200);
  CHECK(page.content_type == "text/html; charset=utf-8");
  CHECK(page.body.starts_with("<!doctype html>"));
  CHECK(page.body.ends_with("</html>\n"));
  CHECK(page.extra_headers.contains("default-src 'none'; script-src 'sha256-"));
  CHECK_FALSE(page.body.contains("http://127"));
  CHECK_FALSE(page.body.contains("innerHTML"));
  CHECK(respond({.method = "POST", .path = "/"}, "hush", source).status == 401);
}

TEST_CASE("/status puts together what the page shows") {
  FixedSource source;
  metrics::PoolStatus pool;
  pool.row.database = "<script>";
  pool.counters.query_count = 5;
  pool.counters.note_error("22012");
  pool.counters.note_query(std::chrono::milliseconds(3));
  source.now.pools = {pool, pool};
  source.now.hosts = {{.name = "h:1", .role = "standby", .connections = 4}, {.name = "h:2"}};
  source.now.health = {{.kind = "server", .name = "h:1", .state = "healthy"},
                       {.kind = "server", .name = "h:2", .state = "failed", .reason = "refused"}};
  source.now.capacity = {
      {.kind = "server", .name = "h:1", .planned = 10, .instances = 2, .allowed = 80, .others = 3}};
  const auto status = nlohmann::json::parse(get(source, "/status").body);
  CHECK(status["pools"][1]["database"] == "<script>");
  CHECK(status["pools_left_out"] == 0);
  CHECK(status["totals"]["queries"] == 10);
  CHECK(status["totals"]["errors"] == 2);
  CHECK(status["totals"]["query_times"]["counts"].size() ==
        status["totals"]["query_times"]["bounds_us"].size() + 1);
  CHECK(status["servers"][0]["role"] == "standby");
  CHECK(status["servers"][0]["is_well"] == true);
  CHECK(status["servers"][0]["capacity"]["planned"] == 20);
  CHECK(status["servers"][1]["reason"] == "refused");
  CHECK_FALSE(status["servers"][1].contains("capacity"));
  CHECK(status["health"].size() == 1);
  CHECK(status["slow_queries"][0]["database"] == "shop");
}

TEST_CASE("/status has the last errors that clients got from pgproxy") {
  FixedSource source;
  CHECK(nlohmann::json::parse(get(source, "/status").body)["errors"] == nlohmann::json::array());
  source.recent_errors.push_back({.time = WallTime(std::chrono::seconds(7)),
                                  .database = "shop\xff",
                                  .user = "app",
                                  .addr = "127.0.0.1:50000",
                                  .sqlstate = "53300",
                                  .message = "no more connections allowed",
                                  .hint = "Raise max_client_conn."});
  source.recent_errors.resize(50);
  const auto errors = nlohmann::json::parse(get(source, "/status").body)["errors"];
  CHECK(errors.size() == 20);
  CHECK(errors[0]["time"] == 7.0);
  CHECK(errors[0]["database"] == "shop\xef\xbf\xbd");
  CHECK(errors[0]["user"] == "app");
  CHECK(errors[0]["client"] == "127.0.0.1:50000");
  CHECK(errors[0]["sqlstate"] == "53300");
  CHECK(errors[0]["message"] == "no more connections allowed");
  CHECK(errors[0]["hint"] == "Raise max_client_conn.");
}

TEST_CASE("of very many pools /status has those with most to do") {
  FixedSource source;
  for (unsigned i = 0; i < 300; ++i) {
    metrics::PoolStatus pool;
    pool.row.database = "db" + std::to_string(i);
    pool.counters.query_count = i;
    pool.row.cl_waiting = i == 7 ? 1 : 0;
    source.now.pools.push_back(pool);
  }
  const auto status = nlohmann::json::parse(get(source, "/status").body);
  CHECK(status["pools"].size() == 100);
  CHECK(status["pools_left_out"] == 200);
  const auto has = [&](const char* database) {
    return std::ranges::any_of(status["pools"],
                               [&](const auto& row) { return row["database"] == database; });
  };
  CHECK(has("db7"));
  CHECK(has("db299"));
  CHECK_FALSE(has("db100"));
}
