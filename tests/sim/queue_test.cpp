// Who waits, in which order, and until when.
#include <doctest/doctest.h>

#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

config::Settings one_server() {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1;
  return settings;
}

Script select(unsigned client, unsigned count = 1) {
  Script script(client);
  for (unsigned i = 0; i < count; ++i) script.select();
  return script;
}

Script transaction(Client& client) {
  Script script(client.number());
  script.begin();
  return script;
}

void finish(Client& client, bool commits = true) {
  Script script(client.number());
  script.go_on_from(1000);
  script.status = client.status();
  script.end(commits);
  client.play(script);
}

}  // namespace

TEST_CASE("a query goes through and the server is given back") {
  World world;
  Client& client = world.ready_client();
  client.play(select(1));
  world.run();
  CHECK(client.received_text() == "T D:c1.1 C:SELECT 1 Z:I");
  CHECK(world.pool().idle_count() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("clients are served in the order in which they came") {
  World world(one_server());
  Client& holder = world.ready_client();
  std::vector<Client*> waiting;
  for (int i = 0; i < 5; ++i) waiting.push_back(&world.ready_client());
  holder.play(transaction(holder));
  world.run();
  for (Client* client : waiting) {
    Script script(client->number());
    script.select();
    client->play(script);
    world.run();
  }
  CHECK(world.row().cl_waiting == 5);
  finish(holder);
  world.run();
  const auto& history = world.backend(1).history();
  REQUIRE(history.size() == 7);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(owner_of(history[i + 2]) == waiting[i]->number());
  }
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a waiter is told 53300 when its time is over, and the queue goes on") {
  config::Settings settings = one_server();
  settings.query_wait_timeout = seconds(2);
  World world(settings);
  Client& holder = world.ready_client();
  Client& waiter = world.ready_client();
  holder.play(transaction(holder));
  world.run();
  waiter.may_lose_connection = true;
  waiter.send(select(2).bytes);
  world.loop.run_for(seconds(1));
  CHECK(waiter.fatal() == "");
  world.loop.run_for(milliseconds(1100));
  CHECK(waiter.fatal() == "53300");
  finish(holder);
  world.run();
  CHECK(holder.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a waiting client that leaves is out of the queue") {
  World world(one_server());
  Client& holder = world.ready_client();
  Client& leaver = world.ready_client();
  Client& next = world.ready_client();
  holder.play(transaction(holder));
  world.run();
  leaver.play(select(2));
  next.play(select(3));
  world.run();
  leaver.vanish();
  world.run();
  CHECK(world.row().cl_waiting == 1);
  finish(holder);
  world.run();
  CHECK(next.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("reserve servers come after reserve_pool_timeout, and not before") {
  config::Settings settings = one_server();
  settings.reserve_pool_size = 1;
  settings.reserve_pool_timeout = seconds(5);
  World world(settings);
  Client& holder = world.ready_client();
  Client& waiter = world.ready_client();
  holder.play(transaction(holder));
  world.run();
  waiter.play(select(2));
  world.loop.run_for(seconds(4));
  CHECK(waiter.rows() == 0);
  world.loop.run_for(seconds(2));
  CHECK(waiter.rows() == 1);
  CHECK(world.pool().server_count() == 2);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("an idle server of another pool makes room when the database is full") {
  config::Settings settings = plain_settings();
  settings.max_db_connections = 1;
  World world(settings);
  Client& first = world.ready_client();
  first.play(select(1));
  world.run();
  Client& second = world.ready_client({}, "v");
  second.play(select(2));
  world.run();
  CHECK(second.rows() == 1);
  CHECK(world.pool("u").server_count() == 0);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a server that becomes idle makes room for a pool that starves") {
  config::Settings settings = plain_settings();
  settings.max_db_connections = 1;
  World world(settings);
  Client& first = world.ready_client();
  first.play(transaction(first));
  world.run();
  Client& second = world.client({}, "v");
  world.run();
  CHECK_FALSE(second.is_logged_in());
  finish(first);
  world.run();
  CHECK(second.is_logged_in());
  second.play(select(2));
  world.run();
  CHECK(second.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("min_pool_size servers are kept open while there are clients") {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 4;
  settings.min_pool_size = 3;
  settings.server_idle_timeout = seconds(10);
  World world(settings);
  world.ready_client();
  CHECK(world.pool().server_count() == 3);
  world.loop.run_for(seconds(30));
  CHECK(world.pool().server_count() == 3);
  world.postgres.terminate_one();
  world.run();
  CHECK(world.pool().server_count() == 3);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a server whose lifetime is over is replaced when it is idle, not before") {
  config::Settings settings = one_server();
  settings.server_lifetime = seconds(10);
  World world(settings);
  Client& client = world.ready_client();
  client.play(transaction(client));
  world.loop.run_for(seconds(20));
  CHECK(world.pool().server_count() == 1);
  finish(client);
  world.loop.run_for(seconds(20));
  CHECK(world.pool().server_count() == 0);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("servers whose lifetime ends together are closed one after the other, idle or not") {
  config::Settings settings = plain_settings();
  settings.server_lifetime = seconds(10);
  World world(settings);
  Client& first = world.ready_client();
  Client& second = world.ready_client();
  first.play(transaction(first));
  second.play(transaction(second));
  world.loop.run_for(seconds(20));
  finish(first);
  finish(second);
  world.loop.run_for(milliseconds(500));
  CHECK(world.pool().server_count() == 1);
  world.loop.run_for(seconds(10));
  CHECK(world.pool().server_count() == 0);
  CHECK(world.violation_text() == "");
}

TEST_CASE("server_check_query is asked before an old idle server is used, once") {
  config::Settings settings = one_server();
  settings.server_check_query = "select 'check'";
  settings.server_check_delay = Duration::zero();
  World world(settings);
  Client& client = world.ready_client();
  client.play(select(1));
  world.loop.run_for(seconds(1));
  CHECK(client.rows() == 1);
  const auto& history = world.backend(1).history();
  CHECK(std::count(history.begin(), history.end(), "select 'check'") == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a failed login is passed on with its own SQLSTATE and not tried again at once") {
  World world(one_server());
  world.postgres.login_error = Error{"28P01", "password authentication failed"};
  Client& client = world.client();
  client.may_lose_connection = true;
  world.run();
  CHECK(client.fatal() == "28P01");
  Client& next = world.client();
  next.may_lose_connection = true;
  world.run();
  CHECK(next.fatal() == "28P01");
  std::size_t attempts = 0;
  world.postgres.for_each([&](Backend&) { ++attempts; });
  CHECK(attempts == 1);
  world.postgres.login_error.reset();
  world.loop.run_for(seconds(16));
  world.ready_client();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a server that accepts and says nothing costs server_connect_timeout") {
  World world(one_server());
  world.postgres.is_silent_at_login = true;
  Client& client = world.client();
  client.may_lose_connection = true;
  world.loop.run_for(seconds(14));
  CHECK(client.fatal() == "");
  world.loop.run_for(seconds(2));
  CHECK(client.fatal() == "57P03");
  CHECK(world.pool().server_count() == 0);
  CHECK(world.violation_text() == "");
}

TEST_CASE("a connect_query that is never answered costs server_connect_timeout") {
  config::Settings settings = one_server();
  settings.databases[0].connect_query = "select pg_sleep(1000000), 'x'";
  World world(settings);
  Client& client = world.client();
  client.may_lose_connection = true;
  world.loop.run_for(seconds(16));
  CHECK(client.fatal() == "57014");
  CHECK(world.pool().server_count() == 0);
  CHECK(world.violation_text() == "");
}
