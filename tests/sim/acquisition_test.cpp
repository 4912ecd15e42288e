// Filling pools at the start, and what is told of it.
#include "pgproxy/pool/acquisition_test.hpp"

#include <doctest/doctest.h>

#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::seconds;

namespace {

using Outcome = pool::AcquisitionReport::Outcome;

const std::string host_name = "10.0.0.1:5432";

/// Two databases on one host.
config::Settings two_databases() {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 4;
  settings.health_query = "select 'check'";
  settings.query_wait_timeout = seconds(20);
  settings.databases.push_back(settings.databases[0]);
  settings.databases[1].name = "other";
  return settings;
}

bool is_served(World& world) {
  Client& client = world.ready_client();
  Script script(client.number());
  script.select();
  client.play(script);
  world.run();
  return client.rows() == 1;
}

std::vector<pool::AcquisitionReport> test_pools(World& world, std::vector<pool::PoolName> names) {
  std::vector<pool::AcquisitionReport> reports;
  bool is_done = false;
  pool::AcquisitionTest test(world.pools(), std::move(names), [&](const auto& result) {
    reports = result;
    is_done = true;
  });
  test.start();
  for (int i = 0; i < 2'000 && !is_done; ++i) world.loop.run_for(std::chrono::milliseconds(100));
  CHECK(is_done);
  return reports;
}

}  // namespace

TEST_CASE("the acquisition test fills each pool, and leaves no trace but idle servers") {
  World world(two_databases());
  const auto reports = test_pools(world, {{"db", "u"}, {"other", "v"}});
  REQUIRE(reports.size() == 2);
  for (const auto& report : reports) {
    CHECK(report.outcome == Outcome::passed);
    CHECK(report.opened == 4);
    CHECK(report.acquirers == 8);
    CHECK(report.p50 > Duration::zero());
    CHECK(report.p50 <= report.p99);
    CHECK(report.p99 <= report.max);
    CHECK_FALSE(report.error.has_value());
  }
  CHECK(world.pool("u", "db").idle_count() == 4);
  CHECK(world.pool("v", "other").idle_count() == 4);
  const PoolCounters& counters = world.pool("u", "db").counters();
  CHECK(counters.server_assignment_count == 0);
  CHECK(counters.exhausted_count == 0);
  CHECK(counters.wait_time == 0);
  CHECK(counters.refused_count == 0);
  CHECK(is_served(world));
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("the acquisition test fills what the limits leave of a pool, one pool after the other") {
  config::Settings settings = two_databases();
  settings.max_host_connections = 3;
  SUBCASE("who finds everything in use waits") {}
  SUBCASE("or is refused") {
    settings.on_exhausted = config::OnExhausted::reject;
  }
  World world(settings);
  const auto reports = test_pools(world, {{"db", "u"}, {"other", "u"}});
  REQUIRE(reports.size() == 2);
  for (const auto& report : reports) {
    CHECK(report.outcome == Outcome::passed);
    CHECK(report.opened == 3);
  }
  CHECK(world.pool("u", "other").idle_count() == 3);
  CHECK(world.pool("u", "other").counters().refused_count == 0);
  std::vector<HealthRow> rows;
  world.pools().describe_health(rows);
  CHECK(rows.size() == 1);  // the server itself
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("the acquisition test tells at once what a server refuses logins with") {
  World world(two_databases());
  world.postgres.login_error = Error{"53300", "sorry, too many clients already"};
  const auto before = world.loop.now();
  const auto reports = test_pools(world, {{"db", "u"}, {"nowhere", "u"}});
  CHECK(world.loop.now() - before < seconds(2));
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].outcome == Outcome::failed);
  CHECK(reports[0].server == host_name);
  REQUIRE(reports[0].error.has_value());
  CHECK(reports[0].error->sqlstate == "53300");
  CHECK(reports[0].error->message ==
        "pool db/u, server 10.0.0.1:5432: sorry, too many clients already");
  CHECK(reports[0].error->hint.contains("max_connections"));
  CHECK(reports[1].error->sqlstate == "3D000");
  CHECK(world.pool().counters().refused_count == 0);
  CHECK_FALSE(world.pool().has_waiters());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a wrong secret fails the acquisition test, none at all cannot be verified yet") {
  config::Settings settings = two_databases();
  bool has_secret = false;
  SUBCASE("wrong") {
    has_secret = true;
    settings.secrets["u"] = "wrong";
  }
  SUBCASE("none") {}
  World world(settings);
  world.postgres.login_error = Error{"28P01", "password authentication failed for user \"u\""};
  const auto reports = test_pools(world, {{"db", "u"}});
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].outcome == (has_secret ? Outcome::failed : Outcome::unverifiable));
  CHECK(reports[0].error->sqlstate == "28P01");
  CHECK(reports[0].error->hint != "");
  // Who brings the secret is served at once.
  world.postgres.login_error.reset();
  if (!has_secret) CHECK(is_served(world));
  CHECK(world.violation_text() == "");
}

TEST_CASE("servers that are down, silent or mute cost the acquisition test its timeouts") {
  config::Settings settings = two_databases();
  settings.server_connect_timeout = seconds(5);
  std::string sqlstate;
  World world(settings);
  SUBCASE("down") {
    world.refuses_connections = true;
    sqlstate = "08006";
  }
  SUBCASE("silent at login") {
    world.postgres.is_silent_at_login = true;
    sqlstate = "08006";
  }
  SUBCASE("mute") {
    world.postgres.is_mute = true;
    sqlstate = "57014";
  }
  const auto reports = test_pools(world, {{"db", "u"}});
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].outcome == Outcome::failed);
  REQUIRE(reports[0].error.has_value());
  CHECK(reports[0].error->sqlstate == sqlstate);
  CHECK(reports[0].server == host_name);
  CHECK(world.pool().server_count() == world.pool().idle_count());
  CHECK_FALSE(world.pool().has_waiters());
  CHECK(world.violation_text() == "");
}

TEST_CASE("an acquisition test that is given up leaves nothing behind") {
  World world(two_databases());
  {
    pool::AcquisitionTest test(world.pools(), {{"db", "u"}}, [](const auto&) { CHECK(false); });
    test.start();
    world.loop.run_for(std::chrono::microseconds(2'500));
  }
  world.run();
  CHECK(world.pool().server_count() == world.pool().idle_count());
  world.drain();
  CHECK(world.violation_text() == "");
}
