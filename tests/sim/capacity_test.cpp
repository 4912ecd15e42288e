// What the servers allow: shared between pools, changed while they run.
#include <algorithm>
#include <deque>
#include <doctest/doctest.h>

#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::seconds;

namespace {

const std::string host_name = "10.0.0.1:5432";

/// Two databases on one host.
config::Settings two_databases() {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 4;
  settings.query_wait_timeout = seconds(20);
  settings.databases.push_back(settings.databases[0]);
  settings.databases[1].name = "other";
  return settings;
}

pool::GivenLimits allows(std::uint32_t connections, const std::string& hint = {}) {
  return {.connections = pool::GivenLimit{.connections = connections, .hint = hint}};
}

/// Some that are in transactions, so that each keeps a server; those that cannot have one wait.
struct Holders {
  Holders(World& in, unsigned count, const std::string& database = "db") : world(in) {
    for (unsigned i = 0; i < count; ++i) {
      clients.push_back(&world.client_in_transaction(database));
    }
  }
  void finish(std::size_t count) {
    for (; count > 0; --count) {
      Client& client = *clients.front();
      clients.pop_front();
      Script script(client.number());
      script.go_on_from(1000);
      script.status = 'T';
      script.end(true);
      client.play(script);
      world.run();
    }
  }
  void finish() { finish(clients.size()); }
  World& world;
  std::deque<Client*> clients;
};

Client& ask(World& world, const std::string& database, const std::string& user = "u") {
  Client& client = world.client({}, user, database);
  Script script(client.number());
  script.select();
  world.run();
  if (client.is_logged_in()) client.play(script);
  world.run();
  return client;
}

std::string capacity_health(World& world) {
  std::vector<HealthRow> rows;
  world.pools().describe_health(rows);
  std::string text;
  for (const HealthRow& row : rows) {
    if (row.kind == "limit") text += row.name + ": " + row.hint + "\n";
  }
  return text;
}

std::string exhausted_hint(World& world, const std::string& database = "db") {
  return world.pool("u", database).exhausted_error("query_wait_timeout").hint;
}

}  // namespace

TEST_CASE("max_host_connections holds over all databases of a host") {
  config::Settings settings = two_databases();
  settings.max_host_connections = 5;
  World world(settings);
  world.ready_client({}, "u", "other");
  Holders first(world, 4);
  CHECK(world.pool("u", "db").server_count() == 4);
  CHECK(world.pool("u", "other").server_count() == 1);
  Holders second(world, 1, "other");
  Client& waiter = world.ready_client({}, "u", "other");
  Script script(waiter.number());
  script.select();
  waiter.play(script);
  world.run();
  CHECK(waiter.rows() == 0);
  CHECK(world.row("u", "other").cl_waiting == 1);
  CHECK(exhausted_hint(world, "other").contains("Set max_host_connections = 6"));
  CHECK(capacity_health(world) == "server 10.0.0.1:5432: Set max_host_connections = 6\n");
  first.finish(1);  // whose server is not needed there
  CHECK(waiter.rows() == 1);
  CHECK(world.pool("u", "db").server_count() == 3);
  first.finish();
  second.finish();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("an idle server of another database makes room at the host, one that is waited for not") {
  config::Settings settings = two_databases();
  settings.max_host_connections = 1;
  World world(settings);
  CHECK(ask(world, "db").rows() == 1);
  CHECK(ask(world, "other").rows() == 1);
  CHECK(world.pool("u", "db").server_count() == 0);
  CHECK(world.pool("u", "other").server_count() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a pool whose clients never end waiting makes room for one that has nothing") {
  config::Settings settings = two_databases();
  settings.max_host_connections = 2;
  World world(settings);
  Holders first(world, 4);  // two of them wait
  Client& other = ask(world, "other");
  Holders later(world, 2);
  CHECK(other.rows() == 0);
  first.finish(2);  // who came before the other has their turn first
  CHECK(world.pool("u", "db").server_count() == 2);
  CHECK_FALSE(other.is_logged_in());
  first.finish(1);
  world.run();
  CHECK(other.is_logged_in());
  CHECK(world.pool("u", "db").server_count() + world.pool("u", "other").server_count() == 2);
  first.finish(1);
  later.finish();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE(
    "who waits for a connection of the user's is not forgotten when another server's limits "
    "change") {
  config::Settings settings = two_databases();
  settings.databases[1].hosts = {"10.0.0.2"};
  settings.max_user_connections = 1;
  World world(settings);
  Holders holder(world, 1);
  Client& waiting = ask(world, "other");
  CHECK_FALSE(waiting.is_logged_in());
  world.pools().set_limits(host_name, allows(50));
  holder.finish();
  CHECK(waiting.is_logged_in());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("limits of a role and of a database at the server hold for every pool that they are of") {
  World world(two_databases());
  pool::GivenLimits limits;
  SUBCASE("role") {
    limits.roles["u"] = {.connections = 2, .hint = "ALTER ROLE u CONNECTION LIMIT 3"};
  }
  SUBCASE("database") {
    limits.databases["db"] = {.connections = 2, .hint = "ALTER DATABASE db CONNECTION LIMIT 3"};
  }
  world.pools().set_limits(host_name, limits);
  world.ready_client();
  Holders holders(world, 2);
  Client& waiter = world.ready_client();
  Script script(waiter.number());
  script.select();
  waiter.play(script);
  world.run();
  CHECK(world.pool().server_count() == 2);
  CHECK(world.row().cl_waiting == 1);
  CHECK(exhausted_hint(world).contains("CONNECTION LIMIT 3"));
  // Another role on another database is not concerned.
  Client& other = ask(world, "other", "v");
  CHECK(other.rows() == 1);
  world.pools().set_limits(host_name, {});
  world.run();
  CHECK(waiter.rows() == 1);
  CHECK(capacity_health(world) == "");
  holders.finish();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("raising a limit wakes those who wait, and the hint is the one that came with it") {
  World world(two_databases());
  world.ready_client();
  world.pools().set_limits(host_name, allows(1, "Raise max_connections to 120 at the server"));
  Holders holders(world, 1);
  Client& waiter = world.ready_client();
  Script script(waiter.number());
  script.select();
  waiter.play(script);
  world.run();
  CHECK(waiter.rows() == 0);
  CHECK(exhausted_hint(world).starts_with("Raise max_connections to 120 at the server, or"));
  world.pools().set_limits(host_name, allows(2));
  world.run();
  CHECK(waiter.rows() == 1);
  holders.finish();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a lowered limit with shrink closes idle servers evenly, and busy ones at their return") {
  config::Settings settings = two_databases();
  settings.on_overcommit = config::OnOvercommit::shrink;
  World world(settings);
  Holders first(world, 4);
  Holders second(world, 4, "other");
  first.finish(3);
  second.finish(3);
  REQUIRE(world.pool("u", "db").idle_count() == 3);
  world.pools().set_limits(host_name, allows(4));
  CHECK(world.pool("u", "db").server_count() == 2);
  CHECK(world.pool("u", "other").server_count() == 2);
  world.pools().set_limits(host_name, allows(1));
  CHECK(world.pool("u", "db").server_count() == 1);
  CHECK(world.pool("u", "other").server_count() == 1);
  CHECK(world.pools().is_shrinking());
  first.finish();
  CHECK(world.pool("u", "db").server_count() == 0);
  second.finish();
  CHECK(world.pool("u", "other").server_count() == 1);
  CHECK(capacity_health(world) != "");
  world.loop.run_for(seconds(1));
  CHECK_FALSE(world.pools().is_shrinking());
  world.loop.run_for(seconds(12));
  CHECK(capacity_health(world) == "");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a lowered limit with refuse_new: what is open stays until another pool has nothing") {
  config::Settings settings = two_databases();
  settings.on_overcommit = config::OnOvercommit::refuse_new;
  World world(settings);
  Holders first(world, 4);
  first.finish(2);
  world.pools().set_limits(host_name, allows(2));
  world.loop.run_for(seconds(3));
  CHECK(world.pool("u", "db").server_count() == 4);
  CHECK_FALSE(world.pools().is_shrinking());
  CHECK(ask(world, "db").rows() == 1);
  // Those that are idle are in the way of a client of another pool, but not the only ones.
  Client& waiter = world.client({}, "u", "other");
  world.run();
  CHECK(world.pool("u", "db").server_count() == 2);
  CHECK(world.pool("u", "other").server_count() == 0);
  CHECK_FALSE(waiter.is_logged_in());
  first.finish(1);
  CHECK(waiter.is_logged_in());
  CHECK(world.pool("u", "db").server_count() == 1);
  CHECK(world.pool("u", "other").server_count() == 1);
  first.finish();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a lowered limit with refuse_new: a pool that is never idle gives back for another") {
  config::Settings settings = two_databases();
  settings.on_overcommit = config::OnOvercommit::refuse_new;
  World world(settings);
  Holders first(world, 4);
  world.pools().set_limits(host_name, allows(2));
  Client& waiter = world.client({}, "u", "other");
  world.run();
  world.loop.run_for(seconds(1));
  Holders later(world, 4);  // waiting, for a shorter time
  REQUIRE(world.row().cl_waiting == 4);
  first.finish(2);
  CHECK_FALSE(waiter.is_logged_in());
  first.finish(1);
  CHECK(waiter.is_logged_in());
  first.finish();
  later.finish();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a limit of nothing lets nobody in, and names itself") {
  World world(two_databases());
  world.pools().set_limits(host_name, allows(0, "Raise max_connections to 8 at the server"));
  Client& client = world.client();
  client.may_lose_connection = true;
  world.loop.run_for(seconds(30));
  CHECK(client.fatal() == "53300");
  CHECK(world.connects.empty());
  CHECK(world.violation_text() == "");
}

TEST_CASE("sizes are proposed as far as the servers have room for what is planned") {
  config::Settings settings = two_databases();
  settings.default_pool_size = 1;
  World world(settings);
  world.ready_client();
  Holders holders(world, 1);
  std::vector<Client*> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(&world.ready_client());
    Script script(waiters.back()->number());
    script.select();
    waiters.back()->play(script);
  }
  world.run();
  CHECK(exhausted_hint(world).starts_with("Set default_pool_size = 4"));
  const auto plan = [&](std::uint32_t allowed, std::uint32_t planned) {
    pool::GivenLimits limits;
    limits.connections = {.connections = allowed,
                          .planned = planned,
                          .hint = "Raise max_connections to 9 at the server"};
    world.pools().set_limits(host_name, limits);
    return exhausted_hint(world);
  };
  CHECK(plan(4, 2).starts_with("Set default_pool_size = 3"));
  CHECK(plan(4, 4).starts_with("Raise max_connections to 9 at the server"));
  holders.finish();
  world.run();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a pool with several hosts goes on to the next that has room") {
  for (const auto balance :
       {config::LoadBalanceHosts::round_robin, config::LoadBalanceHosts::disable}) {
    config::Settings settings = two_databases();
    settings.max_host_connections = 2;
    settings.databases[0].hosts = {"10.0.0.1", "10.0.0.2"};
    settings.databases[0].load_balance_hosts = balance;
    World world(settings);
    world.ready_client();
    world.pools().set_limits(host_name, allows(1));
    Holders holders(world, 3);
    CHECK(world.pool().server_count() == 3);
    CHECK(std::ranges::count(world.connects, "10.0.0.1") == 1);
    CHECK(std::ranges::count(world.connects, "10.0.0.2") == 2);
    CHECK(world.pool().attainable_size() == 3);
    holders.finish();
    world.drain();
    CHECK(world.violation_text() == "");
  }
}
