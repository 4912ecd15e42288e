// PAUSE, RESUME, KILL, RECONNECT, DISABLE, SUSPEND, with clients that wait and clients at work.
#include <doctest/doctest.h>

#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::seconds;

namespace {

const Error killed{.sqlstate = "57P01", .message = "KILL"};

pool::DatabaseEntry* entry(World& world, const std::string& name = "db") {
  return world.pools().known_database(name);
}

Client& begin(World& world, const std::string& database = "db") {
  return world.client_in_transaction(database);
}

void commit(World& world, Client& client) {
  Script script(client.number());
  script.go_on_from(1000);
  script.status = 'T';
  script.end(true);
  client.play(script);
  world.run();
}

void select(World& world, Client& client) {
  Script script(client.number());
  script.go_on_from(2000 + static_cast<unsigned>(client.rows()));
  script.select();
  client.play(script);
  world.run();
}

config::Settings two_databases() {
  config::Settings settings = plain_settings();
  settings.databases.push_back(settings.databases[0]);
  settings.databases[1].name = "other";
  return settings;
}

void finish(World& world) {
  world.drain();
  CHECK(world.violation_text() == "");
}

}  // namespace

TEST_CASE("PAUSE closes idle servers at once, used ones when they come back; RESUME goes on") {
  World world;
  for (pool::DatabaseEntry* database : {entry(world), static_cast<pool::DatabaseEntry*>(nullptr)}) {
    Client& busy = begin(world);
    Client& other = world.ready_client();
    select(world, other);
    REQUIRE(world.pool().server_count() == 2);
    world.pools().pause(database);
    CHECK(world.pool().server_count() == 1);
    CHECK(world.pools().server_count(database) == 1);
    const std::size_t rows = other.rows();
    select(world, other);
    CHECK(other.rows() == rows);
    CHECK(world.row().cl_waiting == 1);
    commit(world, busy);
    CHECK(world.pools().server_count(database) == 0);
    CHECK(world.row().cl_waiting == 1);
    world.pools().resume(database);
    world.run();
    CHECK(other.rows() == rows + 1);
    select(world, busy);
    CHECK(busy.rows() == 1);
  }
  finish(world);
}

TEST_CASE("a transaction goes on while its database is paused, and its client waits behind it") {
  World world;
  Client& client = begin(world);
  world.pools().pause(entry(world));
  Script script(client.number());
  script.go_on_from(100);
  script.status = 'T';
  script.select();
  script.end(true);
  client.play(script);
  world.run();
  select(world, client);
  CHECK(client.rows() == 1);
  CHECK(world.pool().server_count() == 0);
  CHECK(world.row().cl_waiting == 1);
  world.pools().resume(entry(world));
  world.run();
  CHECK(client.rows() == 2);
  finish(world);
}

TEST_CASE("PAUSE of one database leaves the others alone, and so does RESUME of all") {
  World world(two_databases());
  Client& other = world.ready_client({}, "u", "other");
  Client& here = world.ready_client();
  world.pools().pause(entry(world));
  select(world, other);
  CHECK(other.rows() == 1);
  select(world, here);
  CHECK(here.rows() == 0);
  world.pools().pause(nullptr);
  world.pools().resume(nullptr);
  world.run();
  CHECK(here.rows() == 0);
  select(world, other);
  CHECK(other.rows() == 2);
  world.pools().resume(entry(world));
  world.run();
  CHECK(here.rows() == 1);
  finish(world);
}

TEST_CASE("query_wait_timeout goes on while paused, and says why") {
  World world;
  Client& client = world.ready_client();
  client.may_lose_connection = true;
  world.pools().pause(entry(world));
  select(world, client);
  const Error error = world.pool().exhausted_error("query_wait_timeout");
  CHECK(error.message == "query_wait_timeout: database \"db\" is paused");
  CHECK(error.hint.contains("RESUME"));
  world.loop.run_for(seconds(121));
  CHECK(client.fatal() == "57P03");
  CHECK(world.pool().counters().exhausted_count == 0);
  world.pools().resume(entry(world));
  finish(world);
}

TEST_CASE("on_exhausted = reject does not refuse those who wait for RESUME") {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1;
  settings.on_exhausted = config::OnExhausted::reject;
  World world(settings);
  Client& client = world.ready_client();
  Client& second = world.ready_client();
  world.pools().pause(entry(world));
  select(world, client);
  select(world, second);
  CHECK(world.row().cl_waiting == 2);
  finish(world);
}

TEST_CASE("a client logs in while paused when it is known what its session looks like") {
  World world;
  world.ready_client();
  world.pools().pause(entry(world));
  CHECK(world.ready_client().is_logged_in());
  Client& unknown = world.client({{"TimeZone", "Asia/Tokyo"}});
  world.run();
  CHECK_FALSE(unknown.is_logged_in());
  CHECK(world.pool().server_count() == 0);
  world.pools().resume(entry(world));
  world.run();
  CHECK(unknown.is_logged_in());
  finish(world);
}

TEST_CASE("no attempt of a recovery is made for a paused pool, and none is counted") {
  config::Settings settings = plain_settings();
  settings.max_attempts = 2;
  settings.attempt_interval = seconds(1);
  settings.while_recovering = config::WhileRecovering::queue;
  World world(settings);
  Client& client = world.ready_client();
  world.refuses_connections = true;
  world.pools().pause(entry(world));
  world.pools().resume(entry(world));
  select(world, client);  // finds nobody there
  REQUIRE(world.pool().hosts()[0].host.state() == pool::HostState::recovering);
  world.pools().pause(entry(world));
  world.loop.run_for(seconds(30));
  CHECK(world.pool().hosts()[0].host.state() == pool::HostState::recovering);
  world.refuses_connections = false;
  world.pools().resume(entry(world));
  world.loop.run_for(seconds(2));
  CHECK(client.rows() == 1);
  finish(world);
}

TEST_CASE("in session mode PAUSE waits until the client lets its server go") {
  config::Settings settings = plain_settings();
  settings.pool_mode = config::PoolMode::session;
  World world(settings);
  Client& client = world.ready_client();
  select(world, client);
  world.pools().pause(nullptr);
  world.run();
  CHECK(world.pools().server_count(nullptr) == 1);
  select(world, client);
  CHECK(client.rows() == 2);
  client.terminate();
  world.run();
  CHECK(world.pools().server_count(nullptr) == 0);
  world.pools().resume(nullptr);
  finish(world);
}

TEST_CASE("KILL ends clients and servers whatever they are at, and those who come later wait") {
  World world(two_databases());
  Client& other = world.ready_client({}, "u", "other");
  Client& busy = begin(world);
  Client& idle = world.ready_client();
  Client& running = world.ready_client();
  Client& waiting = world.ready_client();
  for (Client* client : {&busy, &idle, &running, &waiting}) client->may_lose_connection = true;
  for (Client* client : {&running, &waiting}) {
    Script script(client->number());
    script.select();
    client->play(script);
  }
  world.pools().pause(entry(world));
  world.pools().kill(entry(world), killed);
  world.sessions().fail_all(*entry(world), killed);
  CHECK(world.pool().server_count() == 0);
  CHECK(world.pool().client_count == 0);
  world.run();
  for (Client* client : {&busy, &idle, &running, &waiting}) {
    CHECK(client->is_closed());
    CHECK(client->fatal() == "57P01");
  }
  Client& later = world.ready_client();
  select(world, later);
  CHECK(later.rows() == 0);
  select(world, other);
  CHECK(other.rows() == 1);
  world.pools().resume(entry(world));
  world.run();
  CHECK(later.rows() == 1);
  finish(world);
}

TEST_CASE("KILL_CLIENT ends one, and its server is cleaned for the next") {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1;
  World world(settings);
  Client& busy = begin(world);
  busy.may_lose_connection = true;
  Client& waiting = world.ready_client();
  select(world, waiting);
  CHECK(waiting.rows() == 0);
  std::uint64_t id = 0;
  for (const ConnectionRow& row : world.sessions().describe()) {
    if (row.link != 0) id = row.id;
  }
  REQUIRE(id != 0);
  CHECK(world.sessions().fail_one(id, killed));
  world.run();
  CHECK(busy.fatal() == "57P01");
  CHECK(waiting.rows() == 1);
  CHECK_FALSE(world.sessions().fail_one(id, killed));
  finish(world);
}

TEST_CASE("RECONNECT replaces idle servers at once and used ones when they come back") {
  World world;
  Client& busy = begin(world);
  Client& other = world.ready_client();
  select(world, other);
  REQUIRE(world.pool().server_count() == 2);
  const std::size_t connects = world.connects.size();
  world.pools().reconnect(entry(world));
  CHECK(world.pool().server_count() == 1);
  CHECK(world.pools().outdated_count(entry(world)) == 1);
  commit(world, busy);
  CHECK(world.pools().outdated_count(entry(world)) == 0);
  CHECK(world.pool().server_count() == 0);
  select(world, other);
  CHECK(other.rows() == 2);
  CHECK(world.connects.size() == connects + 1);
  finish(world);
}

TEST_CASE("RECONNECT while a login is under way: that connection is not used") {
  World world;
  Client& client = world.ready_client();
  world.pools().reconnect(nullptr);
  world.run();
  CHECK(world.pool().server_count() == 0);
  Script script(client.number());
  script.select();
  client.play(script);
  while (world.pool().server_count() == 0 && world.loop.step()) {
  }
  REQUIRE(world.row().sv_login == 1);
  world.pools().reconnect(nullptr);
  world.run();
  CHECK(client.rows() == 1);
  CHECK(world.pools().outdated_count(nullptr) == 0);
  CHECK(world.connects.size() == 3);
  finish(world);
}

TEST_CASE("PAUSE while a login is under way closes it, and RESUME begins it anew") {
  World world;
  Client& client = world.client();
  while (world.connects.empty() && world.loop.step()) {
  }
  world.pools().pause(nullptr);
  CHECK(world.pools().server_count(nullptr) == 0);
  world.run();
  CHECK_FALSE(client.is_logged_in());
  world.pools().resume(nullptr);
  world.run();
  CHECK(client.is_logged_in());
  finish(world);
}

TEST_CASE("DISABLE lets nobody in; who is there stays") {
  World world;
  Client& client = world.ready_client();
  world.pools().disable(*entry(world), true);
  Client& refused = world.client();
  refused.may_lose_connection = true;
  world.run();
  CHECK(refused.fatal() == "55000");
  select(world, client);
  CHECK(client.rows() == 1);
  world.pools().disable(*entry(world), false);
  CHECK(world.ready_client().is_logged_in());
  finish(world);
}

TEST_CASE("SUSPEND stands still between two messages, and nothing is lost or closed") {
  World world;
  Client& busy = begin(world);
  Client& idle = world.ready_client();
  world.sessions().suspend(true);
  world.pools().suspend();
  const std::size_t servers = world.pool().server_count();
  Script script(busy.number());
  script.go_on_from(100);
  script.status = 'T';
  script.select();
  busy.play(script);
  select(world, idle);
  world.loop.run_for(seconds(1));
  CHECK(busy.rows() == 0);
  CHECK(idle.rows() == 0);
  CHECK(world.pools().unflushed_count() == 0);
  CHECK(world.sessions().unflushed_count() == 0);
  CHECK(world.pool().server_count() == servers);
  Client& newcomer = world.ready_client();
  select(world, newcomer);
  CHECK(newcomer.rows() == 0);
  world.pools().resume(nullptr);
  world.sessions().suspend(false);
  world.run();
  CHECK(busy.rows() == 1);
  CHECK(idle.rows() == 1);
  CHECK(newcomer.rows() == 1);
  commit(world, busy);
  finish(world);
}

TEST_CASE("a drain asks clients one after the other; who waits for a paused pool is not kept") {
  World world;
  Client& busy = begin(world);
  Client& idle = world.ready_client();
  Client& waiting = world.ready_client();
  for (Client* client : {&busy, &idle, &waiting}) client->may_lose_connection = true;
  world.pools().pause(entry(world));
  select(world, waiting);
  bool is_empty = false;
  world.sessions().close_doors([&] { is_empty = true; });
  CHECK(world.sessions().staying_count() == 3);
  CHECK(world.sessions().drain_next(1, false) == 2);
  CHECK(world.sessions().drain_next(5, false) == 0);
  world.run();
  CHECK(idle.fatal() == "57P01");
  CHECK(waiting.fatal() == "57P01");
  CHECK_FALSE(busy.is_closed());
  CHECK_FALSE(is_empty);
  commit(world, busy);
  CHECK(busy.fatal() == "57P01");
  CHECK(is_empty);
  CHECK(world.pool().server_count() == 0);
  CHECK(world.violation_text() == "");
}
