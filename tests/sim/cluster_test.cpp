// Servers that change their roles: who is served where, who waits, who is told.
#include "pgproxy/route/cluster.hpp"

#include <doctest/doctest.h>

#include "world.hpp"

#include "pgproxy/wire/encode.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using pool::ServerRole;
using std::chrono::seconds;

namespace {

const io::ServerAddress one{.host = "10.0.0.1", .port = 5432};
const io::ServerAddress two{.host = "10.0.0.2", .port = 5432};

/// Two servers, whose roles nobody knows yet.
config::Settings cluster_settings() {
  config::Settings settings = plain_settings();
  settings.databases[0].hosts = {"10.0.0.1", "10.0.0.2"};
  settings.databases[0].routing = config::Routing::primary_only;
  settings.failover_hold = seconds(3);
  settings.on_no_replica = config::OnNoReplica::error;
  settings.read_consistency = config::ReadConsistency::session;
  return settings;
}

struct ClusterWorld {
  explicit ClusterWorld(config::Settings settings = cluster_settings()) : world(settings) {
    world.sessions().use_clusters([this](const config::Database&) { return &cluster; });
  }
  /// Role of the first and of the second server.
  void roles(ServerRole first, ServerRole second) {
    world.pools().set_role(one, first, 0);
    world.pools().set_role(two, second, 0);
    world.run();
  }
  void ask(Client& client) {
    Script script(client.number());
    script.go_on_from(next += 10);
    script.select();
    client.play(script);
    world.run();
  }
  Client& client_in_transaction() {
    Client& client = world.ready_client();
    Script begin(client.number());
    begin.begin();
    client.play(begin);
    world.run();
    return client;
  }
  route::Cluster cluster;
  World world;
  unsigned next = 0;
};

}  // namespace

TEST_CASE("nobody is served before a primary is known, and then by it") {
  ClusterWorld at;
  Client& client = at.world.client();
  at.world.run();
  CHECK(at.world.connects.empty());
  CHECK_FALSE(client.is_logged_in());
  at.roles(ServerRole::standby, ServerRole::primary);
  CHECK(client.is_logged_in());
  at.ask(client);
  CHECK(client.is_content());
  CHECK(at.world.connects == std::vector<std::string>{"10.0.0.2"});
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("while the primary is in doubt clients wait, and go on with the same connection") {
  ClusterWorld at;
  at.roles(ServerRole::primary, ServerRole::standby);
  Client& client = at.world.ready_client();
  at.ask(client);
  at.roles(ServerRole::unknown, ServerRole::standby);
  at.ask(client);
  CHECK_FALSE(client.is_content());
  CHECK(at.world.row().cl_waiting == 1);
  at.roles(ServerRole::primary, ServerRole::standby);
  CHECK(client.is_content());
  CHECK(at.world.connects.size() == 1);
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("who has a transaction on a server that was replaced is told, and all go over") {
  ClusterWorld at;
  at.roles(ServerRole::primary, ServerRole::standby);
  Client& busy = at.client_in_transaction();
  Client& idle = at.world.ready_client();
  at.ask(idle);
  at.roles(ServerRole::unknown, ServerRole::standby);
  at.roles(ServerRole::unknown, ServerRole::primary);
  at.world.connects.clear();
  at.ask(idle);
  CHECK(idle.is_content());
  std::string query;
  wire::put_query(query, "SELECT 1");
  busy.collect();
  busy.send(query);
  at.world.run();
  CHECK(busy.collected() == std::vector<std::string>{"E:57P03", "Z:E"});
  busy.collect();
  busy.send(query);
  at.world.run();
  CHECK(busy.collected() == std::vector<std::string>{"E:25P02", "Z:E"});
  wire::put_query(query = "", "COMMIT");
  busy.collect();
  busy.send(query);
  at.world.run();
  CHECK(busy.collected() == std::vector<std::string>{"C:ROLLBACK", "Z:I"});
  at.ask(busy);
  CHECK(busy.is_content());
  CHECK(at.world.connects == std::vector<std::string>{"10.0.0.2"});
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("who writes to a server that was replaced is told, though the new primary is away") {
  ClusterWorld at;
  at.roles(ServerRole::primary, ServerRole::standby);
  Client& busy = at.client_in_transaction();
  at.roles(ServerRole::replaced, ServerRole::standby);  // which has the later timeline
  std::string query;
  wire::put_query(query, "COMMIT");
  busy.collect();
  busy.send(query);
  at.world.run();
  CHECK(busy.collected() == std::vector<std::string>{"E:57P03", "Z:I"});
  CHECK(at.world.pool().server_count() == 0);
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("a cycle that was lost with its server is answered once, and dropped up to its Sync") {
  ClusterWorld at;
  at.roles(ServerRole::primary, ServerRole::standby);
  Client& client = at.world.ready_client();
  std::string front;
  wire::put_message(front, 'P', std::string("\0SELECT 1\0\0\0", 12));
  std::string rest;
  wire::put_message(rest, 'P', std::string("\0SELECT 2\0\0\0", 12));
  std::string sync;
  wire::put_message(sync, 'S');
  client.collect();
  client.send(front);
  at.world.run();
  at.roles(ServerRole::unknown, ServerRole::primary);
  client.send(rest);
  at.world.run();
  REQUIRE_FALSE(client.collected().empty());
  CHECK(client.collected().back() == "E:57P03");
  const std::size_t count = client.collected().size();
  client.send(sync);
  at.world.run();
  CHECK(client.collected().size() == count + 1);
  CHECK(client.collected().back() == "Z:I");
  at.ask(client);
  CHECK(client.is_content());
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE(
    "a client whose server is lost while it is asked what code has left hears of it and stays") {
  ClusterWorld at;
  at.roles(ServerRole::primary, ServerRole::standby);
  at.world.postgres.question_time = std::chrono::milliseconds(50);
  Client& client = at.world.ready_client();
  client.may_lose_connection = true;
  const auto say = [&](const char* text) {
    std::string query;
    wire::put_query(query, text);
    client.collect();
    client.send(query);
    at.world.run();
  };
  const auto say_and_lose = [&](const char* text) {
    at.world.postgres.question_faults.push_back(QuestionFault::death);
    say(text);
    at.roles(ServerRole::unknown, ServerRole::primary);
    at.roles(ServerRole::primary, ServerRole::standby);
  };
  SUBCASE("code may have left something") {
    say_and_lose("select public.note(1)");
    CHECK(client.collected() == std::vector<std::string>{"T", "D:1", "C:SELECT 1", "Z:I"});
    REQUIRE_FALSE(client.is_closed());
    say("rollback");  // not taken for the end of a block: it has to hear of the loss
    CHECK(client.collected() == std::vector<std::string>{"E:08006", "Z:I"});
    at.ask(client);
    CHECK(client.is_content());
  }
  SUBCASE("the statement has left something") {
    say_and_lose("create temp table x (i int)");
    CHECK(client.is_closed());
  }
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("without a primary transactions fail after failover_hold, and their clients stay") {
  ClusterWorld at;
  at.roles(ServerRole::primary, ServerRole::standby);
  Client& client = at.world.ready_client();
  at.ask(client);
  at.roles(ServerRole::unknown, ServerRole::standby);
  std::string query;
  wire::put_query(query, "SELECT 1");
  client.collect();
  client.send(query);
  at.world.run();
  CHECK(at.world.row().cl_waiting == 1);
  at.world.loop.run_for(seconds(4));
  REQUIRE(client.collected().size() == 2);
  CHECK(client.collected()[0] == "E:57P03");
  CHECK(client.collected()[1] == "Z:I");
  client.collect();
  client.send(query);  // and at once from then on
  at.world.run();
  CHECK(client.collected().size() == 2);
  at.roles(ServerRole::unknown, ServerRole::primary);
  at.ask(client);
  INFO(client.received_text());
  CHECK(client.is_content());
  CHECK(client.fatal() == "");
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}
