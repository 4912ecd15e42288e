// Other settings under clients that wait and clients at work.
#include <algorithm>
#include <doctest/doctest.h>

#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::seconds;

namespace {

Client& begin(World& world, const std::string& database = "db") {
  return world.client_in_transaction(database);
}

void commit(World& world, Client& client, bool is_sent_away = false) {
  Script script(client.number());
  script.go_on_from(1000);
  script.status = 'T';
  script.end(true);
  client.may_lose_connection |= is_sent_away;
  client.play(script);
  world.run();
}

config::Settings two_databases() {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 2;
  settings.databases.push_back(settings.databases[0]);
  settings.databases[1].name = "other";
  return settings;
}

void remove_other(config::Settings& settings) {
  std::erase_if(settings.databases, [](const auto& entry) { return entry.name == "other"; });
}

void finish(World& world) {
  world.drain();
  CHECK(world.violation_text() == "");
}

std::size_t count_retired(World& world) {
  std::size_t count = 0;
  world.pools().for_each_even_retired([&](const auto& pool) { count += pool.is_retired(); });
  return count;
}

}  // namespace

TEST_CASE("the clients of an entry that is gone leave when their transactions have ended") {
  World world(two_databases());
  Client& busy = begin(world, "other");
  Client& second = begin(world, "other");
  Client& idle = world.ready_client({}, "u", "other");
  Client& waiting = world.ready_client({}, "u", "other");
  Script script(waiting.number());
  script.begin();
  waiting.send(script.bytes);
  waiting.may_lose_connection = idle.may_lose_connection = true;
  world.run();
  Client& bystander = begin(world);
  world.reload(remove_other);
  CHECK(idle.is_closed());
  CHECK(waiting.is_closed());
  CHECK_FALSE(busy.is_closed());
  CHECK(world.pools().find_database("other") == nullptr);
  commit(world, busy, true);
  commit(world, second, true);
  CHECK(busy.is_closed());
  commit(world, bystander);
  CHECK_FALSE(bystander.is_closed());
  CHECK(count_retired(world) == 1);
  world.loop.run_for(seconds(3));
  CHECK(count_retired(world) == 0);
  finish(world);
}

TEST_CASE("a pool of another mode begins anew, and the clients of the old one leave") {
  World world(two_databases());
  Client& busy = begin(world);
  Client& idle = world.ready_client();
  idle.may_lose_connection = true;
  world.reload([](config::Settings& settings) {
    for (auto& entry : settings.databases) entry.pool_mode = config::PoolMode::session;
  });
  CHECK(idle.is_closed());
  Client& fresh = begin(world);
  CHECK(world.pool().settings().pool_mode == config::PoolMode::session);
  commit(world, busy, true);
  commit(world, fresh);
  CHECK_FALSE(fresh.is_closed());
  world.loop.run_for(seconds(3));
  CHECK(count_retired(world) == 0);
  finish(world);
}

TEST_CASE("RESUME and PAUSE are about the pools of clients that leave, too") {
  World world(two_databases());
  Client& busy = begin(world, "other");
  world.sessions().suspend(true);
  world.pools().suspend();
  world.reload(remove_other);
  CHECK(world.pools().server_count(nullptr) == 1);
  world.pools().resume(nullptr);
  world.sessions().suspend(false);
  commit(world, busy, true);
  CHECK(busy.is_closed());
  CHECK(world.pools().server_count(nullptr) == 0);
  world.loop.run_for(seconds(3));
  CHECK(count_retired(world) == 0);
  finish(world);
}

TEST_CASE("a smaller pool gives up what nobody uses, and the rest as it comes back") {
  World world(two_databases());
  Client& first = begin(world);
  Client& second = begin(world);
  world.reload([](config::Settings& settings) { settings.default_pool_size = 1; });
  CHECK(world.pool().server_count() == 2);
  commit(world, first);
  CHECK(world.pool().server_count() == 1);
  commit(world, second);
  CHECK(world.pool().server_count() == 1);
  world.reload([](config::Settings& settings) { settings.default_pool_size = 3; });
  for (int n = 0; n < 3; ++n) begin(world);
  CHECK(world.pool().server_count() == 3);
  finish(world);
}

TEST_CASE("limits that pools share are given up likewise, so that nobody waits for what is idle") {
  World world(two_databases());
  Client& first = begin(world);
  Client& second = begin(world);
  Client& third = begin(world, "other");
  commit(world, first);
  commit(world, second);
  world.reload([](config::Settings& settings) { settings.max_user_connections = 1; });
  CHECK(world.pool().server_count() == 0);
  CHECK(world.pool("u", "other").server_count() == 1);
  commit(world, third);
  commit(world, begin(world));
  CHECK(world.pool().server_count() == 1);
  CHECK(world.pool("u", "other").server_count() == 0);
  finish(world);
}

TEST_CASE("a smaller reserve costs the pool nothing of its own") {
  config::Settings settings = two_databases();
  settings.reserve_pool_size = 1;
  settings.reserve_pool_timeout = seconds(1);
  World world(settings);
  Client& first = begin(world);
  Client& second = begin(world);
  Client& third = begin(world);
  world.loop.run_for(seconds(2));
  CHECK(world.pool().server_count() == 3);
  commit(world, first);
  commit(world, second);
  world.reload([](config::Settings& changed) { changed.reserve_pool_size = 0; });
  CHECK(world.pool().server_count() == 3);
  commit(world, third);
  CHECK(world.pool().server_count() == 2);
  finish(world);
}

TEST_CASE("another host is connected to, and the old connections end when they are free") {
  World world(two_databases());
  Client& busy = begin(world);
  Client& idle = begin(world);
  commit(world, idle);
  world.reload([](config::Settings& settings) {
    for (auto& entry : settings.databases) entry.hosts = {"elsewhere"};
  });
  CHECK(world.pool().server_count() == 1);
  commit(world, busy);
  CHECK(world.pool().server_count() == 0);
  Client& third = begin(world);
  CHECK(world.connects.back() == "elsewhere");
  commit(world, third);
  CHECK_FALSE(busy.is_closed());
  CHECK_FALSE(idle.is_closed());
  finish(world);
}
