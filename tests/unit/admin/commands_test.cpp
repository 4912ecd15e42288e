#include "pgproxy/admin/commands.hpp"

#include <doctest/doctest.h>
#include <optional>
#include <string>

using namespace pgproxy;

namespace {

/// Answers at once, unless it is told to wait.
struct FakeTarget final : CommandTarget {
  void run(const Command& command, CommandListener& listener) override {
    last = command;
    if (waits) return;
    if (error) return listener.on_command_done(std::unexpected(*error));
    listener.on_command_done(to_string(command.kind));
  }
  void cancel(CommandListener&) override { ++cancels; }
  std::optional<Command> last;
  std::optional<Error> error;
  bool waits = false;
  int cancels = 0;
};

struct FakeListener final : CommandListener {
  void on_command_notice(std::string_view) override {}
  void on_command_done(const Result<std::string_view>& tag) override {
    answer = tag ? std::string(*tag) : tag.error().sqlstate + " " + tag.error().message;
  }
  std::string answer;
};

/// The answer to `text`, "-" when it is no command of these; what was carried out is in `target`.
std::string run(std::string_view text, FakeTarget& target, bool is_admin = true) {
  FakeListener listener;
  if (!admin::Commands(target).execute(text, is_admin, "C-0x1 root", listener)) return "-";
  return listener.answer;
}

std::string carried_out(std::string_view text) {
  FakeTarget target;
  const std::string answer = run(text, target);
  return target.last ? target.last->text() : answer;
}

}  // namespace

TEST_CASE("commands are taken apart in any case, with or without the semicolon") {
  CHECK(carried_out("PAUSE") == "PAUSE");
  CHECK(carried_out(" pause ;") == "PAUSE");
  CHECK(carried_out("pause shop;") == "PAUSE shop");
  CHECK(carried_out("Pause \"My Shop\"") == "PAUSE My Shop");
  CHECK(carried_out("RESUME shop") == "RESUME shop");
  CHECK(carried_out("suspend") == "SUSPEND");
  CHECK(carried_out("KILL shop") == "KILL shop");
  CHECK(carried_out("RECONNECT") == "RECONNECT");
  CHECK(carried_out("WAIT_CLOSE shop") == "WAIT_CLOSE shop");
  CHECK(carried_out("DISABLE shop") == "DISABLE shop");
  CHECK(carried_out("ENABLE shop") == "ENABLE shop");
  CHECK(carried_out("SHUTDOWN") == "SHUTDOWN");
  CHECK(carried_out("shutdown wait_for_servers") == "SHUTDOWN WAIT_FOR_SERVERS");
  CHECK(carried_out("SHUTDOWN WAIT_FOR_CLIENTS;") == "SHUTDOWN WAIT_FOR_CLIENTS");
}

TEST_CASE("SET has a name and a value, plain or in quotes") {
  const auto assigned = [](std::string_view text) {
    FakeTarget target;
    const std::string answer = run(text, target);
    return target.last ? target.last->setting + "|" + target.last->value : answer;
  };
  CHECK(assigned("SET pool_size = 5") == "pool_size|5");
  CHECK(assigned("set Pool_Size=5;") == "pool_size|5");
  CHECK(assigned("SET server_check_query TO 'select ''x'' '") == "server_check_query|select 'x' ");
  CHECK(assigned("SET admin_users = a, b") == "admin_users|a, b");
  CHECK(assigned("SET auth_file = ''") == "auth_file|");
  CHECK(assigned("SET auth_file = '/a b'") == "auth_file|/a b");
  for (const std::string text : {"SET", "SET pool_size", "SET pool_size 5", "SET = 5"}) {
    CHECK(assigned(text) == "08P01 invalid command '" + text + "', use SHOW HELP;");
  }
  CHECK(carried_out("SET http_token = 'secret'") == "SET http_token");
  CHECK(carried_out("reload;") == "RELOAD");
  CHECK(carried_out("RELOAD x") == "08P01 invalid command 'RELOAD x', use SHOW HELP;");
}

TEST_CASE("a name in quotes is taken whole: a doubled quote stands for one") {
  CHECK(carried_out("PAUSE \"a\"\"b\"") == "PAUSE a\"b");
  CHECK(carried_out("PAUSE 'o''brien';") == "PAUSE o'brien");
  CHECK(carried_out("PAUSE '''' ;") == "PAUSE '");
  CHECK(carried_out("PAUSE 'a;b'") == "PAUSE a;b");
}

TEST_CASE("an empty name is none, and does not mean all") {
  for (const std::string text :
       {"KILL ''", "KILL \"\"", "KILL '' ;", "PAUSE ''", "KILL '", "KILL \"", "KILL 'shop",
        "KILL 'shop''", "KILL -", "SHUTDOWN ''", "ENABLE ''", "SUSPEND ''", "RESUME;;"}) {
    CHECK(carried_out(text) == "08P01 invalid command '" + text + "', use SHOW HELP;");
  }
}

TEST_CASE("KILL_CLIENT takes id or ptr of SHOW CLIENTS") {
  CHECK(carried_out("KILL_CLIENT 42") == "KILL_CLIENT 42");
  CHECK(carried_out("kill_client 0x2a") == "KILL_CLIENT 42");
  const std::string refused = "08P01 invalid client pointer supplied";
  CHECK(carried_out("KILL_CLIENT") == refused);
  CHECK(carried_out("KILL_CLIENT 42x") == refused);
  CHECK(carried_out("KILL_CLIENT 0x") == refused);
  CHECK(carried_out("KILL_CLIENT 99999999999999999999") == refused);
}

TEST_CASE("what is wrong with a command is said, and nothing is carried out") {
  CHECK(carried_out("DISABLE") == "08P01 a database is required");
  CHECK(carried_out("ENABLE;") == "08P01 a database is required");
  CHECK(carried_out("SUSPEND shop") == "08P01 invalid command 'SUSPEND shop', use SHOW HELP;");
  CHECK(carried_out("PAUSE a b") == "08P01 invalid command 'PAUSE a b', use SHOW HELP;");
  CHECK(carried_out("PAUSE; RESUME") == "08P01 invalid command 'PAUSE; RESUME', use SHOW HELP;");
  CHECK(carried_out("SHUTDOWN NOW") == "08P01 invalid shutdown mode: NOW");
}

TEST_CASE("other commands are others' business") {
  FakeTarget target;
  for (const auto* text : {"", ";", "SHOW POOLS", "SET client_encoding = 'UTF8'",
                           "set datestyle to iso", "PAUSED", "SELECT 1"}) {
    CHECK(run(text, target) == "-");
  }
  CHECK_FALSE(target.last);
}

TEST_CASE("who may only look changes nothing") {
  FakeTarget target;
  for (const auto* text :
       {"PAUSE", "RESUME", "SUSPEND", "KILL", "KILL_CLIENT 1", "KILL_CLIENT", "RECONNECT",
        "DISABLE a", "ENABLE a", "WAIT_CLOSE", "SHUTDOWN", "SHUTDOWN X", "RELOAD", "SET a = 1"}) {
    CHECK(run(text, target, false) == "42501 admin access needed");
  }
  CHECK_FALSE(target.last);
}

TEST_CASE("the target's word is the answer") {
  FakeTarget target;
  CHECK(run("PAUSE", target) == "PAUSE");
  CHECK(target.last->asked_by == "C-0x1 root");
  target.error = Error{.sqlstate = "08P01", .message = "already suspended/paused"};
  CHECK(run("PAUSE", target) == "08P01 already suspended/paused");
  target.waits = true;
  CHECK(run("PAUSE", target) == "");
}
