#include "control/capacity_answer.hpp"

#include <doctest/doctest.h>

#include "control/control_target.hpp"

namespace pgproxy::control {
namespace {

const CapacityQuestion question{
    .host = "10.0.0.1", .port = 5432, .roles = {"app", "web"}, .databases = {"shop"}};

config::Settings settings_of_test() {
  config::Settings settings;
  settings.control_user = "monitor";
  settings.control_dbname = "postgres";
  return settings;
}

std::vector<Row> answer_of_postgresql_16() {
  return {{"setting", "max_connections", "100"},
          {"setting", "superuser_reserved_connections", "3"},
          {"setting", "reserved_connections", "2"},
          {"is_standby", std::nullopt, "false"},
          {"sees_all", std::nullopt, "true"},
          {"others", std::nullopt, "7"},
          {"role", "app", "-1"},
          {"role", "web", "20"},
          {"database", "shop", "50"}};
}

config::ServerFacts read(const Answer& answer) {
  return read_capacity_answer(settings_of_test(), question, answer);
}

config::ServerFacts read_failure(std::string sqlstate) {
  return read(std::unexpected(Error{.sqlstate = std::move(sqlstate), .message = "words"}));
}

}  // namespace

TEST_CASE("an answer is read") {
  const config::ServerFacts facts = read(answer_of_postgresql_16());
  CHECK_FALSE(facts.error);
  CHECK(facts.host == "10.0.0.1");
  CHECK(facts.port == 5432);
  CHECK_FALSE(facts.is_standby);
  CHECK(facts.max_connections == 100);
  CHECK(facts.superuser_reserved_connections == 3);
  CHECK(facts.reserved_connections == 2);
  CHECK(facts.others == 7);
  CHECK(facts.role_limits == std::map<std::string, std::int32_t>{{"app", -1}, {"web", 20}});
  CHECK(facts.database_limits == std::map<std::string, std::int32_t>{{"shop", 50}});
}

TEST_CASE("a setting that the version lacks is zero") {
  std::vector<Row> rows = answer_of_postgresql_16();
  rows[2][2] = std::nullopt;
  const config::ServerFacts facts = read(rows);
  CHECK_FALSE(facts.error);
  CHECK(facts.reserved_connections == 0);
}

TEST_CASE("a database that is half dropped does not exist") {
  std::vector<Row> rows = answer_of_postgresql_16();
  rows.back()[2] = "-2";
  CHECK(read(rows).database_limits.empty());
}

TEST_CASE("a standby says so") {
  std::vector<Row> rows = answer_of_postgresql_16();
  rows[3][2] = "true";
  CHECK(read(rows).is_standby);
}

TEST_CASE("a role that does not see all is an error that says what to grant") {
  std::vector<Row> rows = answer_of_postgresql_16();
  rows[4][2] = "false";
  const config::ServerFacts facts = read(rows);
  REQUIRE(facts.error);
  CHECK(facts.error->sqlstate == "42501");
  CHECK(facts.error->hint.contains("GRANT pg_monitor TO monitor"));
  CHECK(facts.max_connections == 100);  // what anybody may know
  CHECK(facts.role_limits.at("web") == 20);
  CHECK(facts.others == 0);
}

TEST_CASE("an answer that lacks something is an error") {
  std::vector<Row> rows = answer_of_postgresql_16();
  rows.erase(rows.begin());
  const config::ServerFacts facts = read(rows);
  REQUIRE(facts.error);
  CHECK(facts.error->message.contains("lacks max_connections"));
  CHECK(facts.superuser_reserved_connections == 0);
  CHECK(read(std::vector<Row>{}).error);
}

TEST_CASE("what was met instead of an answer comes with what to change") {
  for (const auto& [sqlstate, setting] :
       {std::pair{"28P01", "control_password"}, std::pair{"28000", "pg_hba.conf"},
        std::pair{"28000", "control_user = monitor"}, std::pair{"3D000", "control_dbname"},
        std::pair{"53300", "max_connections"}, std::pair{"42501", "GRANT pg_monitor TO monitor"},
        std::pair{"08006", "host and port"}}) {
    const config::ServerFacts facts = read_failure(sqlstate);
    REQUIRE(facts.error);
    CHECK(facts.error->sqlstate == sqlstate);
    CHECK(facts.error->message.contains("10.0.0.1:5432 as control_user \"monitor\""));
    CHECK(facts.error->hint.contains(setting));
    CHECK(facts.error->hint.contains("check = off"));
  }
}

TEST_CASE("a verifier in auth_file is no password") {
  config::Settings settings = settings_of_test();
  settings.secrets["monitor"] = "SCRAM-SHA-256$4096:c2FsdA==$a:b";
  const Error error =
      explain_control_error(settings, "s:1", {.sqlstate = "28P01", .message = "words"});
  CHECK(error.hint.contains("set control_password"));
  CHECK(control_target(settings, "s", 1).password == settings.secrets["monitor"]);
  settings.control_password = "plain";
  CHECK(control_target(settings, "s", 1).password == "plain");
}

TEST_CASE("names are quoted in an array") {
  CHECK(text_array({}) == "{}");
  CHECK(text_array({"a", "b,c", "\"d\\"}) == R"({"a","b,c","\"d\\"})");
  CHECK(question.parameters("monitor") ==
        std::vector<std::string>{R"({"app","web"})", R"({"shop"})", "monitor"});
}

}  // namespace pgproxy::control
