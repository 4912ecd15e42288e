// Named prepared statements of clients, on whatever server they reach.
#include <doctest/doctest.h>

#include "world.hpp"

#include "pgproxy/wire/message.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;

namespace {

config::Settings reruns(bool does) {
  config::Settings settings = plain_settings();
  settings.default_pool_size = 1;
  settings.rerun_on.stale_plan = does;
  return settings;
}

/// A client that says one cycle after the other.
class Talk {
 public:
  explicit Talk(World& world) : world_(world), client_(world.ready_client()) {}

  void parse(const std::string& name, const std::string& text) {
    Script script = next();
    script.parse(name, text);
    script.sync();
    play(script);
  }
  void describe(const std::string& name, const std::string& text) {
    Script script = next();
    script.describe(name, text);
    script.sync();
    play(script);
  }
  void run(const std::string& name, const std::string& text, std::vector<std::string> answers) {
    Script script = next();
    script.bind_and_execute(name, text, std::move(answers));
    script.sync();
    play(script);
  }
  /// The Bind comes by itself, its Describe before anything can be answered.
  void run_in_pieces(const std::string& name, const std::string& text,
                     std::vector<std::string> answers) {
    Script script = next();
    script.bind_and_execute(name, text, std::move(answers));
    script.sync();
    number_ = script.number();
    client_.expect(script.replies);
    const std::size_t bind_bytes = 1 + wire::load_u32(as_bytes(script.bytes).data() + 1);
    client_.send(script.bytes.substr(0, bind_bytes));
    world_.loop.step();
    client_.send(script.bytes.substr(bind_bytes));
    world_.run();
    CHECK(client_.is_content());
  }
  void run_undescribed(const std::string& name, const std::string& text,
                       std::vector<std::string> answers) {
    Script script = next();
    script.bind_and_execute(name, text, std::move(answers), false);
    script.sync();
    play(script);
  }
  /// The Bind fails.
  void fail(const std::string& name, const std::string& sqlstate) {
    Script script = next();
    script.failing_bind(name, sqlstate);
    script.message('E', std::string_view("\0\0\0\0\0", 5));
    script.sync();
    play(script);
  }
  void say(const std::string& text, std::vector<std::string> answers) {
    Script script = next();
    script.query(text + " /* " + script.tag() + " */", std::move(answers));
    play(script);
  }
  void ask_extended(const std::string& text, std::vector<std::string> answers) {
    Script script = next();
    script.extended(text + " /* " + script.tag() + " */", std::move(answers));
    script.sync();
    play(script);
  }
  /// How many ReadyForQuery come of it the protocol leaves open.
  void fail_copy_with_sync_in_it() {
    Script script = next();
    script.extended("copy t from stdin /* " + script.tag() + " */", {"G"});
    script.message('S');
    play(script);
    Script rest = next();
    rest.message('d', "bad line");
    rest.expect({"E:22P04"});
    rest.sync();
    play(rest);
  }
  void begin() {
    Script script = next();
    script.begin();
    play(script);
  }
  void end() {
    Script script = next();
    script.end(true);
    play(script);
  }

 private:
  Script next() const {
    Script script(client_.number());
    script.go_on_from(number_);
    script.status = client_.status();
    return script;
  }
  void play(const Script& script) {
    number_ = script.number();
    client_.play(script);
    world_.run();
    CHECK(client_.is_content());
  }
  World& world_;
  Client& client_;
  unsigned number_ = 0;
};

const std::string changing = "select 'changing table', $1 from t";
const std::string dated = "select 'dated row', $1";
const std::vector<std::string> rows_of_changing = {"D:changing table|", "C:SELECT 1"};

std::vector<std::string> dated_under(const std::string& settings) {
  return {"D:dated row|/" + settings, "C:SELECT 1"};
}

}  // namespace

TEST_CASE("a plan that became stale is run again where rerun_on says so") {
  World world(reruns(true));
  Talk one(world);
  one.parse("m", changing);
  one.run("m", changing, rows_of_changing);
  world.postgres.change_tables();
  one.run("m", changing, rows_of_changing);
  CHECK(world.pool().counters().rerun_count == 1);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("without rerun_on a stale plan is the client's error, once") {
  World world(reruns(false));
  Talk one(world);
  one.parse("m", changing);
  world.postgres.change_tables();
  one.fail("m", "0A000");
  one.run("m", changing, rows_of_changing);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a stale plan in a transaction is an error whatever rerun_on says") {
  World world(reruns(true));
  Talk one(world);
  one.parse("m", changing);
  world.postgres.change_tables();
  one.begin();
  one.fail("m", "0A000");
  one.end();
  one.run("m", changing, rows_of_changing);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE(
    "a statement that a client uses under other settings is not passed off to those with its own") {
  World world;
  Talk one(world);
  Talk two(world);
  one.parse("d", dated);
  two.begin();  // on the server that has it
  one.say("set datestyle = 'sql'", {"C:SET"});
  one.describe("d", dated);  // on the other one
  two.end();
  one.begin();
  two.parse("d", dated);
  two.run("d", dated, dated_under("ISO, MDY/public"));
  one.end();
  two.begin();
  one.begin();
  one.end();
  two.run("d", dated, dated_under("ISO, MDY/public"));
  two.end();
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("named statements go on behind a COPY that failed, in the middle, with a Sync in it") {
  World world;
  Talk one(world);
  one.parse("a", "select 'first', $1");
  one.fail_copy_with_sync_in_it();
  one.run("a", "select 'first', $1", {"D:first|", "C:SELECT 1"});
  one.parse("b", "select 'second', $1");
  one.run("b", "select 'second', $1", {"D:second|", "C:SELECT 1"});
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a stale plan where the number of answers is open is an error whatever rerun_on says") {
  World world(reruns(true));
  Talk one(world);
  one.parse("m", changing);
  one.fail_copy_with_sync_in_it();
  world.postgres.change_tables();
  one.fail("m", "0A000");
  one.run("m", changing, rows_of_changing);
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a statement that SQL found under another search_path is read anew under its own") {
  World world(reruns(false));
  Talk one(world);
  one.parse("d", dated);
  one.begin();
  one.say("set local search_path = tenant1", {"C:SET"});
  one.ask_extended("select count(*) from pg_prepared_statements", {"D:1", "C:SELECT 1"});
  one.end();
  one.run_undescribed("d", dated, dated_under("ISO, MDY/public"));
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE(
    "a Describe that comes behind its Bind leaves nothing to wait for, or to hold against it") {
  const std::string text = "select 'row', $1";
  const std::vector<std::string> rows = {"D:row|", "C:SELECT 1"};
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO(seed);
    config::Settings settings = plain_settings();
    settings.default_pool_size = 3;
    World world(settings, seed);
    Talk one(world);
    Talk holder(world);
    Talk other(world);
    Talk third(world);
    holder.begin();
    other.begin();
    holder.parse("m", text);
    other.parse("m", text);  // on two servers, and described on none of them
    one.parse("m", text);
    one.describe("m", text);
    third.begin();  // on the server that is left
    holder.end();
    one.run_in_pieces("m", text, rows);
    holder.begin();
    other.end();
    one.run_undescribed("m", text, rows);
    holder.end();
    third.end();
    world.drain();
    CHECK(world.violation_text() == "");
  }
}

TEST_CASE("EXECUTE finds the statements of the protocol though others are by PREPARE") {
  World world;
  Talk one(world);
  one.parse("a", "select 'first', $1");
  one.say("prepare b as select 'second'", {"C:PREPARE"});
  one.say("execute a('x')", {"T", "D:first|x", "C:SELECT 1"});
  one.say("execute b", {"T", "D:second", "C:SELECT 1"});
  one.say("prepare a as select 'other'", {"E:42P05"});
  one.say("deallocate b", {"C:DEALLOCATE"});
  one.run("a", "select 'first', $1", {"D:first|", "C:SELECT 1"});
  world.drain();
  CHECK(world.violation_text() == "");
}

TEST_CASE("a DEALLOCATE among other statements of a Query is not forgotten") {
  World world;
  Talk one(world);
  one.parse("a", "select 'first', $1");
  one.parse("b", "select 'second', $1");
  one.say("deallocate a; show work_mem", {"C:DEALLOCATE", "T", "D:4MB", "C:SHOW"});
  one.fail("a", "26000");
  one.parse("a", "select 'third', $1");
  one.run("a", "select 'third', $1", {"D:third|", "C:SELECT 1"});
  one.run("b", "select 'second', $1", {"D:second|", "C:SELECT 1"});
  world.drain();
  CHECK(world.violation_text() == "");
}
