#include "pgproxy/pool/session_question.hpp"

#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <vector>

#include "pgproxy/wire/encode.hpp"

using namespace pgproxy;
using namespace pgproxy::pool;

namespace {

using Row = std::vector<std::optional<std::string>>;

/// RowDescription (its contents do not matter), rows, CommandComplete.
std::string result(const std::vector<Row>& rows) {
  std::string out;
  wire::put_message(out, 'T');
  for (const Row& row : rows) {
    wire::MessageWriter message(out, 'D');
    wire::put_u16(out, static_cast<std::uint16_t>(row.size()));
    for (const auto& value : row) {
      wire::put_u32(out, value ? static_cast<std::uint32_t>(value->size()) : 0xffffffff);
      if (value) out += *value;
    }
  }
  wire::put_command_complete(out, "SELECT");
  return out;
}

std::string ready() {
  std::string out;
  wire::put_ready_for_query(out, wire::TransactionStatus::idle);
  return out;
}

const std::vector<Row> nothing = {{"f", "f", "f", "f", "f", "0", "none"}};

std::optional<SessionTruth> read(const QuestionScope& scope, const std::string& replies) {
  return read_answer(scope, as_bytes(replies));
}

}  // namespace

TEST_CASE("each name in the question is qualified, so that no search_path can replace it") {
  const std::string sql =
      question_sql({.settings = {"app.tenant"}, .all_settings = true, .functions = {"f"}});
  for (const char* name : {"current_setting(", "pg_my_temp_schema(", "pg_backend_pid(", "count(",
                           "pg_show_all_settings(", "left(", "string_agg(", "pg_cursor("}) {
    CAPTURE(name);
    for (auto at = sql.find(name); at != std::string::npos; at = sql.find(name, at + 1)) {
      CHECK(sql.substr(at - 11, 11) == "pg_catalog.");
    }
  }
  CHECK(sql.find(" = '") == std::string::npos);
  CHECK(sql.find("E'app.tenant'") != std::string::npos);
}

TEST_CASE("names in the question are literals whatever is in them") {
  const std::string sql = question_sql({.settings = {"a'b\\"}});
  CHECK(sql.find("current_setting(E'a''b\\\\', true)") != std::string::npos);
}

TEST_CASE("settings are read before the question changes one of them") {
  const std::string sql = question_sql({.settings = {"statement_timeout"}});
  CHECK(sql.find("current_setting(E'statement_timeout'") < sql.find("SET LOCAL statement_timeout"));
}

TEST_CASE("a session that holds nothing") {
  const auto truth = read({}, result(nothing) + ready());
  REQUIRE(truth);
  CHECK_FALSE(truth->holds_objects());
  CHECK(truth->role == "none");
}

TEST_CASE("each kind of object is told") {
  const auto held = [](std::size_t column) {
    auto rows = nothing;
    rows[0][column] = "t";
    return *read({}, result(rows) + ready());
  };
  CHECK(held(0).has_temporary_objects);
  CHECK(held(1).has_advisory_locks);
  CHECK(held(2).listens);
  CHECK(held(3).has_cursors);
  CHECK(held(4).has_sql_statements);
  for (std::size_t column = 0; column < 5; ++column) CHECK(held(column).holds_objects());
}

TEST_CASE("values of settings come back under their names") {
  const auto truth =
      read({.settings = {"a.b", "c.d"}}, result({{"1", std::nullopt}}) + result(nothing) + ready());
  REQUIRE(truth);
  REQUIRE(truth->values.size() == 2);
  CHECK(truth->values[0] == std::pair<std::string, std::optional<std::string>>{"a.b", "1"});
  CHECK(truth->values[1].second == std::nullopt);
}

TEST_CASE("statement_timeout is a setting of the session when it is not the default") {
  const QuestionScope scope{.all_settings = true};
  const auto answer = [&](const std::string& now, const std::string& standard) {
    return read(scope, result({{now}}) + result(nothing) +
                           result({{"work_mem", "64"}, {"statement_timeout", "0"}}) +
                           result({{standard}}) + ready());
  };
  CHECK(answer("0", "0")->session_settings ==
        std::vector<std::pair<std::string, std::string>>{{"work_mem", "64"}});
  const auto changed = answer("1s", "0")->session_settings;
  REQUIRE(changed.size() == 2);
  CHECK(changed[1] == std::pair<std::string, std::string>{"statement_timeout", "1s"});
}

TEST_CASE("what the session has not set is not its own, though it has a value") {
  const QuestionScope scope{.settings = {"work_mem", "session_replication_role", "a.x", "mod.y"},
                            .all_settings = true};
  const auto truth =
      read(scope, result({{"0"}}) + result({{"4MB", "origin", "1", "-1"}}) + result(nothing) +
                      result({{"work_mem", "4MB"}, {"mod.y", std::nullopt}}) + result({{"0"}}) +
                      ready());
  REQUIRE(truth);
  CHECK(truth->session_settings ==
        std::vector<std::pair<std::string, std::string>>{{"work_mem", "4MB"}});
  CHECK(truth->values == std::vector<std::pair<std::string, std::optional<std::string>>>{
                             {"a.x", "1"}, {"mod.y", std::nullopt}});
  CHECK(question_sql(scope).contains("name OPERATOR(pg_catalog.=) E'mod.y'"));
}

TEST_CASE("what is no answer is not taken for one") {
  const std::string good = result(nothing) + ready();
  CHECK_FALSE(read({}, ready()));
  CHECK_FALSE(read({}, result({}) + ready()));
  CHECK_FALSE(read({}, result({{"f"}}) + ready()));
  CHECK_FALSE(read({}, result({{"f", "f", "f", "f", "f", "many", "none"}}) + ready()));
  CHECK_FALSE(read({}, result({{"f", "f", "f", "f", std::nullopt, "0", "none"}}) + ready()));
  CHECK_FALSE(read({}, result(nothing) + good));
  CHECK_FALSE(read({.settings = {"a"}}, good));
  CHECK_FALSE(read({.settings = {"a", "b"}}, result({{"1"}}) + result(nothing) + ready()));
  CHECK_FALSE(read({.functions = {"f"}}, result(nothing) + result({{"f"}}) + ready()));
  CHECK_FALSE(read({.all_settings = true}, good));
  const std::size_t end_of_row = good.find("SELECT") - wire::header_bytes;
  for (std::size_t size = 0; size < end_of_row; ++size) CHECK_FALSE(read({}, good.substr(0, size)));
}
