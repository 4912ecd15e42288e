// Servers that refuse, die, fall silent and come back; who waits for them and who is refused.
#include <algorithm>
#include <doctest/doctest.h>

#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

const io::ServerAddress first_address{.host = "10.0.0.1", .port = 5432};
const Error no_answer{.sqlstate = "08006", .message = "the server did not answer in time"};

config::Settings settings_with(config::WhileRecovering while_recovering) {
  config::Settings settings = plain_settings();
  settings.while_recovering = while_recovering;
  settings.max_attempts = 3;
  settings.attempt_interval = seconds(5);
  settings.failure_threshold = 3;
  settings.check_interval = seconds(1);
  settings.failed_until = config::FailedUntil::health_check;
  return settings;
}

config::Settings queueing() {
  return settings_with(config::WhileRecovering::queue);
}

config::Settings rejecting() {
  return settings_with(config::WhileRecovering::reject);
}

Script select(const Client& client) {
  Script script(client.number());
  script.select();
  return script;
}

Script transaction(const Client& client) {
  Script script(client.number());
  script.begin();
  return script;
}

/// A client that logs in before the fault, so that the pool knows what a server is like.
Client& veteran(World& world) {
  Client& client = world.ready_client();
  client.may_lose_connection = true;
  return client;
}

void lose_servers(World& world) {
  world.postgres.for_each([](Backend& backend) {
    if (backend.is_open()) backend.fatal("57P01", "terminating connection");
  });
  world.run();
}

/// One that comes when something is wrong already, and asks for a row.
Client& newcomer(World& world) {
  Client& client = world.client();
  client.may_lose_connection = true;
  world.run();
  if (client.is_logged_in()) client.send(select(client).bytes);
  world.run();
  return client;
}

std::string health_of(World& world, const std::string& kind) {
  std::vector<HealthRow> rows;
  world.pools().describe_health(rows);
  std::string states;
  for (const HealthRow& row : rows) {
    if (row.kind == kind) states += row.name + " " + row.state + "\n";
  }
  return states;
}

}  // namespace

TEST_CASE("clients wait for a server that is being recovered, and are served when it is back") {
  World world(queueing());
  Client& client = veteran(world);
  lose_servers(world);
  world.refuses_connections = true;
  client.send(select(client).bytes);
  world.run();
  CHECK(client.fatal() == "");
  CHECK(world.row().cl_waiting == 1);
  CHECK(health_of(world, "server") == "10.0.0.1:5432 recovering 0 of 3\n");
  world.loop.run_for(seconds(6));
  CHECK(health_of(world, "server") == "10.0.0.1:5432 recovering 1 of 3\n");
  world.refuses_connections = false;
  client.expect({"T", "D", "C", "Z"});
  world.loop.run_for(seconds(5));
  CHECK(client.rows() == 1);
  CHECK(health_of(world, "server") == "10.0.0.1:5432 healthy\n");
}

TEST_CASE("attempts are made at their interval, one for all pools, and no more than max_attempts") {
  config::Settings settings = queueing();
  World world(settings);
  Client& first = veteran(world);
  Client& second = world.ready_client({}, "v");
  second.may_lose_connection = true;
  lose_servers(world);
  world.refuses_connections = true;
  world.connects.clear();
  first.send(select(first).bytes);
  second.send(select(second).bytes);
  world.run();
  const std::size_t before = world.connects.size();
  CHECK(before >= 1);
  world.loop.run_for(seconds(60));
  CHECK(world.connects.size() == before + 3);
  CHECK(health_of(world, "server") == "10.0.0.1:5432 failed\n");
  CHECK(first.fatal() == "08006");
  CHECK(second.fatal() == "08006");
  CHECK(newcomer(world).fatal() == "08006");
  CHECK(world.connects.size() == before + 3);
  CHECK(world.violation_text() == "");
}

TEST_CASE("while_recovering = reject refuses at once, with the server's state") {
  World world(rejecting());
  Client& client = veteran(world);
  lose_servers(world);
  world.refuses_connections = true;
  client.send(select(client).bytes);
  world.run();
  CHECK(client.fatal() == "57P03");
  CHECK(newcomer(world).fatal() == "57P03");
  CHECK(world.row().cl_waiting == 0);
  CHECK(world.pool().counters().refused_count == 2);
  world.refuses_connections = false;
  world.loop.run_for(seconds(6));
  Client& served = world.ready_client();
  served.play(select(served));
  world.run();
  CHECK(served.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("with auto_recover = 0 nothing is tried again until RECONNECT") {
  config::Settings settings = queueing();
  settings.auto_recover = false;
  settings.failed_until = config::FailedUntil::reconnect;
  World world(settings);
  Client& client = veteran(world);
  lose_servers(world);
  world.refuses_connections = true;
  client.send(select(client).bytes);
  world.run();
  CHECK(client.fatal() == "08006");
  world.refuses_connections = false;
  world.connects.clear();
  world.loop.run_for(seconds(100));
  world.pools().on_check_done(first_address, milliseconds(1), nullptr, false);
  CHECK(newcomer(world).fatal() == "08006");
  CHECK(world.connects.empty());
  world.pools().reset_hosts(nullptr);
  Client& served = world.ready_client();
  served.play(select(served));
  world.run();
  CHECK(served.rows() == 1);
  CHECK(world.violation_text() == "");
}

TEST_CASE("nothing is sent again of a transaction that was on a server which died") {
  World world(queueing());
  Client& client = veteran(world);
  client.play(transaction(client));
  world.run();
  lose_servers(world);
  CHECK(client.fatal() == "57P01");
  world.loop.run_for(seconds(20));
  std::size_t begins = 0;
  world.postgres.for_each([&](Backend& backend) {
    for (const std::string& text : backend.history()) begins += text.starts_with("begin") ? 1 : 0;
  });
  CHECK(begins <= 1);
}

TEST_CASE("a FATAL that comes while a server is idle is seen before anyone gets it") {
  World world(queueing());
  Client& client = world.ready_client();
  client.play(select(client));
  world.run();
  REQUIRE(world.pool().idle_count() == 1);
  world.backend(1).fatal("57P01", "terminating connection");
  world.run();
  CHECK(world.pool().idle_count() == 0);
  CHECK(health_of(world, "server") == "10.0.0.1:5432 suspect\n");
  Script again(client.number());
  again.go_on_from(100);
  again.select();
  client.play(again);
  world.run();
  CHECK(client.rows() == 2);
  CHECK(health_of(world, "server") == "10.0.0.1:5432 healthy\n");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a server that dies while idle is not taken to make room for others as well") {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1;
  settings.reserve_pool_size = 1;
  settings.reserve_pool_timeout = seconds(5);
  settings.max_db_connections = 2;
  World world(settings);
  Client& holder = world.ready_client();
  holder.play(transaction(holder));
  world.run();
  Client& leaver = world.ready_client();
  Client& waiter = world.ready_client();
  Client& other = world.ready_client({}, "v");
  other.play(select(other));
  world.run();
  leaver.may_lose_connection = true;
  leaver.send(select(leaver).bytes);
  world.loop.run_for(seconds(1));
  waiter.play(select(waiter));
  world.loop.run_for(seconds(1));
  leaver.vanish();
  world.loop.run_for(milliseconds(4'500));  // the reserve is due, and nobody looks
  REQUIRE(world.pool("v").idle_count() == 1);
  REQUIRE(waiter.rows() == 0);
  world.backend(2).fatal("57P01", "terminating connection");
  world.run();
  CHECK(world.pool("v").server_count() == 0);
  CHECK(waiter.rows() == 1);
  holder.may_lose_connection = true;
  CHECK(world.violation_text() == "");
}

TEST_CASE("a host that fails is left out of the list, and comes back") {
  for (const auto balance :
       {config::LoadBalanceHosts::round_robin, config::LoadBalanceHosts::disable}) {
    config::Settings settings = queueing();
    settings.default_pool_size = 4;
    settings.max_attempts = 100;
    settings.databases[0].hosts = {"10.0.0.1", "10.0.0.2"};
    settings.databases[0].load_balance_hosts = balance;
    World world(settings);
    world.refusing_hosts = {"10.0.0.1"};
    Client& client = world.ready_client();
    client.play(select(client));
    world.run();
    CHECK(client.rows() == 1);
    world.connects.clear();
    std::vector<Client*> holders;
    for (int i = 0; i < 3; ++i) {
      holders.push_back(&world.ready_client());
      holders.back()->play(transaction(*holders.back()));
    }
    world.run();
    CHECK(std::ranges::count(world.connects, "10.0.0.1") == 0);
    const bool moves = balance == config::LoadBalanceHosts::disable;
    CHECK(world.pool().counters().host_switch_count == (moves ? 1 : 0));
    world.refusing_hosts.clear();
    world.loop.run_for(seconds(6));
    CHECK(health_of(world, "server") == "10.0.0.1:5432 healthy\n10.0.0.2:5432 healthy\n");
    for (Client* holder : holders) holder->may_lose_connection = true;
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE(
    "a server that falls silent loses its idle connections, and the busy ones that are stuck") {
  config::Settings settings = rejecting();
  settings.default_pool_size = 3;
  World world(settings);
  Client& stuck = veteran(world);
  Client& working = world.ready_client();
  Client& idle = world.ready_client();
  stuck.play(transaction(stuck));
  world.run();
  working.play(transaction(working));
  world.run();
  idle.play(select(idle));
  world.run();
  REQUIRE(world.pool().server_count() == 3);
  REQUIRE(world.pool().idle_count() == 1);
  world.refuses_connections = true;
  const auto fail_check = [&] { world.pools().on_check_done(first_address, {}, &no_answer, true); };
  fail_check();
  CHECK(health_of(world, "server") == "10.0.0.1:5432 suspect\n");
  Script more(working.number());
  more.go_on_from(100);
  more.status = 'T';
  more.select();
  working.play(more);  // something still comes from this one
  world.run();
  fail_check();
  CHECK(world.pool().server_count() == 3);
  fail_check();
  world.run();
  CHECK(world.pool().server_count() == 1);
  CHECK(stuck.fatal() == "08006");
  CHECK(working.fatal() == "");
  // Who is served still is; everyone else hears it at once when nobody is.
  Script end(working.number());
  end.go_on_from(200);
  end.status = 'T';
  end.end(true);
  working.play(end);
  world.run();
  CHECK(working.is_content());
  world.refuses_connections = false;
  world.pools().on_check_done(first_address, milliseconds(1), nullptr, false);
  CHECK(health_of(world, "server") == "10.0.0.1:5432 healthy\n");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a server that refuses connections keeps its busy ones") {
  World world(queueing());
  Client& working = world.ready_client();
  working.play(transaction(working));
  world.run();
  world.refuses_connections = true;
  for (int i = 0; i < 4; ++i) world.pools().on_check_done(first_address, {}, &no_answer, false);
  world.run();
  CHECK(world.pool().server_count() == 1);
  CHECK(working.fatal() == "");
  world.refuses_connections = false;
  CHECK(world.violation_text() == "");
}

TEST_CASE("a connection whose init_statements or connect_query fails is not used") {
  for (const bool is_init : {true, false}) {
    config::Settings settings = queueing();
    (is_init ? settings.databases[0].init_statements : settings.databases[0].connect_query) =
        "select fail";
    World world(settings);
    Client& client = newcomer(world);
    CHECK(client.fatal() != "");
    CHECK(world.pool().server_count() == 0);
    CHECK(health_of(world, "server") == "10.0.0.1:5432 healthy\n");
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("on_exhausted = reject: who finds everything in use is refused at once") {
  config::Settings settings = queueing();
  settings.on_exhausted = config::OnExhausted::reject;
  World world(settings);
  Client& first = world.ready_client();
  Client& second = world.ready_client();
  Client& third = veteran(world);
  first.play(transaction(first));
  world.run();
  CHECK(health_of(world, "pool") == "");
  second.play(transaction(second));  // opens a connection, and waits for that
  world.run();
  CHECK(second.is_content());
  third.send(select(third).bytes);
  world.run();
  CHECK(third.fatal() == "53300");
  CHECK(world.pool().counters().refused_count == 1);
  Script end(first.number());
  end.go_on_from(100);
  end.status = 'T';
  end.end(true);
  first.play(end);
  world.run();
  Client& fourth = world.ready_client();
  fourth.play(select(fourth));
  world.run();
  CHECK(fourth.rows() == 1);
  second.may_lose_connection = true;
  CHECK(world.violation_text() == "");
}

TEST_CASE("on_exhausted = reject uses the reserve at once") {
  config::Settings settings = queueing();
  settings.on_exhausted = config::OnExhausted::reject;
  settings.default_pool_size = 1;
  settings.reserve_pool_size = 1;
  settings.reserve_pool_timeout = seconds(5);
  World world(settings);
  Client& first = world.ready_client();
  first.play(transaction(first));
  world.run();
  Client& second = world.ready_client();
  second.play(transaction(second));
  world.run();
  CHECK(second.is_content());
  CHECK(world.pool().server_count() == 2);
  CHECK(world.violation_text() == "");
}

TEST_CASE("an exhausted pool is one episode until nobody was blocked for a while") {
  config::Settings settings = queueing();
  settings.default_pool_size = 1;
  World world(settings);
  Client& holder = world.ready_client();
  Client& waiter = world.ready_client();
  for (int round = 0; round < 3; ++round) {
    holder.play(transaction(holder));
    world.run();
    waiter.play(select(waiter));
    world.run();
    CHECK(health_of(world, "pool") == "db/u exhausted\n");
    Script end(holder.number());
    end.go_on_from(1000 + static_cast<unsigned>(round) * 10);
    end.status = 'T';
    end.end(true);
    holder.play(end);
    world.loop.run_for(seconds(2));
  }
  CHECK(world.pool().counters().exhausted_count == 1);
  world.loop.run_for(seconds(12));
  CHECK(health_of(world, "pool") == "");
  holder.play(transaction(holder));
  world.run();
  waiter.play(select(waiter));
  world.run();
  CHECK(world.pool().counters().exhausted_count == 2);
  holder.may_lose_connection = true;
  waiter.may_lose_connection = true;
}

TEST_CASE("a server without a free slot is waited for, or not, as on_exhausted says") {
  for (const bool may_queue : {true, false}) {
    config::Settings settings = queueing();
    if (!may_queue) settings.on_exhausted = config::OnExhausted::reject;
    World world(settings);
    Client& client = veteran(world);
    lose_servers(world);
    world.postgres.login_error = Error{"53300", "sorry, too many clients already"};
    client.send(select(client).bytes);
    world.run();
    CHECK(client.fatal() == (may_queue ? "" : "53300"));
    CHECK(health_of(world, "server") == "10.0.0.1:5432 healthy\n");
    world.postgres.login_error.reset();
    if (may_queue) client.expect({"T", "D", "C", "Z"});
    world.loop.run_for(seconds(6));
    if (may_queue) CHECK(client.rows() == 1);
  }
}
