#include "session/sql_names.hpp"

#include <doctest/doctest.h>

using namespace pgproxy::session;

namespace {

bool is(std::string_view text, SqlNames what, std::string_view name = {}) {
  const SqlNamesFound found = find_sql_names(text);
  INFO(text);
  return found.what == what && found.name == name;
}

}  // namespace

TEST_CASE("statements that name prepared ones are found, with the name") {
  CHECK(is("execute s", SqlNames::execute, "s"));
  CHECK(is("  /* x */ EXECUTE Plan7(1, 'a;b')", SqlNames::any));  // a ; may end a statement
  CHECK(is("-- c\n Execute Plan7 (1)", SqlNames::execute, "plan7"));
  CHECK(is("EXECUTE \"Odd \"\" name\"(2);", SqlNames::execute, "Odd \" name"));
  CHECK(is("DEALLOCATE dbdpg_p1_1", SqlNames::deallocate, "dbdpg_p1_1"));
  CHECK(is("deallocate prepare \"S_1\"", SqlNames::deallocate, "S_1"));
  CHECK(is("deallocate \"all\"", SqlNames::deallocate, "all"));
  CHECK(is("prepare s as select 1", SqlNames::prepare, "s"));
  CHECK(is("/* /* */ */ execute s", SqlNames::execute, "s"));
  CHECK(is("/*/* * / **/*/execute s", SqlNames::execute, "s"));
  CHECK(is("-- c\rexecute s", SqlNames::execute, "s"));
  CHECK(is("prepare s(int) as select $1", SqlNames::prepare, "s"));
}

TEST_CASE("what concerns all of them is told apart") {
  CHECK(is("deallocate all", SqlNames::deallocate_all));
  CHECK(is("DEALLOCATE PREPARE ALL;", SqlNames::deallocate_all));
  CHECK(is("discard all", SqlNames::discard));
  CHECK(is("select 1; execute s", SqlNames::any));
  CHECK(is("execute s; select 1", SqlNames::any));
  CHECK(is("explain (analyze) execute s", SqlNames::any));
  CHECK(is("create table t as execute s", SqlNames::any));
  CHECK(is("select * from PG_PREPARED_STATEMENTS", SqlNames::any));
  CHECK(is("select pg_prepared_statement()", SqlNames::any));
  CHECK(is("execute", SqlNames::any));
  CHECK(is("execute U&\"pgproxy\\005f1\"", SqlNames::any));
  CHECK(is("deallocate u&\"s\"", SqlNames::any));
  CHECK(find_sql_names("deallocate u&\"s\"").deallocates);
  CHECK(is("execute " + std::string(63, 'x'), SqlNames::execute, std::string(63, 'x')));
  CHECK(is("execute " + std::string(64, 'x'), SqlNames::any));
}

TEST_CASE("a PREPARE is found among other statements, too") {
  CHECK(find_sql_names("prepare s as select 1").prepares);
  CHECK(find_sql_names("select 1; prepare s as select 1").prepares);
  CHECK(find_sql_names("prepare u&\"s\" as select 1").prepares);
  CHECK(!find_sql_names("execute s; select 1").prepares);
}

TEST_CASE("most statements name none") {
  for (const char* text :
       {"", ";", "select 1", "select executed, prepared_at from t", "prepare transaction 'x'",
        "update t set a = 'execute s'", "-- execute s\nselect 1", "begin; select 2; commit",
        "create table prepared (n int)", "executes x", "/* unfinished", "/* /* */ execute s"}) {
    CAPTURE(text);
    CHECK(is(text, SqlNames::none));
  }
}

TEST_CASE("what could not be read is judged by its words") {
  for (const char* text : {"Execute s", "x deallocate", "select * from pg_Prepared_statements",
                           "select * from U&\"pg\\005fx\""}) {
    CAPTURE(text);
    CHECK(mentions_sql_names(text));
  }
  CHECK_FALSE(mentions_sql_names("slect 1"));
}
