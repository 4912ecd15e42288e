#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

#include "look.hpp"

using pgproxy::sql::analyse;
using pgproxy::sql::check_flag;
using pgproxy::sql::Facts;
using pgproxy::sql::look;
using pgproxy::sql::Residue;
using pgproxy::sql::residue_count;
using pgproxy::sql::ResidueSet;
using pgproxy::sql::Shapes;
using pgproxy::sql::StatementKind;
using pgproxy::sql::Texts;
using namespace std::string_literals;
using enum Residue;

namespace {

using Names = std::vector<std::string>;

std::string describe(ResidueSet set) {
  std::string all;
  for (std::size_t index = 0; index < residue_count; ++index) {
    const auto residue = static_cast<Residue>(index);
    if (set.contains(residue)) all += "[" + std::string(to_string(residue)) + "]";
  }
  return all;
}

void check_leaves(ResidueSet expected, Texts texts) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    const Facts facts = look(text);
    CHECK(describe(facts.leaves) == describe(expected));
    CHECK(facts.kind != StatementKind::unknown);
  }
}

void check_kind(StatementKind kind, Texts texts) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    CHECK(look(text).kind == kind);
  }
}

}  // namespace

TEST_CASE("ordinary statements leave nothing") {
  check_leaves(
      {}, {"",
           " ",
           ";",
           ";;",
           "-- nothing",
           "SELECT abalance FROM pgbench_accounts",
           "SELECT count(*), lower(a), now(), coalesce(b, 1), current_user FROM t",
           "SELECT extract(year FROM a), trim(b), position('a' IN b), a AT TIME ZONE 'UTC', "
           "overlay(a PLACING 'b' FROM 1), substring(a FROM 1), a LIKE 'b' ESCAPE 'c'",
           "SELECT a SIMILAR TO 'b', xmlexists('a' PASSING b), a::int ARRAY[4], c IS NORMALIZED",
           "SELECT pg_catalog.now(), row_number() OVER (ORDER BY a), GROUPING(a)",
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
           "SELECT pg_notify('a', 'b')",
           "FETCH 10 FROM c",
           "CLOSE c",
           "DROP TABLE t",
           "DISCARD PLANS",
           "DISCARD SEQUENCES",
           "DISCARD TEMP",
           "CHECKPOINT"});
}

TEST_CASE("transactions leave nothing") {
  for (const std::string_view text :
       {"BEGIN", "START TRANSACTION READ ONLY", "END", "ABORT", "ROLLBACK TO SAVEPOINT a",
        "SAVEPOINT a", "RELEASE a", "COMMIT PREPARED 'x'", "PREPARE TRANSACTION 'x'",
        "prepare /* 2pc */ transaction 'x'"}) {
    CAPTURE(text);
    const Facts facts = look(text);
    CHECK(facts.leaves.empty());
    CHECK(facts.controls_transaction);
    CHECK(facts.kind == StatementKind::transaction);
  }
  CHECK(look("BEGIN; SELECT 1; COMMIT").controls_transaction);
  CHECK_FALSE(look("SELECT 1; SELECT 2").controls_transaction);
}

TEST_CASE("SET and RESET are settings, those of the transaction are not") {
  check_leaves({setting},
               {"SET x = 1", "set x to 1", "SET SESSION x = 1", "SET ROLE r", "RESET ALL",
                "SET TIME ZONE 'UTC'", "SET SESSION AUTHORIZATION a", "reset role",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "\n\tSeT x=1",
                "SET \"local\".x = 1", "SET local.x = 1", "select 1; set x=1",
                "BEGIN;SET x=1;COMMIT", "SET search_path = a, 'b'", "SET x TO DEFAULT"});
  check_leaves({}, {"SET LOCAL x = 1", "/* c */ SET LOCAL x=1", "set--c\nlocal x = 1",
                    "SET LOCAL search_path = a", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                    "SET CONSTRAINTS ALL DEFERRED"});
  check_flag(
      &Facts::sets_locally, true,
      {"SET LOCAL x = 1", "SELECT set_config('a', 'b', true)", "SELECT set_config('a','b',$1)"});
  check_flag(&Facts::sets_locally, false,
             {"SET x = 1", "SELECT set_config('a', 'b', false)", "SELECT 1", "BEGIN"});
}

TEST_CASE("settings and resets have names") {
  const auto names = [](std::string_view text) { return look(text).settings; };
  CHECK(names("SET Work_Mem = 1") == Names{"work_mem"});
  CHECK(names("SET App.Tenant = 'x'; SET b = 1; SET b = 2") == Names{"app.tenant", "b"});
  CHECK(names("SET TIME ZONE 'UTC'") == Names{"timezone"});
  CHECK(names("SET NAMES 'UTF8'") == Names{"client_encoding"});
  CHECK(names("SET ROLE a") == Names{"role"});
  CHECK(names("SET SCHEMA 'a'") == Names{"search_path"});
  CHECK(names("RESET SESSION AUTHORIZATION") == Names{"session_authorization"});
  CHECK(names("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE, "
              "DEFERRABLE") == Names{"default_transaction_deferrable",
                                     "default_transaction_isolation",
                                     "default_transaction_read_only"});
  CHECK(names("SET XML OPTION DOCUMENT") == Names{"xmloption"});
  CHECK(names("ALTER ROLE r SET x = 1") == Names{});
  CHECK(names("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET x = 1 AS ''") == Names{});

  CHECK(look("RESET Work_Mem").resets == Names{"work_mem"});
  CHECK(look("RESET Work_Mem").settings == Names{"work_mem"});
  CHECK(look("SET x TO DEFAULT").resets == Names{"x"});
  CHECK(look("RESET ALL").resets == Names{"all"});
  CHECK(look("DISCARD ALL").resets == Names{"all", "role"});
  CHECK(look("RESET SESSION AUTHORIZATION").resets == Names{"role", "session_authorization"});
  CHECK(look("SET SESSION AUTHORIZATION DEFAULT").resets == Names{"role", "session_authorization"});
  CHECK(look("SET SESSION AUTHORIZATION a").resets == Names{});
  CHECK(look("SET x = 1").resets == Names{});
}

TEST_CASE("set_config is a setting wherever it stands") {
  check_leaves(
      {setting},
      {"SELECT set_config('a', 'b', false)", "select pg_catalog.SET_CONFIG('a','b',f)",
       "SELECT \"set_config\"('a','b',false)", "INSERT INTO t SELECT set_config('a','b',false)",
       "WITH x AS (SELECT set_config('a','b',false)) SELECT 1",
       "EXPLAIN ANALYZE SELECT set_config('a','b',false)",
       "SELECT set_config('a'::text, $1, false)", "SELECT set_config('a','b','true'::bool)",
       "SELECT set_config('search_path', 'a', false)"});
  check_leaves({}, {"SELECT 'set_config'", "SELECT set_config('a', 'b', true)",
                    "SELECT set_config('search_path', 'a', true)",
                    "EXPLAIN SELECT set_config('a','b',false)"});
  check_leaves({any_setting, temporary_object},
               {"SELECT set_config($1, 'pg_temp', false)", "SELECT set_config($1::text, b, $2)",
                "SELECT set_config($1, 'a', false)"});
  // A name that is computed may be that of a custom setting, which PostgreSQL does not list.
  check_leaves({any_setting, temporary_object, hidden},
               {"SELECT set_config('a' || $1, b, false)", "SELECT set_config()",
                "SELECT set_config(name, setting, false) FROM pg_settings",
                "SELECT set_config(new_value => 'a', setting_name => 'b', is_local => false)"});
  check_leaves({setting, temporary_object},
               {"SELECT set_config('search_path', 'a,pg_temp', false)",
                "SELECT set_config('Search_Path', $1, false)",
                "SELECT set_config('search'\n'_path', 'pg_temp', false)"});
  check_leaves({any_setting}, {"SELECT set_limit(0.2)", "UPDATE pg_settings SET setting = 'x'"});
  check_leaves({setting, code}, {"SELECT app.set_config('a', 'b', false)"});
}

TEST_CASE("commands inside strings, names and comments are not commands") {
  check_leaves(
      {}, {"SELECT 'set x'", "SELECT ';SET x=1'", "SELECT 'it''s; SET x=1'", "SELECT \";SET x=1;\"",
           "SELECT \"a\"\";SET x=1\"", "SELECT 1 --;SET x=1", "SELECT 1 /* ;SET x=1; */",
           "SELECT 1 /* a /* b */ ;SET x=1; */", "SELECT $$;SET x=1;$$",
           "SELECT $a$ $b$ ;SET x=1; $$ $a$", "SELECT $\xc3\xa4$;SET x=1;$\xc3\xa4$",
           "SELECT N';SET x=1'", "SELECT B'01'", "SELECT U&';SET x=1'",
           R"(SELECT E'\';SET x=1;\\')", R"(SELECT e'\\\';SET x=1')", "SELECT E'a'\n'\\';SET x=1'",
           "SELECT E'a' --c\n '\\';SET x=1'"});
}

TEST_CASE("commands behind strings, names and comments are seen") {
  check_leaves({setting},
               {"SELECT 'a';SET x=1", "SELECT 'a''';SET x=1", "SELECT \"a\"\"\";SET x=1",
                "SELECT 1 --\n;SET x=1", "SELECT 1 --\r;SET x=1", "SELECT 1 /*/**/*/;SET x=1",
                "SELECT 1 */*c*/ 2;SET x=1", "/* a */ -- b\n SET x=1", "SELECT $$a$$;SET x=1",
                "SELECT $a$ $ $a$;SET x=1", "SELECT a$$;SET x=1;--$$", "SELECT 1 - 2 / 3;SET x=1",
                "SELECT '\\';SET x=1", R"(SELECT E'\\';SET x=1)", R"(SELECT E'a''\'';SET x=1)",
                R"(SELECT valuE'\';SET x=1)"});
}

TEST_CASE("without standard_conforming_strings backslashes escape in plain strings") {
  CHECK(look(R"(SELECT '\';SET x=1;')", false).leaves.empty());
  CHECK(look(R"(SELECT '\\';SET x=1)", false).leaves == ResidueSet{setting});
  CHECK(look(R"(SELECT "\";SET x=1)", false).leaves == ResidueSet{setting});
  CHECK(look(R"(SELECT $$\$$;SET x=1)", false).leaves == ResidueSet{setting});
  // Constants that are not left out would be read otherwise.
  CHECK(look(R"(SELECT set_config('a\'b', '', true))", false).kind == StatementKind::unknown);
  CHECK(look(R"(SELECT set_config('a', 'b\'', true))", false).leaves.empty());
}

TEST_CASE("temporary objects are seen in all their spellings") {
  check_leaves({temporary_object},
               {"CREATE TEMP TABLE t(a int)",
                "create temporary table t as select 1",
                "CREATE LOCAL TEMPORARY TABLE t()",
                "CREATE GLOBAL TEMP TABLE t()",
                "CREATE TEMP TABLE t() ON COMMIT DROP",
                "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
                "CREATE TEMP SEQUENCE s",
                "CREATE/**/TEMP TABLE t()",
                "SELECT 1 INTO TEMP t",
                "SELECT 1 INTO LOCAL TEMPORARY t",
                "WITH x AS (SELECT 1) SELECT * INTO temporary table t FROM x",
                "CREATE TABLE pg_temp.t(a int)",
                "CREATE TABLE \"pg_temp\".t(a int)",
                "SELECT * FROM pg_temp_12.t",
                "CREATE FUNCTION pg_temp.f() RETURNS int AS $$1$$",
                "CREATE DOMAIN pg_temp.d AS int",
                "CREATE TYPE pg_temp.c AS (a int)",
                "CREATE TYPE pg_temp.e AS ENUM ('a')",
                "ALTER TABLE t SET SCHEMA pg_temp",
                "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
                "EXPLAIN (ANALYZE, FORMAT JSON) CREATE TEMP TABLE t AS SELECT 1",
                "INSERT INTO pg_temp.t VALUES (1)",
                "SET LOCAL search_path = pg_temp, public",
                "SET LOCAL search_path TO 'pg_temp'"});
  check_leaves({temporary_object, setting},
               {"SET search_path = 'pg_temp'", "SET SCHEMA 'pg_temp'"});
  check_leaves({temporary_object, code},
               {"CREATE TEMP TABLE t AS EXECUTE p", "SELECT pg_temp.f()"});
  check_leaves({}, {"CREATE TABLE temp(a int)", "CREATE TABLE t(temp int)", "SELECT temp FROM t",
                    "SELECT 1 INTO t", "CREATE UNLOGGED TABLE t()", "SELECT pg_temp_reading FROM t",
                    "SELECT 'pg_temp'", "CREATE OR REPLACE VIEW temporary AS SELECT 1",
                    "EXPLAIN CREATE TEMP TABLE t AS SELECT 1"});
}

TEST_CASE("creating a function is judged by its head, not by its body's commands") {
  check_leaves(
      {},
      {"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET work_mem = '1MB' AS 'SET x=1'",
       "CREATE FUNCTION f() RETURNS int AS $$ BEGIN; SET x = 1; END $$ LANGUAGE plpgsql",
       "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT g(); END",
       "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; NOTIFY c)", "CREATE VIEW v AS SELECT f()"});
}

TEST_CASE("changing what is stored is not session state") {
  check_leaves(
      {}, {"ALTER ROLE r SET x = 1", "ALTER SYSTEM SET x = 1", "ALTER DATABASE d RESET x",
           "ALTER TABLE t SET (fillfactor = 70)", "GRANT SELECT ON t TO r",
           "SECURITY LABEL ON TABLE t IS 'x'", "IMPORT FOREIGN SCHEMA s FROM SERVER v INTO p"});
}

TEST_CASE("session advisory locks count, transaction ones do not") {
  check_leaves(
      {advisory_lock},
      {"SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock_shared(1,2)",
       "SELECT Pg_Advisory_Unlock_All()", "select pg_advisory_unlock(1)",
       "SELECT pg_advisory_lock_shared(1)", "SELECT pg_try_advisory_lock(1)",
       "SELECT pg_advisory_unlock_shared(1)", "SELECT 1 WHERE pg_advisory_lock(1) IS NULL"});
  check_leaves({},
               {"SELECT pg_advisory_xact_lock(1)", "SELECT pg_try_advisory_xact_lock_shared(1)"});
}

TEST_CASE("the other kinds are told apart") {
  check_leaves({listen}, {"LISTEN c", "unlisten *"});
  check_leaves({prepared_statement}, {"PREPARE p AS SELECT 1", "DEALLOCATE ALL", "deallocate p"});
  check_leaves({prepared_statement, setting}, {"PREPARE p AS SELECT set_config('a', 'b', false)"});
  check_leaves({setting, temporary_object, listen, advisory_lock, cursor, prepared_statement},
               {"DISCARD ALL"});
  check_leaves({setting, hidden}, {"SET seed = 0.5", "SELECT set_config('seed', '0.5', false)"});
  check_leaves({sequence_state}, {"SELECT lastval()", "SELECT currval('s')"});
  // What runs later.
  check_leaves({}, {"CREATE TABLE t(a int DEFAULT currval('s'), CHECK (f(a) > lastval()))",
                    "CREATE VIEW v AS SELECT lastval(), f()",
                    "CREATE RULE r AS ON INSERT TO t DO SELECT lastval()",
                    "CREATE POLICY p ON t USING (a = currval('s'))",
                    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW WHEN (f(new.a)) EXECUTE "
                    "FUNCTION h()"});
  check_leaves({temporary_object}, {"CREATE TABLE t(a int DEFAULT pg_temp.f())"});
  check_leaves({hidden},
               {"SELECT setseed(0.5)", "LOAD 'auto_explain'", "SELECT pg_backup_start('x')",
                "SET LOCAL seed = 0.5", "SELECT set_config('Seed', '0.5', true)",
                "SELECT pg_create_logical_replication_slot('s', 'p', true)"});
  check_leaves({cursor}, {"DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                          "declare c no scroll cursor with /* */ hold for select 1"});
  check_leaves({}, {"DECLARE c CURSOR FOR SELECT 1", "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
                    "DECLARE c BINARY INSENSITIVE SCROLL CURSOR FOR SELECT 1",
                    "DECLARE c ASENSITIVE NO SCROLL CURSOR FOR SELECT 1",
                    "DECLARE hold CURSOR FOR WITH x AS (SELECT 1) SELECT * FROM x"});
  check_leaves({code},
               {"DO $$ BEGIN END $$", "CALL p()", "EXECUTE p(1)", "SELECT f(1)",
                "CREATE EXTENSION e", "ALTER EXTENSION e UPDATE", "SELECT public.now()",
                "SELECT query_to_xml('select 1', true, true, '')", "CREATE TABLE t AS EXECUTE p"});
  check_leaves({code, hidden}, {"SELECT dblink_connect('c', 'x')"});
}

TEST_CASE("functions that are not known have names") {
  const auto names = [](std::string_view text) { return look(text).functions; };
  CHECK(names("SELECT F(1), s.g(h(2)), lower('a'), count(*) FROM k() ORDER BY f(3)") ==
        Names{"f", "g", "h", "k"});
  CHECK(names("SELECT \"F\"(1), pg_catalog.pg_catalog_x()") == Names{"f", "pg_catalog_x"});
  CHECK(names("SELECT count(*), now(), public.count(1)") == Names{"count"});
  CHECK(names("CALL p(f(1))") == Names{"f", "p"});
  CHECK(names("INSERT INTO t VALUES (DEFAULT, f(1)), (1, g(1))") == Names{"f", "g"});
  CHECK(names("EXPLAIN SELECT f()") == Names{});
}

TEST_CASE("kinds of statements") {
  using enum StatementKind;
  check_kind(empty, {"", " ; ;", "/* a */ -- b"});
  check_kind(several, {"SELECT 1; SELECT 2", "BEGIN;COMMIT"});
  check_kind(select, {"SELECT 1", "VALUES (1)", "TABLE t", "WITH x AS (SELECT 1) SELECT 1"});
  check_kind(insert, {"INSERT INTO t VALUES (1)", "WITH x AS (SELECT 1) INSERT INTO t SELECT 1"});
  check_kind(update, {"UPDATE t SET a = 1"});
  check_kind(StatementKind::remove, {"DELETE FROM t"});
  check_kind(merge, {"MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE"});
  check_kind(copy, {"COPY t TO STDOUT"});
  check_kind(show, {"SHOW x"});
  check_kind(explain, {"EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1"});
  check_kind(set, {"SET x = 1", "RESET x", "SET LOCAL x = 1", "SET TRANSACTION READ ONLY"});
  check_kind(StatementKind::cursor,
             {"DECLARE c CURSOR FOR SELECT 1", "FETCH c", "MOVE c", "CLOSE c"});
  check_kind(prepare, {"PREPARE p AS SELECT 1", "PREPARE p(int) AS SELECT $1"});
  check_kind(execute, {"EXECUTE p"});
  check_kind(deallocate, {"DEALLOCATE p"});
  check_kind(discard, {"DISCARD ALL"});
  check_kind(do_block, {"DO ''"});
  check_kind(call, {"CALL p()"});
  check_kind(other, {"SELECT 1 INTO t", "CREATE TABLE t()", "VACUUM", "LISTEN c", "LOCK t",
                     "CREATE TABLE t AS SELECT 1"});
}

TEST_CASE("what may write or draw from a sequence") {
  check_flag(
      &Facts::may_write, true,
      {"INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "COPY t FROM STDIN",
       "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x", "SELECT * FROM t FOR UPDATE",
       "SELECT nextval('s')", "SELECT f()", "DO ''", "CALL p()", "EXECUTE p", "SELECT 1 INTO t",
       "CREATE TABLE t()", "TRUNCATE t", "NOTIFY c", "COMMIT PREPARED 'a'", "COPY t TO PROGRAM 'a'",
       "EXPLAIN ANALYZE DELETE FROM t", "PREPARE p AS DELETE FROM t"});
  check_flag(&Facts::may_write, false,
             {"SELECT * FROM t", "SHOW x", "SET x = 1", "BEGIN", "COPY t TO STDOUT",
              "EXPLAIN DELETE FROM t", "DECLARE c CURSOR FOR SELECT * FROM t", "LISTEN c",
              "SELECT now()", "DISCARD ALL"});
  check_flag(&Facts::may_draw, true,
             {"INSERT INTO t VALUES (1)", "COPY t FROM STDIN", "SELECT nextval('s')", "SELECT f()",
              "MERGE INTO t USING s ON true WHEN NOT MATCHED THEN INSERT VALUES (1)", "DO ''",
              "UPDATE t SET a = DEFAULT", "WITH x AS (INSERT INTO t VALUES (1)) SELECT 1"});
  check_flag(&Facts::may_draw, false,
             {"SELECT * FROM t", "UPDATE t SET a = 1", "DELETE FROM t", "COPY t TO STDOUT"});
}

TEST_CASE("what may remove residue") {
  check_flag(
      &Facts::may_remove_residue, true,
      {"DROP TABLE t", "CLOSE c", "CLOSE ALL", "UNLISTEN c", "DEALLOCATE p", "DEALLOCATE ALL",
       "DISCARD ALL", "DISCARD TEMP", "SELECT pg_advisory_unlock(1)", "DROP OWNED BY r"});
  check_flag(&Facts::may_remove_residue, false,
             {"SELECT 1", "SELECT pg_advisory_lock(1)", "DISCARD PLANS", "LISTEN c", "COMMIT"});
}

TEST_CASE("what changes code") {
  check_flag(&Facts::changes_code, true,
             {"CREATE OR REPLACE FUNCTION f() RETURNS int AS ''",
              "ALTER FUNCTION f() VOLATILE",
              "DROP FUNCTION f()",
              "CREATE PROCEDURE p() AS ''",
              "CREATE VIEW v AS SELECT 1",
              "CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f()",
              "DROP TRIGGER g ON t",
              "ALTER TABLE t DISABLE TRIGGER ALL",
              "CREATE RULE r AS ON INSERT TO t DO NOTHING",
              "CREATE OPERATOR + (FUNCTION = f)",
              "CREATE CAST (a AS b) WITHOUT FUNCTION",
              "CREATE TYPE t AS (a int)",
              "CREATE DOMAIN d AS int CHECK (f(value))",
              "ALTER DOMAIN d DROP NOT NULL",
              "CREATE POLICY p ON t",
              "DROP POLICY p ON t",
              "CREATE EXTENSION e",
              "DROP EXTENSION e",
              "CREATE SCHEMA s",
              "DROP SCHEMA s CASCADE",
              "ALTER FUNCTION f() RENAME TO g",
              "ALTER FUNCTION f() SET SCHEMA s",
              "CREATE TABLE t(a int DEFAULT f())",
              "CREATE TABLE t (LIKE u INCLUDING ALL)",
              "CREATE DATABASE d",
              "DROP VIEW v",
              "DROP MATERIALIZED VIEW v",
              "CREATE UNLOGGED TABLE t(a int)",
              "CREATE UNLOGGED TABLE t AS SELECT 1",
              "SELECT 1 INTO UNLOGGED t"});
  check_flag(&Facts::changes_code, false,
             {"SELECT f()", "CREATE TABLE t(a int DEFAULT 1)", "DROP TABLE t",
              "CREATE INDEX ON t (a)", "CREATE ROLE r", "ALTER ROLE r SET x = 1", "GRANT r TO s",
              "TRUNCATE t", "ALTER INDEX i RENAME TO j", "CREATE TEMP TABLE t AS SELECT 1"});
}

TEST_CASE("what names prepared statements") {
  check_flag(&Facts::names_prepared, true,
             {"EXECUTE p", "EXPLAIN EXECUTE p", "EXPLAIN ANALYZE EXECUTE p", "DEALLOCATE p",
              "CREATE TABLE t AS EXECUTE p", "SELECT * FROM pg_prepared_statements",
              "SELECT * FROM pg_catalog.pg_prepared_statements"});
  check_flag(&Facts::names_prepared, false,
             {"DEALLOCATE ALL", "SELECT 1", "PREPARE p AS SELECT 1"});
}

TEST_CASE("what touches relations") {
  check_flag(&Facts::touches_relations, true,
             {"SELECT * FROM t", "INSERT INTO t VALUES (1)", "SELECT (SELECT a FROM t)",
              "COPY t TO STDOUT", "TRUNCATE t", "VACUUM", "CALL p()", "DO ''", "EXECUTE p",
              "DECLARE c CURSOR FOR TABLE t"});
  check_flag(&Facts::touches_relations, false, {"SELECT 1", "SELECT f(1)", "SET x = 1", "BEGIN"});
}

TEST_CASE("what we cannot judge is unknown") {
  for (const std::string_view text :
       {"IDENTIFY_SYSTEM", "CREATE_REPLICATION_SLOT s LOGICAL p",
        "START_REPLICATION SLOT s LOGICAL 0/0", "SELEKT 1", "SET", "SELECT '", "SELECT (1",
        "SELECT 1)", "PREPARE transaction(int) AS x"}) {
    CAPTURE(text);
    const Facts facts = look(text);
    CHECK(facts.kind == StatementKind::unknown);
    CHECK(facts.leaves == ResidueSet{code});
    CHECK(facts.may_write);
    CHECK(facts.may_draw);
    CHECK(facts.controls_transaction);
    CHECK(facts.sets_locally);
    CHECK(facts.may_remove_residue);
    CHECK(facts.changes_code);
    CHECK(facts.names_prepared);
    CHECK(facts.touches_relations);
  }
  CHECK(analyse("SELECT 1"s + '\0').kind == StatementKind::unknown);
  CHECK(analyse("SELECT 1" + std::string((16U << 10) - 8, ' ')).kind == StatementKind::select);
  CHECK(analyse("SELECT 1" + std::string((16U << 10) - 7, ' ')).kind == StatementKind::unknown);
  CHECK(look("SELECT U&\"set\\005fconfig\"('a','b',false)").leaves == ResidueSet{setting});
}

TEST_CASE("of several statements everything counts") {
  const Facts facts = look("SELECT f(); LISTEN c; SET x=1; CALL p(); BEGIN");
  CHECK(facts.leaves == ResidueSet{code, listen, setting});
  CHECK(facts.functions == Names{"f", "p"});
  CHECK(facts.controls_transaction);
  CHECK(facts.kind == StatementKind::several);
}

TEST_CASE("bytes outside ASCII do not confuse it") {
  CHECK(look("SELECT '\xff\xfe\x80'; SET x=1").leaves == ResidueSet{setting});
  CHECK(look("SELECT \xff FROM \x80;SET x=1").leaves == ResidueSet{setting});
}

TEST_CASE("deeply nested texts do no harm") {
  const auto nested = [](std::string_view head, std::string_view open, std::string_view inside,
                         std::string_view close = "") {
    constexpr std::size_t longest = std::size_t{16} << 10;
    const std::size_t depth =
        (longest - head.size() - inside.size()) / (open.size() + close.size());
    std::string text(head);
    for (std::size_t level = 0; level < depth; ++level) text += open;
    text += inside;
    for (std::size_t level = 0; level < depth; ++level) text += close;
    return text;
  };
  for (const std::string& text : {nested("", "(", ""),
                                  nested("SELECT ", "(", "1", ")"),
                                  nested("SELECT a", "+a", ""),
                                  nested("", "SELECT(", "SELECT 1", ")"),
                                  nested("SELECT ", "(SELECT ", "1", ")"),
                                  nested("SELECT ", "NOT ", "true"),
                                  nested("SELECT array", "[", "1", "]"),
                                  nested("", "[", ""),
                                  nested("SELECT ", "CASE WHEN ", "true", " THEN 1 END"),
                                  nested("SELECT ", "- ", "a"),
                                  nested("SELECT 1", "::a", ""),
                                  nested("SELECT 1", " UNION SELECT 1", ""),
                                  nested("SELECT 1", ";SELECT 1", ""),
                                  nested("SELECT ", "f(", "1", ")"),
                                  nested("SELECT 1 WHERE ", "EXISTS(SELECT ", "1", ")"),
                                  nested("SELECT a", "[1]", ""),
                                  nested("SELECT * FROM a", " JOIN a ON a", ""),
                                  nested("SELECT a", " IS NULL", ""),
                                  nested("", "WITH a AS (", "SELECT 1", ") SELECT 1"),
                                  nested("SELECT a", "||a", ""),
                                  nested("EXPLAIN ", "(", "SELECT 1", ")"),
                                  nested("SELECT a", ".a", ""),
                                  nested("CREATE SCHEMA a ", "CREATE TABLE a() ", "")}) {
    CAPTURE(text.substr(0, 40));
    const Facts direct = analyse(text);
    if (direct.kind == StatementKind::unknown) CHECK(direct.leaves == ResidueSet{code});
    const Facts through_shape = look(text);
    if (through_shape.kind == StatementKind::unknown)
      CHECK(through_shape.leaves == ResidueSet{code});
  }
  CHECK(analyse(nested("SELECT a", "+a", "")).kind == StatementKind::select);
}

TEST_CASE("a text and its shape tell the same") {
  for (const std::string_view text :
       {"SELECT f(1, 'a') FROM t WHERE a IN (1, 2)", "SELECT set_config('a', 'b', true)",
        "INSERT INTO t VALUES (1, f(2)), (3, f(4))", "DO 'a'", "SET a.b = 'c'"}) {
    CAPTURE(text);
    CHECK(analyse(text).kind == look(text).kind);
    CHECK(analyse(text).leaves == look(text).leaves);
    CHECK(analyse(text).functions == look(text).functions);
    CHECK(analyse(text).settings == look(text).settings);
  }
}

TEST_CASE("every kind of residue has its words") {
  for (std::size_t kind = 0; kind < residue_count; ++kind) {
    CHECK_FALSE(to_string(static_cast<Residue>(kind)).empty());
  }
  CHECK(to_string(setting) == "session setting");
}

TEST_CASE("texts whose literals become values when they are prepared") {
  for (const std::string_view text :
       Texts{"select '01/02/2026'::date", "  insert into t values ($$x$$)", "select $1, e'\\n'",
             "-- a comment\nset x to 'y'", "explain select 'x'", "declare c cursor for select 'x'",
             "create table t as select 'x'", "select a = NULL", "select 1 as \"\xc3\xbc\""}) {
    CAPTURE(text);
    CHECK(pgproxy::sql::keeps_literals(text));
  }
  for (const std::string_view text :
       Texts{"select 1", "select $1, $22", "", "$1", "set datestyle = 'iso'", " Set x to 'y'",
             "create database d owner 'x'", "execute s('x')", "do $$begin end$$",
             "prepare p as select 'x'"}) {
    CAPTURE(text);
    CHECK_FALSE(pgproxy::sql::keeps_literals(text));
  }
}
