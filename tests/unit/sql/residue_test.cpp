#include "pgproxy/sql/residue.hpp"

#include <doctest/doctest.h>
#include <initializer_list>
#include <string>
#include <string_view>

using pgproxy::sql::may_leave_residue;
using pgproxy::sql::Residue;
using enum Residue;
using namespace std::string_literals;

namespace doctest {
template <>
struct StringMaker<Residue> {
  static String convert(Residue residue) {
    const std::string_view text = to_string(residue);
    return {text.data(), static_cast<String::size_type>(text.size())};
  }
};
}  // namespace doctest

namespace {

Residue look(std::string_view text) {
  return may_leave_residue(text, true);
}

void check_all(Residue expected, std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    CHECK(look(text) == expected);
  }
}

}  // namespace

TEST_CASE("ordinary statements leave nothing") {
  check_all(none, {"",
                   " ",
                   ";",
                   ";;",
                   "-- nothing",
                   "SELECT abalance FROM pgbench_accounts",
                   "UPDATE t SET a=1",
                   "DELETE FROM t",
                   "VALUES (1)",
                   "TABLE t",
                   "(SELECT 1)",
                   "((select 1) union (select 2))",
                   "INSERT INTO t VALUES (1)",
                   "INSERT INTO t(a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a",
                   "MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING",
                   "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
                   "COPY t FROM STDIN",
                   "COPY (SELECT 1) TO STDOUT",
                   "SHOW search_path",
                   "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
                   "EXPLAIN ANALYZE VERBOSE UPDATE t SET a=1",
                   "explain (select 1)",
                   "VACUUM FULL t",
                   "NOTIFY c, 'x'",
                   "LOCK TABLE t",
                   "SELECT nextval('s')",
                   "EXECUTE p(1)",
                   "FETCH 10 FROM c",
                   "CLOSE c"});
}

TEST_CASE("transactions leave nothing") {
  check_all(none, {"BEGIN", "BEGIN; COMMIT", "START TRANSACTION READ ONLY", "END", "ABORT",
                   "ROLLBACK TO SAVEPOINT a", "SAVEPOINT a", "RELEASE a", "COMMIT PREPARED 'x'",
                   "PREPARE TRANSACTION 'x'", "prepare /* 2pc */ transaction 'x'"});
}

TEST_CASE("SET and RESET are settings, those of the transaction are not") {
  check_all(setting, {"SET x = 1", "set x to 1", "SET SESSION x = 1", "SET ROLE r", "RESET ALL",
                      "SET TIME ZONE 'UTC'", "SET SESSION AUTHORIZATION a", "reset role",
                      "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET \"local\".x = 1",
                      "SET", "select 1; set x=1", "BEGIN;SET x=1;COMMIT", "\n\tSeT x=1"});
  check_all(none, {"SET LOCAL x = 1", "/* c */ SET LOCAL x=1", "set--c\nlocal x = 1",
                   "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET CONSTRAINTS ALL DEFERRED"});
}

TEST_CASE("a custom setting whose class is called local is the session's") {
  check_all(setting, {"SET local.x = 1", "SET transaction /* */ . x = 1", "SET constraints.x = 1"});
}

TEST_CASE("set_config is a setting wherever it stands") {
  check_all(setting,
            {"SELECT set_config('a', 'b', false)", "select pg_catalog.SET_CONFIG('a','b',f)",
             "SELECT \"set_config\"('a','b',false)", "SELECT \"pg_catalog\".\"set_config\"()",
             "INSERT INTO t SELECT set_config('a','b',false)",
             "WITH x AS (SELECT set_config('a','b',false)) SELECT 1",
             "EXPLAIN ANALYZE SELECT set_config('a','b',false)", "SELECT set_limit(0.2)",
             "SELECT 1set_config('a','b',false)"});
  check_all(none,
            {"SELECT 'set_config'", "SELECT \"SET_CONFIG\"()", "SELECT set_config2()",
             "SELECT myset_config()", "SELECT \xc3\xa4set_config()", "SELECT a$set_config()"});
}

TEST_CASE("commands inside strings, names and comments are not commands") {
  check_all(none, {"SELECT 'set x'", "SELECT ';SET x=1'", "SELECT 'it''s; SET x=1'",
                   "SELECT \";SET x=1;\"", "SELECT \"a\"\";SET x=1\"", "SELECT 1 --;SET x=1",
                   "SELECT 1 /* ;SET x=1; */", "SELECT 1 /* a /* b */ ;SET x=1; */",
                   "SELECT $$;SET x=1;$$", "SELECT $a$ $b$ ;SET x=1; $$ $a$",
                   "SELECT $\xc3\xa4$;SET x=1;$\xc3\xa4$", "SELECT 1$$;SET x=1;$$",
                   "SELECT N';SET x=1'", "SELECT B'01;SET x'", "SELECT U&';SET x=1\\'"});
}

TEST_CASE("commands behind strings, names and comments are seen") {
  check_all(setting, {"SELECT 'a';SET x=1", "SELECT 'a''';SET x=1", "SELECT \"a\"\"\";SET x=1",
                      "SELECT 1 --\n;SET x=1", "SELECT 1 --\r;SET x=1", "SELECT 1 /*/**/*/;SET x=1",
                      "SELECT 1 */*c*/ 2;SET x=1", "/* a */ -- b\n SET x=1", "SELECT $$a$$;SET x=1",
                      "SELECT $a$ $ $a$;SET x=1", "SELECT $1;SET x=$2", "SELECT a$$;SET x=1;--$$",
                      "SELECT 1 - 2 / 3;SET x=1", "SELECT U&'\\';SET x=1", "SELECT '\\';SET x=1"});
}

TEST_CASE("E'' strings escape quotes by backslash") {
  check_all(none, {R"(SELECT E'\';SET x=1;\\')", R"(SELECT e'\\\';SET x=1')",
                   "SELECT E'a'\n'\\';SET x=1'", "SELECT E'a' --c\n '\\';SET x=1'"});
  check_all(setting, {R"(SELECT E'\\';SET x=1)", R"(SELECT E'a''\'';SET x=1)",
                      R"(SELECT valuE'\';SET x=1)"});
}

TEST_CASE("without standard_conforming_strings backslashes escape in plain strings") {
  CHECK(may_leave_residue(R"(SELECT '\';SET x=1;')", false) == none);
  CHECK(may_leave_residue(R"(SELECT '\\';SET x=1)", false) == setting);
  CHECK(may_leave_residue(R"(SELECT '\';SET x=1;')", true) == unknown);
  CHECK(may_leave_residue(R"(SELECT "\";SET x=1)", false) == setting);
  CHECK(may_leave_residue(R"(SELECT $$\$$;SET x=1)", false) == setting);
}

TEST_CASE("temporary objects are seen in all their spellings") {
  check_all(temporary_object,
            {"CREATE TEMP TABLE t(a int)", "create temporary table t as select 1",
             "CREATE LOCAL TEMPORARY TABLE t()", "CREATE GLOBAL TEMP TABLE t()",
             "CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "CREATE TEMP SEQUENCE s",
             "CREATE/**/TEMP TABLE t()", "SELECT 1 INTO TEMP t", "SELECT 1 INTO LOCAL TEMPORARY t",
             "WITH x AS (SELECT 1) SELECT * INTO temporary table t FROM x",
             "CREATE TABLE pg_temp.t(a int)", "CREATE TABLE \"pg_temp\".t(a int)",
             "SELECT * FROM pg_temp_12.t", "CREATE FUNCTION pg_temp.f() RETURNS int AS $$1$$",
             "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
             "EXPLAIN (ANALYZE, FORMAT JSON) CREATE TEMP TABLE t AS SELECT 1",
             "INSERT INTO pg_temp.t VALUES (1)", "SET LOCAL search_path = pg_temp, public",
             "SET LOCAL search_path TO 'pg_temp'"});
  check_all(none, {"CREATE TABLE temp(a int)", "CREATE TABLE t(temp int)", "SELECT temp FROM t",
                   "SELECT 1 INTO t", "CREATE UNLOGGED TABLE t()", "SELECT pg_temp_reading FROM t",
                   "SELECT 'pg_temp'", "CREATE OR REPLACE VIEW temporary AS SELECT 1"});
}

TEST_CASE("creating a function is judged by its head, not by its body's commands") {
  check_all(none,
            {"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET work_mem = '1MB' AS 'SET x=1'",
             "CREATE FUNCTION f() RETURNS int AS $$ BEGIN; SET x = 1; END $$ LANGUAGE plpgsql",
             "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
             "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; NOTIFY c)"});
}

TEST_CASE("changing what is stored is not session state") {
  check_all(none,
            {"ALTER ROLE r SET x = 1", "ALTER SYSTEM SET x = 1", "ALTER DATABASE d RESET x",
             "ALTER TABLE t SET (fillfactor = 70)", "GRANT SELECT ON t TO r",
             "SECURITY LABEL ON TABLE t IS 'x'", "IMPORT FOREIGN SCHEMA s FROM SERVER v INTO p"});
}

TEST_CASE("session advisory locks count, transaction ones do not") {
  check_all(advisory_lock, {"SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock_shared(1,2)",
                            "SELECT Pg_Advisory_Unlock_All()", "select pg_advisory_unlock(1)",
                            "SELECT pg_advisory_lock_shared(1)", "SELECT pg_try_advisory_lock(1)",
                            "SELECT pg_advisory_unlock_shared(1)"});
  check_all(none,
            {"SELECT pg_advisory_xact_lock(1)", "SELECT pg_try_advisory_xact_lock_shared(1)"});
}

TEST_CASE("the other kinds are told apart") {
  check_all(listen, {"LISTEN c", "unlisten *"});
  check_all(prepared_statement,
            {"PREPARE p AS SELECT 1", "DEALLOCATE ALL", "deallocate p",
             "PREPARE transaction AS SELECT 1", "PREPARE transaction(int) AS x"});
  check_all(discard, {"DISCARD ALL", "discard temp"});
  check_all(sequence_state, {"SELECT lastval()", "SELECT currval('s')"});
  check_all(unknown, {"SELECT setseed(0.5)"});
  check_all(setting, {"UPDATE pg_settings SET setting = 'x' WHERE name = 'work_mem'"});
  check_all(cursor, {"DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                     "declare c no scroll cursor with /* */ hold for select 1"});
  check_all(none, {"DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
                   "DECLARE hold CURSOR FOR WITH x AS (SELECT 1) SELECT * FROM x"});
}

TEST_CASE("what we cannot judge is unknown") {
  check_all(unknown,
            {"DO $$ BEGIN END $$", "CALL p()", "LOAD 'auto_explain'", "IDENTIFY_SYSTEM",
             "CREATE_REPLICATION_SLOT s LOGICAL p", "START_REPLICATION SLOT s LOGICAL 0/0",
             "SELEKT 1", "SELECT dblink_connect('c', 'x')", "SELECT pg_backup_start('x')",
             "SELECT pg_create_logical_replication_slot('s', 'p', true)",
             "SELECT U&\"set\\005fconfig\"('a','b',false)", "INSERT INTO U&\"x\" VALUES (1)"});
}

TEST_CASE("text that does not end properly is unknown") {
  check_all(unknown,
            {"SELECT '", "SELECT 'a''", "SELECT E'\\", "SELECT E'\\'", "SELECT \"a", "SELECT $$a$",
             "SELECT $a$ $A$", "/*", "SELECT 1 /* /* */", "/*/", "SELECT (1", "SELECT 1)",
             "SET LOCAL /*", "PREPARE /*", "SELECT 1 INTO /*", "SELECT E'a' /*"});
}

TEST_CASE("a text of more than 64 KiB is unknown") {
  const std::string text = "SELECT 1" + std::string((64U << 10) - 8, ' ');
  CHECK(look(text) == none);
  CHECK(look(text + " ") == unknown);
}

TEST_CASE("of several statements the first verdict counts, unknown before all") {
  CHECK(look("SELECT 1; LISTEN c; SET x=1") == listen);
  CHECK(look("SET x=1; LISTEN c; CALL p()") == unknown);
  CHECK(look("SET x=1; SELECT '") == unknown);
  CHECK(look("PREPARE p AS SELECT set_config('a','b',false)") == prepared_statement);
}

TEST_CASE("bytes outside ASCII and NUL do not confuse it") {
  CHECK(look("SELECT '\xff\xfe\x80'; SET x=1") == setting);
  CHECK(look("SELECT \xff FROM \x80"s + '\0' + ";SET x=1") == setting);
}

TEST_CASE("every kind of residue has its words") {
  for (int kind = 0; kind <= static_cast<int>(unknown); ++kind) {
    CHECK_FALSE(to_string(static_cast<Residue>(kind)).empty());
  }
  CHECK(to_string(setting) == "session setting");
}
