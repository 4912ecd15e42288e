#include "pgproxy/metrics/exposition.hpp"

#include <doctest/doctest.h>

using namespace pgproxy;
using namespace pgproxy::metrics;

namespace {

PoolStatus pool(const std::string& database) {
  PoolStatus status;
  status.row.database = database;
  status.row.user = "app";
  status.row.sv_idle = 3;
  status.counters.xact_count = 7;
  return status;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("each family has help and type, pools are labels") {
  const std::string text = exposition({.pools = {pool("shop"), pool("blog")}});
  CHECK(has_line(text, "# TYPE pgproxy_transactions_total counter"));
  CHECK(has_line(text, "pgproxy_transactions_total{database=\"shop\",user=\"app\"} 7"));
  CHECK(has_line(text,
                 "pgproxy_server_connections{database=\"blog\",user=\"app\",state=\"idle\"} 3"));
  CHECK(has_line(text, "pgproxy_draining 0"));
  CHECK(text.find("process_resident_memory_bytes ") != std::string::npos);
}

TEST_CASE("durations are cumulative buckets in seconds, with sum and count") {
  PoolStatus status = pool("shop");
  status.counters.note_query(std::chrono::microseconds(100));
  status.counters.note_query(std::chrono::milliseconds(3));
  status.counters.note_query(std::chrono::minutes(2));
  const std::string text = exposition({.pools = {status}});
  const std::string name = "pgproxy_query_duration_seconds";
  const std::string labels = "{database=\"shop\",user=\"app\"";
  CHECK(has_line(text, name + "_bucket" + labels + ",le=\"0.0001\"} 1"));
  CHECK(has_line(text, name + "_bucket" + labels + ",le=\"0.0025\"} 1"));
  CHECK(has_line(text, name + "_bucket" + labels + ",le=\"0.005\"} 2"));
  CHECK(has_line(text, name + "_bucket" + labels + ",le=\"60\"} 2"));
  CHECK(has_line(text, name + "_bucket" + labels + ",le=\"+Inf\"} 3"));
  CHECK(has_line(text, name + "_count" + labels + "} 3"));
  CHECK(has_line(text, name + "_sum" + labels + "} 120.0031"));
}

TEST_CASE("errors are counted by class; what is no SQLSTATE is together") {
  PoolStatus status = pool("shop");
  for (const char* sqlstate : {"57014", "57P01", "42601", "", "5x", "a\"b\nc"}) {
    status.counters.note_error(sqlstate);
  }
  const std::string text = exposition({.pools = {status}});
  const std::string start = "pgproxy_errors_total{database=\"shop\",user=\"app\",sqlstate_class=";
  CHECK(has_line(text, start + "\"57\"} 2"));
  CHECK(has_line(text, start + "\"42\"} 1"));
  CHECK(has_line(text, start + "\"??\"} 3"));
}

TEST_CASE("server connections that failed are counted by reason, for each pool") {
  PoolStatus status = pool("shop");
  status.counters.note_connect_failure("refused");
  status.counters.note_connect_failure("refused");
  status.counters.note_connect_failure("tls");
  CHECK(status.counters.connect_failure_count() == 3);
  const std::string text = exposition({.pools = {status}});
  const std::string start =
      "pgproxy_server_connect_failures_total{database=\"shop\",user=\"app\",reason=";
  CHECK(has_line(text, start + "\"refused\"} 2"));
  CHECK(has_line(text, start + "\"tls\"} 1"));
}

TEST_CASE("a server is labelled by its name, and has a role once a connection told it") {
  const std::string text = exposition({.hosts = {{.name = "h:1", .connections = 4, .attempts = 2},
                                                 {.name = "h:2", .role = "standby"}}});
  CHECK(has_line(text, "pgproxy_server_recovery_attempts_total{server=\"h:1\"} 2"));
  CHECK(has_line(text, "pgproxy_server_open_connections{server=\"h:1\"} 4"));
  CHECK(has_line(text, "pgproxy_server_info{server=\"h:2\",role=\"standby\"} 1"));
  CHECK(text.find("pgproxy_server_info{server=\"h:1\"") == std::string::npos);
  CHECK(text.find("pgproxy_server_health_check_seconds{") == std::string::npos);
}

TEST_CASE("handshakes are there before anybody has logged in") {
  Status status;
  status.clients.tls_handshakes.add(std::chrono::milliseconds(3));
  status.clients.tls_failure_count = 2;
  const std::string text = exposition(status);
  CHECK(has_line(text, "pgproxy_client_tls_handshake_duration_seconds_bucket{le=\"0.005\"} 1"));
  CHECK(has_line(text, "pgproxy_client_tls_handshake_duration_seconds_sum 0.003"));
  CHECK(has_line(text, "pgproxy_client_tls_handshake_failures_total 2"));
}

TEST_CASE("more pools than labels are summed up") {
  Status status;
  for (std::size_t i = 0; i < max_labelled_pools + 5; ++i) {
    status.pools.push_back(pool("db" + std::to_string(i)));
  }
  const std::string text = exposition(status);
  CHECK(has_line(text, "pgproxy_transactions_total{database=\"(others)\",user=\"(others)\"} 35"));
  CHECK(text.find("db" + std::to_string(max_labelled_pools) + "\"") == std::string::npos);
}

TEST_CASE("what SHOW HEALTH lists is there with its state") {
  const std::string text = exposition(
      {.health = {{.kind = "server", .name = "10.0.0.1:5432", .state = "recovering 2 of 5"}}});
  CHECK(has_line(text,
                 "pgproxy_health{kind=\"server\",name=\"10.0.0.1:5432\",state=\"recovering\"} 1"));
}

TEST_CASE("headroom may be negative; a server that was not asked has none") {
  const std::string text =
      exposition({.capacity = {{.kind = "server",
                                .name = "h:5432",
                                .planned = 30,
                                .instances = 2,
                                .allowed = 50,
                                .state = "too_small"},
                               {.kind = "server", .name = "x:1", .state = "unknown"},
                               {.kind = "pool", .name = "a/u", .planned = 3}}});
  CHECK(
      has_line(text, "pgproxy_capacity_headroom_connections{kind=\"server\",name=\"h:5432\"} -10"));
  CHECK(text.find("x:1") == std::string::npos);
  CHECK(text.find("a/u") == std::string::npos);
}
