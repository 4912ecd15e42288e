#include <algorithm>
#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

#include "look.hpp"

// What of a statement decides whether a standby may run it.

using pgproxy::sql::analyse;
using pgproxy::sql::check_flag;
using pgproxy::sql::Facts;
using pgproxy::sql::look;
using pgproxy::sql::StatementKind;
using pgproxy::sql::Texts;
using pgproxy::sql::TransactionStart;

namespace {

using Names = std::vector<std::string>;

void check_start(TransactionStart expected, Texts texts) {
  for (const std::string_view text : texts) {
    CAPTURE(text);
    const Facts facts = look(text);
    CHECK(facts.starts_transaction == expected);
    CHECK(facts.kind != StatementKind::unknown);
  }
}

}  // namespace

TEST_CASE("the modes of a transaction's beginning, in any spelling") {
  using enum TransactionStart;
  check_start(unspecified,
              {"BEGIN", "begin;", "BEGIN WORK", "begin transaction", "START TRANSACTION",
               "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN DEFERRABLE", "/* a */ begin -- b",
               ";;begin;;", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE NOT DEFERRABLE"});
  check_start(read_only, {"BEGIN READ ONLY", "BEGIN WORK READ ONLY", "begin transaction read only",
                          "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                          "START TRANSACTION READ ONLY ISOLATION LEVEL READ COMMITTED",
                          "begin/**/read\n--\nonly", "BEGIN READ ONLY, READ ONLY",
                          "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"});
  check_start(read_write, {"BEGIN READ WRITE", "BEGIN READ ONLY, READ WRITE",
                           "start transaction read write, isolation level read committed"});
  check_start(none, {"BEGIN READ ONLY; SELECT 1", "SELECT 1", "COMMIT", "SAVEPOINT a",
                     "COMMIT AND CHAIN", "SET TRANSACTION READ ONLY", "",
                     "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "BEGIN;BEGIN"});
}

TEST_CASE("a standby refuses READ WRITE even where READ ONLY follows") {
  check_start(TransactionStart::read_write,
              {"BEGIN READ WRITE, READ ONLY", "BEGIN READ WRITE READ ONLY"});
}

TEST_CASE("isolation levels of a beginning") {
  check_flag(&Facts::is_serializable, true,
             {"BEGIN ISOLATION LEVEL SERIALIZABLE",
              "start transaction read only, isolation level serializable",
              "BEGIN ISOLATION LEVEL SERIALIZABLE, ISOLATION LEVEL READ COMMITTED"});
  check_flag(&Facts::is_serializable, false,
             {"BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 'serializable'"});
  check_flag(&Facts::sets_isolation, true,
             {"BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN ISOLATION LEVEL SERIALIZABLE"});
  check_flag(&Facts::sets_isolation, false, {"BEGIN READ ONLY", "SELECT 1"});
}

TEST_CASE("what ends a transaction") {
  check_flag(&Facts::ends_transaction, true,
             {"COMMIT", "END", "commit work", "ROLLBACK", "ABORT TRANSACTION", "rollback;",
              "COMMIT AND CHAIN", "PREPARE TRANSACTION 'a'", "END AND NO CHAIN"});
  check_flag(&Facts::ends_transaction, false,
             {"ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a", "RELEASE a", "COMMIT PREPARED 'a'",
              "ROLLBACK PREPARED 'a'", "BEGIN", "SELECT 1; COMMIT", "PREPARE p AS SELECT 1"});
  check_flag(&Facts::chains, true, {"COMMIT AND CHAIN", "rollback work and chain"});
  check_flag(&Facts::chains, false, {"COMMIT", "COMMIT AND NO CHAIN", "BEGIN"});
}

TEST_CASE("queries that change and lock nothing by their form") {
  check_flag(
      &Facts::is_plain_query, true,
      {"SELECT 1", "select * from t;", "VALUES (1), (2)", "TABLE t", "(SELECT 1)",
       "WITH a AS (SELECT 1) SELECT * FROM a", "SELECT 1 UNION SELECT 2 ORDER BY 1",
       "SELECT f(a) FROM t WHERE EXISTS (SELECT 1 FROM u)", "SELECT a OPERATOR(pg_catalog.+) b",
       "-- c\nSELECT 'FOR UPDATE'", "SELECT a LIKE 'b', a BETWEEN 1 AND 2, a ~~ 'c' FROM t"});
  check_flag(&Facts::is_plain_query, false,
             {"SELECT 1; SELECT 2",
              "SELECT * INTO t FROM u",
              "SELECT 1 INTO t UNION SELECT 2",
              "SELECT * FROM t FOR UPDATE",
              "WITH a AS (INSERT INTO t VALUES (1) RETURNING *) TABLE a",
              "SELECT * FROM (SELECT 1 FROM t FOR KEY SHARE) a",
              "SHOW work_mem",
              "EXPLAIN SELECT 1",
              "WITH a AS (DELETE FROM t RETURNING 1) SELECT 1",
              "COPY (SELECT 1) TO STDOUT",
              "WITH a AS (WITH b AS (UPDATE t SET a = 1 RETURNING 1) TABLE b) TABLE a",
              "",
              "SELECT a OPERATOR(s.+) b",
              "SELECT 1 OPERATOR(s.=) ANY (SELECT 2)",
              "SELECT 1 FROM t ORDER BY a USING OPERATOR(s.<)",
              "SELECT 1 FROM \"s.t\"",
              "SELECT \"s.f\"()",
              "DECLARE c CURSOR FOR SELECT 1",
              "EXECUTE p",
              "INSERT INTO t VALUES (1)",
              "PREPARE p AS SELECT 1",
              "FETCH 1 FROM c"});
  CHECK_FALSE(look("SELECT (").is_plain_query);
}

TEST_CASE("row locks, wherever they are") {
  check_flag(&Facts::locks_rows, true,
             {"SELECT * FROM t FOR UPDATE", "SELECT 1 FROM t FOR NO KEY UPDATE SKIP LOCKED",
              "SELECT 1 FROM t FOR SHARE OF t NOWAIT", "WITH a AS (TABLE t FOR KEY SHARE) TABLE a",
              "SELECT (SELECT 1 FROM t FOR UPDATE)"});
  check_flag(&Facts::locks_rows, false, {"SELECT * FROM t", "UPDATE t SET a = 1"});
}

TEST_CASE("all functions of a plain query, each once") {
  CHECK(
      look("SELECT count(*), Lower(a), lower(b), s.F(1), pg_catalog.now() FROM t").all_functions ==
      Names{"count", "lower", "pg_catalog.now", "s.f"});
  CHECK(look("SELECT * FROM g(1) x, LATERAL (SELECT h(x)) y ORDER BY i(a)").all_functions ==
        Names{"g", "h", "i"});
  CHECK(look("SELECT extract(year FROM a)").all_functions == Names{"pg_catalog.extract"});
  CHECK(look("SELECT coalesce(a, b), current_user, \"F\"()").all_functions == Names{"f"});
  CHECK(look("SELECT 1").all_functions.empty());
  CHECK(look("INSERT INTO t VALUES (f())").all_functions.empty());
}

TEST_CASE("tables and views of a plain query, without the names of its WITH") {
  CHECK(look("SELECT * FROM b, s.a JOIN b x ON true, \"B\"").relations == Names{"B", "b", "s.a"});
  CHECK(look("SELECT 1 FROM d.s.t").relations == Names{"s.t"});
  CHECK(look("WITH a AS (SELECT * FROM b) SELECT * FROM a, c").relations == Names{"b", "c"});
  CHECK(look("TABLE t").relations == Names{"t"});
  CHECK(look("SELECT (SELECT 1 FROM u), g FROM generate_series(1, 2) g").relations == Names{"u"});
  CHECK(look("SELECT 1").relations.empty());
}

TEST_CASE("a name of WITH is known where it is, and nowhere else") {
  // Its own query reads the table of that name.
  CHECK(look("WITH t AS (SELECT * FROM t) SELECT * FROM t").relations == Names{"t"});
  CHECK(look("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) TABLE t").relations.empty());
  CHECK(look("WITH a AS (TABLE b), b AS (TABLE a) SELECT 1 FROM a, b").relations == Names{"b"});
  CHECK(look("WITH RECURSIVE a AS (TABLE b), b AS (TABLE a) TABLE a").relations.empty());
  CHECK(look("SELECT * FROM a, (WITH a AS (SELECT 1) TABLE a) b").relations == Names{"a"});
  CHECK(look("WITH a AS (SELECT 1) SELECT * FROM s.a").relations == Names{"s.a"});
  CHECK(look("WITH a AS (SELECT 1) SELECT 1 UNION SELECT 1 FROM (SELECT 1 FROM a) b")
            .relations.empty());
  CHECK(look("(WITH a AS (SELECT 1) TABLE a) UNION TABLE a").relations == Names{"a"});
}

TEST_CASE("what speaks of the server, or locks it") {
  check_flag(&Facts::speaks_of_server, true,
             {"SELECT pg_advisory_xact_lock(1)",
              "SELECT pg_try_advisory_lock_shared(1, 2)",
              "SELECT * FROM pg_stat_activity",
              "TABLE pg_catalog.pg_statio_user_tables",
              "SELECT pg_stat_get_activity(1)",
              "SELECT 1 FROM pg_locks",
              "SELECT pg_current_wal_lsn()",
              "SELECT pg_walfile_name('0/0')",
              "SELECT pg_switch_wal()",
              "SELECT pg_last_wal_replay_lsn()",
              "SELECT pg_is_in_recovery()",
              "TABLE pg_cursors",
              "TABLE pg_prepared_statements",
              "TABLE pg_prepared_xacts",
              "SELECT pg_backend_pid()",
              "SELECT pg_cancel_backend(1)",
              "SELECT pg_terminate_backend(1)",
              "SELECT pg_export_snapshot()",
              "SELECT pg_replication_origin_progress('a', true)",
              "TABLE pg_replication_slots",
              "SELECT pg_create_logical_replication_slot('a', 'b')",
              "SELECT txid_current()",
              "SELECT pg_current_xact_id()",
              "SELECT txid_status(1)",
              "SELECT inet_server_addr()",
              "SELECT pg_postmaster_start_time()",
              "SELECT pg_notify('a', 'b')",
              "SELECT nextval('s')",
              "SELECT setval('s', 1)",
              "SELECT currval('s'), lastval()",
              "SELECT lo_get(1)",
              "SELECT * FROM dblink('a', 'b') AS t(a int)",
              "SELECT PG_CATALOG.PG_Is_In_Recovery()",
              "SELECT (SELECT 1 FROM pg_locks LIMIT 1)",
              "EXPLAIN ANALYZE SELECT pg_advisory_lock(1)",
              "SELECT 1; SELECT pg_backend_pid()",
              "TABLE pg_settings",
              "SELECT current_setting('Transaction_read_only')",
              "SELECT pg_catalog.current_setting('in_hot_standby', true)",
              "SELECT current_setting($1)",
              "SELECT current_setting(setting) FROM t",
              "DECLARE c CURSOR FOR TABLE pg_locks",
              "PREPARE p AS SELECT pg_backend_pid()",
              "COPY (SELECT pg_backend_pid()) TO STDOUT"});
  check_flag(&Facts::speaks_of_server, false,
             {"SELECT 1", "SELECT current_setting('a')", "SELECT pg_sleep(1)", "TABLE pg_stats",
              "TABLE pg_statistic", "SELECT now(), f()", "SHOW work_mem",
              "SELECT 'pg_locks', pg_backend_pid FROM t", "SELECT pg_wal_lsn_diff(a, b) FROM t",
              "BEGIN", "INSERT INTO t VALUES (1)"});
  CHECK(look("SELECT (").speaks_of_server);
}

TEST_CASE("advisory locks") {
  check_flag(&Facts::locks_server, true,
             {"SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_xact_lock(1)",
              "SELECT pg_advisory_unlock_all()", "SELECT f(pg_catalog.pg_advisory_xact_lock(1))",
              "EXPLAIN ANALYZE SELECT pg_advisory_lock(1)"});
  check_flag(&Facts::locks_server, false,
             {"SELECT pg_backend_pid()", "SELECT 'pg_advisory_lock'", "SELECT * FROM pg_locks",
              "EXPLAIN SELECT pg_advisory_lock(1)"});
}

TEST_CASE("a text and its shape tell the same of where it may run") {
  for (const std::string_view text :
       Texts{"SELECT f(1) FROM t WHERE a IN (g(1), g(2)) OR b IN (1, 2)",
             "VALUES (1, f(2)), (3, f(4)), (5, (SELECT 1 FROM v))",
             "WITH a AS (SELECT 1) SELECT * FROM a, b WHERE c = ANY (ARRAY[1, 2])"}) {
    CAPTURE(text);
    const Facts direct = analyse(text);
    const Facts through_shape = look(text);
    CHECK(direct.is_plain_query);
    CHECK(through_shape.is_plain_query);
    CHECK(direct.all_functions == through_shape.all_functions);
    CHECK(direct.relations == through_shape.relations);
  }
}
