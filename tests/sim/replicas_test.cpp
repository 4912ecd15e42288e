// A primary and a standby that replays: what clients do on replicas, and where they go next.
#include <doctest/doctest.h>

#include "prober.hpp"
#include "world.hpp"

using namespace pgproxy;
using namespace pgproxy::sim;
using std::chrono::milliseconds;

namespace {

config::Settings replica_settings() {
  config::Settings settings = plain_settings();
  settings.databases[0].hosts = {"10.0.0.1", "10.0.0.2"};
  settings.routing = config::Routing::read_only_transactions;
  settings.read_consistency = config::ReadConsistency::session;
  settings.on_no_replica = config::OnNoReplica::error;
  settings.failover_hold = std::chrono::seconds(3);
  return settings;
}

/// The first server is the primary; the roles are known.
struct ReplicaWorld {
  explicit ReplicaWorld(const config::Settings& settings = replica_settings())
      : world(settings),
        servers(world.loop, world.random, settings.databases[0].hosts),
        prober(world.loop, world.random, servers, world.pools(), world.sessions()) {
    world.postgres.replication = &servers;
    prober.start();
    world.loop.run_for(milliseconds(10));
    prober.stop();
  }
  World world;
  Replication servers;
  Prober prober;
};

/// A client that says one cycle after the other, from its BEGIN READ ONLY on.
class Reader {
 public:
  explicit Reader(World& world) : world_(world), client_(world.ready_client()) { begin(); }
  void say(const std::string& text, std::vector<std::string> answers) {
    Script script = next();
    script.query(text + " /* " + script.tag() + " */", std::move(answers));
    play(script);
  }
  void parse(const std::string& name, const std::string& text, const char* error = nullptr) {
    Script script = next();
    script.parse(name, text, error);
    script.sync();
    play(script);
  }
  /// In the same cycle as `change`.
  void parse_behind(const std::string& change, const std::string& name, const std::string& text) {
    Script script = next();
    script.extended(change + " /* " + script.tag() + " */", {"C:SET"});
    script.parse(name, text);
    script.sync();
    play(script);
  }
  void begin() {
    Script script = next();
    script.status = 'T';
    script.query("begin read only /* " + script.tag() + " */", {"C:BEGIN"});
    play(script);
  }
  void end() {
    Script script = next();
    script.end(true);
    play(script);
  }
  /// The next transaction writes: it is the primary's.
  void write() { say("insert into w values (1)", {"C:INSERT 0 1"}); }

 private:
  Script next() {
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

}  // namespace

TEST_CASE("a statement whose literals only a replica has read keeps nobody there") {
  ReplicaWorld at;
  Reader reader(at.world);
  reader.parse_behind("set datestyle = 'sql'", "n0", "select 'dated', $1");
  reader.end();
  CHECK(at.world.connects == std::vector<std::string>{"10.0.0.1", "10.0.0.2"});
  reader.write();
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("a text that is too long to be looked at keeps nobody on a replica") {
  ReplicaWorld at;
  Reader reader(at.world);
  reader.parse("", "show work_mem" + std::string(70'000, ' '));
  reader.end();
  reader.write();
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("without prepared statements in transaction mode a replica does not take one by name") {
  config::Settings settings = replica_settings();
  settings.max_prepared_statements = 0;
  ReplicaWorld at(settings);
  Reader reader(at.world);
  reader.parse("n0", "select 'mine', $1", "0A000");
  reader.end();
  reader.write();
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}

TEST_CASE("a recovering primary is tried though replicas' idle connections use up a limit") {
  config::Settings settings = replica_settings();
  settings.max_db_connections = 1;
  settings.while_recovering = config::WhileRecovering::queue;
  settings.attempt_interval = milliseconds(5);
  ReplicaWorld at(settings);
  Client& writer = at.world.ready_client();
  Reader reader(at.world);
  reader.end();
  at.world.refusing_hosts = {"10.0.0.1"};
  Script script(writer.number());
  script.query("insert into w values (1) /* " + script.tag() + " */", {"C:INSERT 0 1"});
  writer.play(script);
  at.world.run();
  reader.begin();
  reader.end();
  CHECK_FALSE(writer.is_content());
  at.world.refusing_hosts.clear();
  at.world.loop.run_for(milliseconds(20));
  CHECK(writer.is_content());
  at.world.drain();
  CHECK(at.world.violation_text() == "");
}
