// SHOW … WHERE, ORDER BY, LIMIT.
#include "console_fixture.hpp"

using namespace pgproxy;

namespace {

FakeSource three_pools() {
  FakeSource source;
  source.pool_rows = {{.database = "b", .user = "it's", .cl_active = 9, .pool_mode = "session"},
                      {.database = "a", .user = "u", .cl_active = 10, .pool_mode = "session"},
                      {.database = "c", .user = "u", .cl_active = 1, .pool_mode = "transaction"}};
  source.pool_rows[2].load_balance_hosts = "round-robin";
  return source;
}

/// The databases of the rows, in order.
std::string databases(std::string_view clauses) {
  const Answer answer = ask("SHOW POOLS " + std::string(clauses), three_pools());
  CAPTURE(answer.error.message);
  CHECK(answer.tags.ends_with("CZ"));
  std::string names;
  for (const auto& row : answer.rows) names += row.at(0);
  return names;
}

}  // namespace

TEST_CASE("WHERE leaves the rows in which all columns have the values asked for") {
  CHECK(databases("WHERE user = 'u'") == "ac");
  CHECK(databases("where USER=u and pool_mode=session;") == "a");
  CHECK(databases("WHERE \"user\" = 'it''s'") == "b");
  CHECK(databases("WHERE cl_active = 10") == "a");
  CHECK(databases("WHERE load_balance_hosts = round-robin") == "c");
  CHECK(databases("WHERE user = 'U'").empty());
  CHECK(databases("WHERE database = 'a;b'").empty());
}

TEST_CASE("nothing equals NULL") {
  CHECK(databases("WHERE load_balance_hosts = NULL").empty());
  CHECK(databases("WHERE user = 'NULL'").empty());
}

TEST_CASE("ORDER BY sorts numbers by value, NULL last; LIMIT cuts") {
  CHECK(databases("ORDER BY database") == "abc");
  CHECK(databases("ORDER BY cl_active") == "cba");
  CHECK(databases("ORDER BY cl_active DESC LIMIT 2") == "ab");
  CHECK(databases("ORDER BY pool_mode asc, database desc") == "bac");
  CHECK(databases("ORDER BY load_balance_hosts, database") == "cab");
  CHECK(databases("ORDER BY load_balance_hosts DESC, database") == "abc");
  CHECK(databases("LIMIT 0").empty());
  CHECK(databases("LIMIT ALL") == "bac");
  CHECK(databases("WHERE user = u ORDER BY database LIMIT 1") == "a");
}

TEST_CASE("a column that there is not is an error which names those that there are") {
  for (const auto* clauses : {"WHERE usr = 'u'", "ORDER BY usr", "WHERE user = u AND usr = 1"}) {
    CAPTURE(clauses);
    const Answer answer = ask("SHOW POOLS " + std::string(clauses), three_pools());
    CHECK(answer.tags == "EZ");
    CHECK(answer.error.sqlstate == "42703");
    CHECK(answer.error.message == "column \"usr\" does not exist");
    CHECK(answer.error.hint.starts_with("The columns are database, user, cl_active,"));
  }
}

TEST_CASE("clauses that are not whole are syntax errors at their place") {
  const auto message = [](std::string_view clauses) {
    const Answer answer = ask("SHOW POOLS " + std::string(clauses));
    CHECK(answer.tags == "EZ");
    CHECK(answer.error.sqlstate == "42601");
    return std::string(answer.error.message);
  };
  CHECK(message("WHERE") == "syntax error at end of input");
  CHECK(message("WHERE user") == "syntax error at end of input");
  CHECK(message("WHERE user = ") == "syntax error at end of input");
  CHECK(message("WHERE user = 'u") == "syntax error at or near \"'u\"");
  CHECK(message("WHERE user > 'u'") == "syntax error at or near \">\"");
  CHECK(message("WHERE user = u or 1=1") == "syntax error at or near \"or\"");
  CHECK(message("WHERE user = u; SHOW VERSION") == "syntax error at or near \";\"");
  CHECK(message("WHERE 'user' = u") == "syntax error at or near \"'user'\"");
  CHECK(message("ORDER database") == "syntax error at or near \"database\"");
  CHECK(message("LIMIT -1") == "syntax error at or near \"-1\"");
  CHECK(message("LIMIT 1 WHERE user = u") == "syntax error at or near \"WHERE\"");
}

TEST_CASE("Describe has the columns of the answer, and what is wrong with the clauses") {
  const auto describe = [](std::string_view text) {
    std::string bytes;
    admin::Console(FakeSource{}, {}).describe(text, false, bytes);
    return take_apart(std::move(bytes));
  };
  CHECK(describe("SHOW POOLS WHERE user = u").columns == ask("SHOW POOLS").columns);
  CHECK(describe("SHOW POOLS WHERE usr = u").error.sqlstate == "42703");
  CHECK(describe("SHOW FDS").error.sqlstate == "42501");
  CHECK(describe("SHOW nonsense").error.sqlstate == "08P01");
  for (const auto* text : {"", ";", "SET client_encoding = 'UTF8'", "PAUSE"}) {
    CAPTURE(text);
    CHECK(describe(text).tags == "n");
  }
}
