// What is between one client and its server, and what happens when either goes away.
#include <doctest/doctest.h>

#include "world.hpp"

#include "pgproxy/wire/encode.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::seconds;

namespace {

config::Settings one_server(config::PoolMode mode = config::PoolMode::transaction) {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1;
  settings.pool_mode = mode;
  return settings;
}

Script select(const Client& client, unsigned from = 0) {
  Script script(client.number());
  script.go_on_from(from);
  script.select();
  return script;
}

/// Another client uses the only server: nothing of the first may show, and it must be usable.
void check_usable(World& world) {
  Client& other = world.ready_client({{"application_name", "other"}});
  other.play(select(other));
  world.run();
  CHECK(other.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

std::string parse(const std::string& text) {
  std::string body(1, '\0');
  wire::put_c_string(body, text);
  wire::put_u16(body, 0);
  std::string out;
  wire::put_message(out, 'P', body);
  return out;
}

std::string long_text(const std::string& tag, std::size_t size) {
  return "select '" + tag + "', $1" + std::string(size, ' ');
}

}  // namespace

TEST_CASE("a server goes from hand to hand, paused or not") {
  World world(one_server());
  world.client_weather.window_bytes = 1000;
  Client& slow = world.ready_client();
  Client& next = world.ready_client();
  slow.link().set_reading(false);
  Script big(slow.number());
  const std::string tag = big.tag();
  // Over the high-water mark with the very read that also brings ReadyForQuery.
  big.query("select repeat('x', 300000), '" + tag + "'",
            {"T", "D:" + tag + std::string(300000, 'x'), "C:SELECT 1"});
  slow.play(big);
  next.play(select(next));
  world.run();
  CHECK(next.rows() == 1);
  slow.link().set_reading(true);
  world.run();
  CHECK(slow.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a client that does not read does not get ever more") {
  World world(one_server());
  world.client_weather.window_bytes = 1000;
  Client& slow = world.ready_client();
  slow.link().set_reading(false);
  for (unsigned i = 0; i < 20; ++i) {
    Script script(slow.number());
    script.go_on_from(i);
    const std::string tag = script.tag();
    script.query("select repeat('x', 50000), '" + tag + "'",
                 {"T", "D:" + tag + std::string(50000, 'x'), "C:SELECT 1"});
    slow.play(script);
    world.run();
  }
  CHECK(world.backend(1).history().size() < 10);
  slow.link().set_reading(true);
  world.run();
  CHECK(slow.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("cancel of what runs stops it, and nobody else's") {
  World world(one_server());
  Client& client = world.ready_client();
  Client& next = world.ready_client();
  Script script(client.number());
  script.query("select pg_sleep(60000), '" + script.tag() + "'", {"E:57014"});
  client.play(script);
  next.play(select(next));
  world.loop.run_for(seconds(1));
  world.cancel(client);
  world.loop.run_for(seconds(1));
  CHECK(client.received_text() == "E:57014 Z:I");
  CHECK(next.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a cancel that comes as its statement ends never hits the next client") {
  for (int step = 0; step < 60; ++step) {
    World world(one_server(), static_cast<std::uint64_t>(step) + 1);
    world.server_weather.max_delay = Duration(2000);
    Client& client = world.ready_client();
    Client& next = world.ready_client();
    client.allow_cancel(true);
    Script script(client.number());
    script.query("select pg_sleep(20), '" + script.tag() + "'", {"T", "D:c1.1", "C:SELECT 1"});
    client.play(script);
    Script other(next.number());
    other.query("select pg_sleep(60), '" + other.tag() + "'", {"T", "D:c2.1", "C:SELECT 1"});
    next.play(other);
    world.loop.run_for(Duration(18'000 + step * 100));
    world.cancel(client);
    world.loop.run_for(seconds(1));
    CHECK(next.rows() == 1);
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("cancel of what waits in the queue answers it with 57014") {
  World world(one_server());
  Client& holder = world.ready_client();
  Client& client = world.ready_client();
  Script begin(holder.number());
  begin.begin();
  holder.play(begin);
  world.run();
  SUBCASE("a Query") {
    Script script(client.number());
    script.query("select '" + script.tag() + "'", {"E:57014"});
    client.play(script);
  }
  SUBCASE("a pipeline up to its Sync") {
    Script script(client.number());
    script.extended("select '" + script.tag() + "', $1", {});
    script.sync();
    client.send(script.bytes);
    client.expect({"E:57014", "Z:I"});
  }
  world.run();
  world.cancel(client);
  world.run();
  CHECK(client.received_text() == "E:57014 Z:I");
  CHECK(world.row().cl_waiting == 0);
  CHECK(world.postgres.cancels_ever == 0);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a wrong cancel key is not answered and cancels nothing") {
  World world(one_server());
  Client& client = world.ready_client();
  Client& stranger = world.ready_client();
  Script script(client.number());
  script.query("select pg_sleep(100), '" + script.tag() + "'", {"T", "D:c1.1", "C:SELECT 1"});
  client.play(script);
  CHECK(world.cancel(stranger).fatal() == "");
  world.loop.run_for(seconds(1));
  CHECK(client.is_content());
  CHECK(world.postgres.cancels_ever == 0);
  CHECK(world.violation_text() == "");
}

TEST_CASE("what a client leaves behind is removed before the next one comes") {
  World world(one_server());
  Client& client = world.ready_client();
  Script script(client.number());
  SUBCASE("a transaction") {
    script.begin();
  }
  SUBCASE("a failed transaction") {
    script.begin();
    script.failing_query();
  }
  SUBCASE("a temporary table") {
    script.query("create temp table x (i int) /* " + script.tag() + " */", {"C:CREATE TABLE"});
  }
  SUBCASE("a session setting") {
    script.query("set application_name = 'mine' /* " + script.tag() + " */", {"C:SET"});
  }
  SUBCASE("an advisory lock, inside a transaction") {
    script.begin();
    script.query("select pg_advisory_lock(1), '" + script.tag() + "'", {"T", "D:", "C:SELECT 1"});
  }
  SUBCASE("a cycle without its Sync") {
    script.extended("select '" + script.tag() + "', $1", {"D:c1.1|", "C:SELECT 1"});
    script.message('H');
  }
  SUBCASE("a running statement") {
    script.query("select pg_sleep(60000), '" + script.tag() + "'", {});
  }
  SUBCASE("a COPY") {
    wire::put_query(script.bytes, "copy t from stdin /* " + script.tag() + " */");
    script.expect({"G"});
    script.message('d', "line");
  }
  SUBCASE("a COPY with a Sync behind its Execute") {
    script.extended("copy t from stdin /* " + script.tag() + " */", {"G"});
    script.message('S');
  }
  client.play(script);
  world.loop.run_for(seconds(1));
  client.vanish();
  world.loop.run_for(seconds(5));
  check_usable(world);
}

TEST_CASE("a client that vanishes at any byte of its messages harms nobody") {
  Script script(1);
  script.select();
  script.extended("select '" + script.tag() + "', $1", {"D:c1.2|", "C:SELECT 1"});
  script.sync();
  for (std::size_t cut = 0; cut <= script.bytes.size(); ++cut) {
    World world(one_server(), cut + 1);
    Client& client = world.ready_client();
    client.send(script.bytes.substr(0, cut));
    client.expect(script.replies);
    if (cut % 2 == 0) world.run();
    client.vanish(cut % 3 == 0);
    world.run();
    check_usable(world);
  }
}

TEST_CASE("a client that vanishes before its COPY has begun holds no server") {
  World world(one_server());
  Client& client = world.ready_client();
  Script script(client.number());
  script.message('Q', std::string_view("copy t from stdin\0", 18));
  client.send(script.bytes);
  client.vanish();
  world.run();
  CHECK(world.pool().idle_count() == 1);
  CHECK(world.backend(1).is_open());
  check_usable(world);
}

TEST_CASE("a server that dies at any byte of its reply costs its own client only") {
  bool is_complete = false;
  for (std::size_t cut = 0; !is_complete; ++cut) {
    World world(one_server(), cut + 1);
    Client& client = world.ready_client();
    Client& waiter = world.ready_client();
    client.may_lose_connection = true;
    client.play(select(client));
    while (world.row().sv_active == 0) world.loop.step();
    waiter.play(select(waiter));
    world.backend(1).cut_after_bytes = cut;
    world.run();
    is_complete = !client.is_closed();
    if (is_complete) break;
    if (cut < wire::header_bytes) CHECK(client.fatal() == "08006");
    CHECK(waiter.rows() == 1);
    CHECK_FALSE(waiter.is_closed());
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("an administrator's kill is told with the server's own words") {
  World world(one_server());
  Client& client = world.ready_client();
  client.may_lose_connection = true;
  Script script(client.number());
  script.begin();
  client.play(script);
  world.run();
  world.postgres.terminate_one();
  world.run();
  CHECK(client.fatal() == "57P01");
  CHECK(client.is_closed());
  check_usable(world);
}

TEST_CASE("a FATAL right behind the end of a transaction does not reach the next client") {
  World world(one_server());
  Client& client = world.ready_client();
  Client& next = world.ready_client();
  client.may_lose_connection = true;
  client.play(select(client));
  while (world.row().sv_active == 0) world.loop.step();
  next.play(select(next));
  while (world.backend(1).history().empty()) world.loop.step();
  world.backend(1).fatal("57P01", "terminating connection");
  world.run();
  CHECK(next.rows() == 1);
  CHECK(next.fatal() == "");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("idle clients and the pool survive the death of idle servers") {
  World world;
  Client& client = world.ready_client();
  world.postgres.terminate_one();
  world.run();
  CHECK(world.pool().server_count() == 0);
  client.play(select(client));
  world.run();
  CHECK(client.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("after a COPY that failed the messages behind it are answered as PostgreSQL does") {
  World world(one_server());
  Client& client = world.ready_client();
  Script script(client.number());
  script.extended("copy t from stdin /* " + script.tag() + " */", {"G"});
  script.message('S');
  client.play(script);
  world.run();
  Script rest(client.number());
  rest.go_on_from(10);
  rest.message('d', "bad line");
  rest.message('c');
  rest.expect({"E:22P04"});
  rest.sync();
  client.play(rest);
  world.run();
  CHECK(client.is_content());
  client.play(select(client, 20));
  world.run();
  CHECK(client.is_content());
  client.terminate();
  check_usable(world);
}

TEST_CASE("a COPY in a pipeline some time after one that failed with a Sync in it gets its data") {
  World world(one_server());
  Client& client = world.ready_client();
  Script failing(client.number());
  failing.extended("copy t from stdin /* " + failing.tag() + " */", {"G"});
  failing.message('S');
  client.play(failing);
  world.run();
  Script rest(client.number());
  rest.message('d', "bad line");
  rest.expect({"E:22P04"});
  rest.sync();
  client.play(rest);
  world.run();
  Script pipeline = select(client, 20);
  wire::put_query(pipeline.bytes, "copy t from stdin /* " + pipeline.tag() + " */");
  pipeline.expect({"G"});
  client.play(pipeline);
  world.run();
  Script data(client.number());
  data.message('d', "a line");
  data.message('c');
  data.expect({"C:COPY 1", "Z:I"});
  client.play(data);
  world.run();
  CHECK(client.is_content());
  client.terminate();
  check_usable(world);
}

TEST_CASE("an error in the first of many Syncs leaves the others alone") {
  World world(one_server());
  Client& client = world.ready_client();
  Script script(client.number());
  script.extended("select 1/0, '" + script.tag() + "'", {"E:22012"});
  script.extended("select '" + script.tag() + "', $1", {});
  script.sync();
  for (int i = 0; i < 5; ++i) {
    const std::string tag = script.tag();
    script.extended("select '" + tag + "', $1", {"D:" + tag + "|", "C:SELECT 1"});
    script.sync();
  }
  client.play(script);
  world.run();
  CHECK(client.rows() == 5);
  CHECK(client.is_content());
  check_usable(world);
}

TEST_CASE("a deferred error at Sync is the client's") {
  World world(one_server());
  Client& client = world.ready_client();
  Script script(client.number());
  script.extended("insert into deferred values (1) /* " + script.tag() + " */", {"C:INSERT 0 1"});
  script.replies.push_back("E:23505");
  script.sync();
  client.play(script);
  world.run();
  CHECK(client.is_content());
  check_usable(world);
}

TEST_CASE("the unnamed statement is the client's own after others have used the server") {
  World world(one_server());
  Client& client = world.ready_client();
  Client& other = world.ready_client();
  Script first(client.number());
  const std::string tag = first.tag();
  const std::string text = "select '" + tag + "', $1";
  first.message('P', parse(text).substr(5));
  first.expect({"1"});
  first.sync();
  client.play(first);
  Script between(other.number());
  const std::string other_tag = between.tag();
  between.extended("select '" + other_tag + "', $1", {"D:" + other_tag + "|", "C:SELECT 1"});
  between.sync();
  world.run();
  other.play(between);
  world.run();
  Script second(client.number());
  second.go_on_from(5);
  SUBCASE("Bind first") {}
  SUBCASE("behind an error, in another cycle of the same pipeline") {
    second.message('E', std::string_view("nosuch\0\0\0\0\0", 11));
    second.expect({"E:34000"});
    second.sync();
  }
  second.extended(text, {"D:" + tag + "|", "C:SELECT 1"}, false);
  second.sync();
  client.play(second);
  world.run();
  CHECK(client.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a Parse that was skipped because of an error does not replace the unnamed statement") {
  World world(one_server());
  Client& client = world.ready_client();
  Script script(client.number());
  const std::string tag = script.tag();
  const std::string text = "select '" + tag + "', $1";
  script.extended(text, {"D:" + tag + "|", "C:SELECT 1"});
  script.message('E', std::string_view("nosuch\0\0\0\0\0", 11));
  script.expect({"E:34000"});
  script.is_skipping = true;
  script.extended("select '" + script.tag() + "', $1", {});
  script.sync();
  client.play(script);
  world.run();
  Client& other = world.ready_client();
  other.play(select(other));
  world.run();
  Script again(client.number());
  again.go_on_from(10);
  again.extended(text, {"D:" + tag + "|", "C:SELECT 1"}, false);
  again.sync();
  client.play(again);
  world.run();
  CHECK(client.rows() == 2);
  CHECK(client.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("an unnamed statement of any size is parsed and bound") {
  for (const std::size_t size : {60'000, 65'530, 70'000, 300'000}) {
    World world(one_server());
    Client& client = world.ready_client();
    Script script(client.number());
    const std::string tag = script.tag();
    script.extended(long_text(tag, size), {"D:" + tag + "|", "C:SELECT 1"});
    script.sync();
    client.play(script);
    world.run();
    CHECK(client.is_content());
    client.terminate();
    check_usable(world);
  }
}

TEST_CASE("what stands before a malformed message is done, and the server is not lost with it") {
  World world(one_server());
  Client& client = world.ready_client();
  client.may_lose_connection = true;
  client.play(select(client));
  client.send(std::string("\x01\0\0\0\4", 5));
  world.run();
  CHECK(client.fatal() == "08P01");
  CHECK(world.pool().idle_count() == 1);
  check_usable(world);
}
