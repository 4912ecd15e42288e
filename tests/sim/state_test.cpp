// What a client's statements leave in its session: followed, kept, or refused.
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

/// A client that says one thing after the other, each with a tag of its own.
class Talk {
 public:
  explicit Talk(World& world, const NameMap& startup = {})
      : world_(world), client(world.ready_client(startup)) {}

  /// Sends `text` as a Query: `answers` are due.
  void send(const std::string& text, std::vector<std::string> answers) {
    Script script = next();
    script.query(text + " /* " + script.tag() + " */", std::move(answers));
    play(script);
  }
  void say(const std::string& text, std::vector<std::string> answers) {
    send(text, std::move(answers));
    world_.run();
  }
  void ask(const std::string& text, const std::string& value, const std::string& tag = "SELECT 1") {
    say(text, {"T", "D:" + value, "C:" + tag});
  }
  void show(const std::string& name, const std::string& value) {
    ask("show " + name, value, "SHOW");
  }
  void begin() {
    Script script = next();
    script.begin();
    play(script);
    world_.run();
  }
  void end(bool commits) {
    Script script = next();
    script.end(commits);
    play(script);
    world_.run();
  }
  void leave() {
    client.terminate();
    world_.run();
  }

 private:
  World& world_;

 public:
  Client& client;

 private:
  Script next() {
    Script script(client.number());
    script.go_on_from(number_);
    script.status = client.status();
    return script;
  }
  void play(const Script& script) {
    number_ = script.number();
    client.play(script);
  }
  unsigned number_ = 0;
};

/// A statement that leaves something, its answer, and the statement that takes it away.
struct Kind {
  const char* making;
  std::vector<std::string> made;
  const char* removing;
  std::vector<std::string> removed;
  bool is_undone_by_rollback;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> kinds = {
      {"create temp table x (i int)", {"C:CREATE TABLE"}, "drop table x", {"C:DROP TABLE"}, true},
      {"listen channel", {"C:LISTEN"}, "unlisten *", {"C:UNLISTEN"}, true},
      {"declare cur scroll cursor with hold for select 1",
       {"C:DECLARE CURSOR"},
       "close cur",
       {"C:CLOSE CURSOR"},
       true},
      {"select pg_advisory_lock(5)",
       {"T", "D:", "C:SELECT 1"},
       "select pg_advisory_unlock(5)",
       {"T", "D:t", "C:SELECT 1"},
       false},
      {"prepare p as select 1", {"C:PREPARE"}, "deallocate p", {"C:DEALLOCATE"}, false},
      {"select public.leave_lock(5)",
       {"T", "D:", "C:SELECT 1"},
       "select pg_advisory_unlock(5)",
       {"T", "D:t", "C:SELECT 1"},
       false},
      {"do $$ begin perform public.leave_lock(5); end $$",
       {"C:DO"},
       "select pg_advisory_unlock_all()",
       {"T", "D:", "C:SELECT 1"},
       false},
  };
  return kinds;
}

/// Lets things happen until a backend is about to answer the question.
void run_to_question(World& world) {
  const auto is_questioned = [&] {
    bool found = false;
    world.postgres.for_each([&](Backend& backend) { found |= backend.is_questioned(); });
    return found;
  };
  for (int step = 0; step < 10'000 && !is_questioned(); ++step) world.loop.step();
  REQUIRE(is_questioned());
}

/// All have left: whoever comes finds a server as new.
void check_usable(World& world) {
  Talk other(world, {{"application_name", "other"}});
  other.show("work_mem", "4MB");
  CHECK(other.client.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

}  // namespace

TEST_CASE("what is left keeps the server, as long as it is there") {
  for (const Kind& kind : kinds()) {
    INFO(std::string(kind.making));
    World world(one_server());
    Talk holder(world);
    Talk waiter(world);
    holder.say(kind.making, kind.made);
    CHECK(holder.client.is_content());
    CHECK(world.pool().idle_count() == 0);
    waiter.send("show work_mem", {"T", "D:4MB", "C:SHOW"});
    world.run();
    CHECK(waiter.client.rows() == 0);
    holder.show("work_mem", "4MB");
    CHECK(waiter.client.rows() == 0);
    holder.say(kind.removing, kind.removed);
    CHECK(waiter.client.rows() == 1);
    CHECK(world.pool().idle_count() == 1);
    CHECK(world.postgres.logins_ever == 1);
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("what is left is gone with its client, and the server goes on") {
  for (const Kind& kind : kinds()) {
    INFO(std::string(kind.making));
    World world(one_server());
    Talk holder(world);
    holder.say(kind.making, kind.made);
    holder.leave();
    CHECK(world.pool().idle_count() == 1);
    CHECK(world.postgres.logins_ever == 1);
    check_usable(world);
  }
}

TEST_CASE("a rollback takes back what PostgreSQL takes back, and keeps what it keeps") {
  for (const Kind& kind : kinds()) {
    INFO(std::string(kind.making));
    World world(one_server());
    Talk talk(world);
    talk.begin();
    talk.say(kind.making, kind.made);
    talk.end(false);
    CHECK(world.pool().idle_count() == (kind.is_undone_by_rollback ? 1 : 0));
    if (kind.is_undone_by_rollback) {
      talk.begin();
      talk.say(kind.making, kind.made);
      talk.end(true);
    }
    CHECK(talk.client.is_content());
    CHECK(world.pool().idle_count() == 0);
    talk.leave();
    check_usable(world);
  }
}

TEST_CASE("settings and the role follow their client and keep no server") {
  World world(one_server());
  Talk first(world);
  Talk second(world, {{"search_path", "mine"}});
  const std::pair<const char*, const char*> settings[] = {
      {"work_mem", "8MB"}, {"search_path", "tenant1"}, {"app.tenant", "7"},
      {"role", "r1"},      {"TimeZone", "UTC"},
  };
  SUBCASE("by SET") {
    for (const auto& [name, value] : settings) {
      first.say("set " + std::string(name) + " = '" + value + "'", {"C:SET"});
    }
  }
  SUBCASE("by SET in a transaction") {
    first.begin();
    for (const auto& [name, value] : settings) {
      first.say("set " + std::string(name) + " = '" + value + "'", {"C:SET"});
    }
    first.end(true);
  }
  SUBCASE("by set_config") {
    for (const auto& [name, value] : settings) {
      first.ask("select set_config('" + std::string(name) + "', '" + value + "', false)", value);
    }
  }
  for (int round = 0; round < 2; ++round) {
    CHECK(world.pool().idle_count() == 1);
    second.show("work_mem", "4MB");
    second.show("search_path", "mine");
    second.ask("select current_setting('app.tenant', true)", "");
    second.ask("select current_setting('role')", "none");
    for (const auto& [name, value] : settings) first.show(name, value);
  }
  CHECK(first.client.is_content());
  CHECK(second.client.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("settings that code changes follow their client") {
  World world(one_server());
  Talk first(world);
  Talk second(world);
  SUBCASE("in a function") {
    first.ask("select public.set_tenant('7')", "");
  }
  SUBCASE("in a block") {
    first.say("do $$ begin perform set_config('app.tenant', '7', false); end $$", {"C:DO"});
  }
  CHECK(world.pool().idle_count() == 1);
  second.ask("select current_setting('app.tenant', true)", "");
  first.ask("select current_setting('app.tenant', true)", "7");
  second.ask("select public.set_tenant('8')", "");
  first.ask("select current_setting('app.tenant', true)", "7");
  second.ask("select current_setting('app.tenant', true)", "8");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("code that was taken back so far is not taken for clean") {
  World world(one_server());
  Talk talk(world);
  Talk other(world);
  for (int round = 0; round < 10; ++round) {
    talk.begin();
    talk.ask("select public.set_tenant('7')", "");
    talk.end(false);
  }
  talk.ask("select public.set_tenant('7')", "");
  other.ask("select current_setting('app.tenant', true)", "");
  talk.ask("select current_setting('app.tenant', true)", "7");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("code that sets what is set already is not taken for clean") {
  World world(one_server());
  Talk first(world);
  Talk second(world);
  Talk third(world);
  std::string set = "select public.set_tenant('";
  std::string end = "')";
  std::vector<std::string> answers = {"T", "D:", "C:SELECT 1"};
  SUBCASE("a function") {}
  SUBCASE("a block") {
    set = "do $$ begin perform set_config('app.tenant', '";
    end = "', false); end $$";
    answers = {"C:DO"};
  }
  for (int round = 0; round < 10; ++round) first.say(set + "7" + end, answers);
  second.say(set + "8" + end, answers);
  third.ask("select current_setting('app.tenant', true)", "");
  first.ask("select current_setting('app.tenant', true)", "7");
  second.ask("select current_setting('app.tenant', true)", "8");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a rollback takes settings back, and SET LOCAL ends with its transaction") {
  World world(one_server());
  Talk first(world);
  Talk second(world);
  first.say("set work_mem = '8MB'", {"C:SET"});
  first.begin();
  first.say("set work_mem = '16MB'", {"C:SET"});
  first.say("set app.tenant = '7'", {"C:SET"});
  first.end(false);
  second.show("work_mem", "4MB");
  first.show("work_mem", "8MB");
  first.ask("select current_setting('app.tenant', true)", "");
  first.begin();
  first.say("set local work_mem = '32MB'", {"C:SET"});
  first.show("work_mem", "32MB");
  first.end(true);
  second.show("work_mem", "4MB");
  first.show("work_mem", "8MB");
  first.say("set work_mem = 'bad'", {"E:22023"});
  first.show("work_mem", "8MB");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("RESET goes back to what the client gave at startup") {
  World world(one_server());
  Talk first(world, {{"search_path", "mine"}, {"application_name", "app"}, {"app.tenant", "3"}});
  Talk second(world);
  const char* reset = nullptr;
  SUBCASE("RESET ALL") {
    reset = "reset all";
  }
  SUBCASE("DISCARD ALL") {
    reset = "discard all";
  }
  first.say("set search_path = other", {"C:SET"});
  first.say("set application_name = 'other'", {"C:SET"});
  first.say("set app.tenant = '4'", {"C:SET"});
  first.say("set work_mem = '8MB'", {"C:SET"});
  if (reset != nullptr) {
    first.say(reset, {reset[0] == 'r' ? "C:RESET" : "C:DISCARD ALL"});
  } else {
    first.say("reset search_path", {"C:RESET"});
    first.say("set application_name to default", {"C:SET"});
    first.say("reset app.tenant", {"C:RESET"});
    first.say("reset work_mem", {"C:RESET"});
  }
  second.show("search_path", "public");
  first.show("search_path", "mine");
  first.show("application_name", "app");
  first.show("work_mem", "4MB");
  first.ask("select current_setting('app.tenant', true)", "3");
  CHECK(first.client.parameters().at("application_name") == "app");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("RESET within a transaction, and its rollback") {
  World world(one_server());
  Talk talk(world, {{"search_path", "mine"}});
  talk.say("set search_path = other", {"C:SET"});
  talk.begin();
  talk.say("reset search_path", {"C:RESET"});
  talk.show("search_path", "mine");
  talk.end(false);
  talk.show("search_path", "other");
  talk.begin();
  talk.say("reset search_path", {"C:RESET"});
  talk.end(true);
  talk.show("search_path", "mine");
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a RESET that is sent before the answer to a SET hides nothing of it from the client") {
  for (const bool is_extended : {false, true}) {
    INFO(is_extended);
    World world(one_server());
    Client& client = world.ready_client({{"application_name", "app"}});
    Script script(client.number());
    script.query("set application_name = 'mine' /* " + script.tag() + " */", {"C:SET"});
    if (is_extended) {
      script.parse("", "syntax error", "42601");
      script.extended("reset all /* " + script.tag() + " */", {});
      script.sync();
    } else {
      const std::string tag = script.tag();
      script.query("select 1/0, '" + tag + "'; reset all /* " + tag + " */", {"E:22012"});
    }
    script.query("show application_name /* " + script.tag() + " */", {"T", "D:mine", "C:SHOW"});
    client.play(script);
    world.run();
    CHECK(client.is_content());
    CHECK(client.parameters().at("application_name") == "mine");
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("what the server does not take at startup is told with the server's error") {
  World world(one_server());
  Client& client = world.client({{"work_mem", "bad"}});
  client.may_lose_connection = true;
  world.run();
  CHECK(client.fatal() == "22023");
  Client& stranger = world.client({{"nosuch", "1"}});
  stranger.may_lose_connection = true;
  world.run();
  CHECK(stranger.fatal() == "42704");
  check_usable(world);
}

TEST_CASE("a question without a proper answer costs its server and its client, nobody else") {
  for (const QuestionFault fault :
       {QuestionFault::error, QuestionFault::garbage, QuestionFault::death}) {
    INFO(static_cast<int>(fault));
    World world(one_server());
    Talk talk(world);
    talk.client.may_lose_connection = true;
    Talk waiter(world);
    world.postgres.question_faults.push_back(fault);
    talk.say("create temp table x (i int)", {"C:CREATE TABLE"});
    CHECK(talk.client.is_content());
    CHECK(talk.client.is_closed());
    CHECK(talk.client.fatal() != "");
    waiter.show("work_mem", "4MB");
    CHECK(waiter.client.rows() == 1);
    CHECK(world.postgres.logins_ever == 2);
    check_usable(world);
  }
}

TEST_CASE("a question that statement_timeout cut off is asked again") {
  World world(one_server());
  Talk talk(world);
  world.postgres.question_faults.push_back(QuestionFault::timeout);
  talk.say("create temp table x as select 'mine' as t", {"C:SELECT 1"});
  CHECK(world.postgres.questions_ever == 2);
  talk.ask("select t from x", "mine");
  CHECK(talk.client.is_content());
  CHECK(world.postgres.logins_ever == 1);
  talk.leave();
  check_usable(world);
}

TEST_CASE("a client that leaves while its server is asked") {
  for (const bool by_reset : {false, true}) {
    World world(one_server());
    world.postgres.question_time = milliseconds(50);
    Talk talk(world);
    talk.send("create temp table x (i int)", {"C:CREATE TABLE"});
    run_to_question(world);
    talk.client.vanish(by_reset);
    world.run();
    CHECK(world.pool().idle_count() == world.pool().server_count());
    check_usable(world);
  }
}

TEST_CASE("what a client sends while its server is asked waits, and is answered there") {
  World world(one_server());
  world.postgres.question_time = milliseconds(50);
  Talk talk(world);
  SUBCASE("what is left keeps the server") {
    talk.send("create temp table x as select 'mine' as t", {"C:SELECT 1"});
    run_to_question(world);
    CHECK(talk.client.is_content());  // the answer does not wait for the question
    talk.send("select t from x", {"T", "D:mine", "C:SELECT 1"});
    talk.send("select t from x", {"T", "D:mine", "C:SELECT 1"});
  }
  SUBCASE("nothing is left") {
    talk.send("select public.note(1)", {"T", "D:1", "C:SELECT 1"});
    run_to_question(world);
    CHECK(talk.client.is_content());
    talk.send("show work_mem", {"T", "D:4MB", "C:SHOW"});
  }
  SUBCASE("settings were changed") {
    talk.send("select public.set_tenant('7')", {"T", "D:", "C:SELECT 1"});
    run_to_question(world);
    talk.send("select current_setting('app.tenant', true)", {"T", "D:7", "C:SELECT 1"});
  }
  world.run();
  CHECK(talk.client.is_content());
  talk.leave();
  check_usable(world);
}

TEST_CASE("a cancel that comes while the server is asked hits nothing") {
  World world(one_server());
  world.postgres.question_time = milliseconds(50);
  Talk talk(world);
  talk.send("create temp table x as select 'mine' as t", {"C:SELECT 1"});
  run_to_question(world);
  world.cancel(talk.client);
  world.run();
  talk.ask("select t from x", "mine");
  CHECK(talk.client.is_content());
  talk.leave();
  check_usable(world);
}

TEST_CASE("on_residue = error refuses the statement and nothing else") {
  config::Settings settings = one_server();
  settings.on_residue = config::OnResidue::error;
  for (const Kind& kind : kinds()) {
    if (std::string_view(kind.making).find("leave_lock") != std::string_view::npos) continue;
    INFO(std::string(kind.making));
    World world(settings);
    Talk talk(world);
    talk.say(kind.making, {"E:0A000"});
    talk.show("work_mem", "4MB");
    talk.begin();
    talk.show("work_mem", "4MB");
    talk.say(kind.making, {"E:0A000"});
    talk.show("work_mem", "4MB");  // 25P02
    talk.end(true);
    talk.say("set work_mem = '8MB'", {"C:SET"});
    talk.show("work_mem", "8MB");
    CHECK(talk.client.is_content());
    CHECK(world.pool().idle_count() == 1);
    CHECK(world.postgres.logins_ever == 1);
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("residue that code leaves is kept though on_residue = error") {
  config::Settings settings = one_server();
  settings.on_residue = config::OnResidue::error;
  World world(settings);
  Talk talk(world);
  talk.ask("select public.leave_lock(5)", "");
  CHECK(world.pool().idle_count() == 0);
  talk.ask("select pg_advisory_unlock(5)", "t");
  CHECK(world.pool().idle_count() == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("max_pinned_fraction leaves the rest of the pool to others") {
  config::Settings settings = plain_settings();
  settings.max_pinned_fraction = 0.5;
  World world(settings);
  Talk first(world);
  Talk second(world);
  first.say("listen channel", {"C:LISTEN"});
  second.say("listen channel", {"E:53400"});
  first.say("create temp table x (i int)", {"C:CREATE TABLE"});  // has its server anyway
  second.show("work_mem", "4MB");
  CHECK(world.pool().idle_count() == world.pool().server_count() - 1);
  first.say("unlisten *", {"C:UNLISTEN"});
  first.say("drop table x", {"C:DROP TABLE"});
  second.say("listen channel", {"C:LISTEN"});
  first.say("listen channel", {"E:53400"});
  second.leave();
  first.say("listen channel", {"C:LISTEN"});
  CHECK(first.client.is_content());
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("what no question shows ends with its server") {
  World world(one_server());
  Talk talk(world);
  talk.ask("select setseed(0.5)", "");
  CHECK(world.pool().idle_count() == 0);
  talk.show("work_mem", "4MB");
  CHECK(world.pool().idle_count() == 0);
  talk.leave();
  check_usable(world);
  CHECK(world.postgres.logins_ever == 2);
}
