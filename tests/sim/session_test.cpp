// A client's session: its settings on whatever server, and the pool modes.
#include <doctest/doctest.h>

#include "world.hpp"

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

Script show(const Client& client, const std::string& name, const std::string& value) {
  Script script(client.number());
  script.query("show " + name + " /* " + script.tag() + " */", {"T", "D:" + value, "C:SHOW"});
  return script;
}

}  // namespace

TEST_CASE("startup settings follow each client and nobody else") {
  World world(one_server());
  Client& first = world.ready_client({{"search_path", "a"}, {"application_name", "one"}});
  Client& second = world.ready_client({{"statement_timeout", "5"}, {"app.tenant", "7"}});
  Client& plain = world.ready_client();
  for (int round = 0; round < 3; ++round) {
    first.play(show(first, "search_path", "a"));
    second.play(show(second, "statement_timeout", "5ms"));
    plain.play(show(plain, "search_path", "public"));
    first.play(show(first, "application_name", "one"));
    second.play(show(second, "app.tenant", "7"));
    plain.play(show(plain, "statement_timeout", "0"));
    world.run();
  }
  CHECK(first.parameters().at("application_name") == "one");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("the server's spelling of a startup setting is adopted, not sent again and again") {
  World world(one_server());
  Client& client = world.ready_client({{"DateStyle", "iso"}});
  CHECK(client.parameters().at("DateStyle") == "ISO, MDY");
  const auto count_sets = [&] {
    std::size_t count = 0;
    for (const std::string& text : world.backend(1).history())
      count += text.starts_with("SELECT pg");
    return count;
  };
  client.play(show(client, "DateStyle", "ISO, MDY"));
  world.run();
  const std::size_t before = count_sets();
  client.play(show(client, "DateStyle", "ISO, MDY"));
  world.run();
  CHECK(count_sets() == before);
  CHECK(world.violation_text() == "");
}

TEST_CASE("a pipeline sent behind the startup packet is answered in order, however it is cut") {
  for (std::uint64_t seed = 1; seed < 30; ++seed) {
    World world(one_server(), seed);
    world.client_weather.split = Weather::Split::pieces;
    Client& client = world.client({{"search_path", "a"}});
    Script script(client.number());
    for (int i = 0; i < 30; ++i) script.select();
    client.play(script);
    world.run();
    CHECK(client.is_content());
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("session mode keeps the server until the client leaves, then resets it") {
  World world(one_server(config::PoolMode::session));
  Client& first = world.ready_client({{"statement_timeout", "5"}});
  first.play(show(first, "statement_timeout", "5ms"));
  world.run();
  CHECK(world.pool().idle_count() == 0);
  Client& second = world.client();  // waits for the end of its login
  second.play(show(second, "statement_timeout", "0"));
  world.run();
  CHECK(second.rows() == 0);
  first.terminate();
  world.run();
  CHECK(second.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE(
    "session mode: startup settings do not outlive a reset query that leaves settings alone") {
  config::Settings settings = one_server(config::PoolMode::session);
  settings.server_reset_query = "select 'reset'";
  World world(settings);
  Client& first = world.ready_client({{"statement_timeout", "5"}});
  first.play(show(first, "statement_timeout", "5ms"));
  world.run();
  first.terminate();
  world.run();
  Client& second = world.ready_client();
  second.play(show(second, "statement_timeout", "0"));
  world.run();
  CHECK(second.is_content());
  Client& third = world.client({{"statement_timeout", "5"}});
  second.terminate();
  third.play(show(third, "statement_timeout", "5ms"));
  world.run();
  CHECK(third.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("statement mode refuses transaction blocks and cleans up") {
  World world(one_server(config::PoolMode::statement));
  Client& client = world.ready_client();
  client.may_lose_connection = true;
  Script script(client.number());
  script.begin();
  client.play(script);
  world.run();
  CHECK(client.fatal() == "0A000");
  Client& other = world.ready_client();
  other.play(show(other, "search_path", "public"));
  world.run();
  CHECK(other.rows() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("idle_transaction_timeout is not put off by a message that never ends") {
  config::Settings settings = one_server();
  settings.idle_transaction_timeout = seconds(10);
  World world(settings);
  Client& client = world.ready_client();
  client.may_lose_connection = true;
  Script script(client.number());
  script.begin();
  client.play(script);
  world.run();
  client.send("Q");
  world.loop.run_for(seconds(11));
  CHECK(client.fatal() == "25P03");
  CHECK(world.violation_text() == "");
}

TEST_CASE("transaction_timeout counts one transaction, not the whole session") {
  config::Settings settings = one_server(config::PoolMode::session);
  settings.transaction_timeout = seconds(10);
  World world(settings);
  Client& client = world.ready_client();
  client.play(show(client, "search_path", "public"));
  world.loop.run_for(seconds(20));
  CHECK(client.fatal() == "");
  client.may_lose_connection = true;
  Script script(client.number());
  script.begin();
  client.play(script);
  world.loop.run_for(seconds(11));
  CHECK(client.fatal() == "25P04");
  CHECK(world.violation_text() == "");
}

TEST_CASE("shutting down lets transactions end and tells the others 57P01") {
  World world(one_server());
  Client& busy = world.ready_client();
  Client& idle = world.ready_client();
  busy.may_lose_connection = idle.may_lose_connection = true;
  Script script(busy.number());
  script.begin();
  busy.play(script);
  world.run();
  world.shut_down();
  world.run();
  CHECK(idle.fatal() == "57P01");
  CHECK(busy.fatal() == "");
  Script end(busy.number());
  end.go_on_from(5);
  end.status = 'T';
  end.end(true);
  busy.play(end);
  world.run();
  CHECK(busy.is_content());
  CHECK(busy.fatal() == "57P01");
  CHECK(world.violation_text() == "");
}

TEST_CASE("a client that is looked up waits, and may send ahead or leave meanwhile") {
  World world(one_server());
  world.has_auth_query = true;
  Client& known = world.client({}, "looked_up");
  Script script(known.number());
  script.select();
  known.play(script);
  Client& gone = world.client({}, "looked_up");
  world.run();
  CHECK(known.rows() == 0);
  gone.vanish();
  world.run();
  world.answer_lookups(std::string("a secret"));
  world.run();
  CHECK(known.rows() == 1);
  CHECK(known.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a client that nobody knows, or that cannot be looked up, costs no server") {
  World world(one_server());
  world.has_auth_query = true;
  Client& unknown = world.client({}, "unknown");
  world.run();
  world.answer_lookups(std::nullopt);
  world.run();
  Client& unlucky = world.client({}, "unlucky");
  world.run();
  world.answer_lookups(std::unexpected(Error{.sqlstate = "08006", .message = "not now"}));
  world.run();
  CHECK(unknown.is_closed());
  CHECK(unlucky.is_closed());
  CHECK(world.postgres.logins_ever == 0);
  world.forget_violations();
  world.drain();
  CHECK(world.violation_text() == "");
}
