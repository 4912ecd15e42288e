"""psycopg 3: what it prepares, pipelines, copies and hears, beside other clients."""

import contextlib
import threading
import unittest

import noise
import psycopg
from harness import eventually

TURNS = 12  # so that every server has its turn


def value(connection, sql, parameters=None):
    return connection.execute(sql, parameters).fetchone()[0]


class Psycopg(noise.ClientTest):

    def test_prepared_statements(self):
        def work(target):
            with target.connect(prepare_threshold=0) as one, target.connect(prepare_threshold=5) as two:
                for turn in range(2 * TURNS):
                    self.assertEqual(value(one, "select %s::int + 1", [turn]), turn + 1)
                    self.assertEqual(value(two, "select %s::int - 1", [turn]), turn - 1)
                    self.assertEqual(one.execute("select %b::int8, %b::text", [turn, "é"]).fetchone(), (turn, "é"))
                return [row[0] for row in one.execute("select statement from pg_prepared_statements where statement like '%::int +%'")]
        self.both(work)

    def test_prepared_statements_are_evicted_and_deallocated(self):
        """psycopg sends DEALLOCATE for what its cache drops, DEALLOCATE ALL after a rollback or DDL."""
        def work(target):
            with target.connect(prepare_threshold=0) as connection:
                connection.prepared_max = 3
                for turn in range(TURNS):
                    for number in range(6):
                        self.assertEqual(value(connection, f"select %s::int + {number}", [turn]), turn + number)
                connection.execute("drop table if exists psycopg_changed")
                connection.execute("create table psycopg_changed (v int)")
                for statement in ("drop table psycopg_changed", "rollback", "select 1"):
                    for turn in range(4):
                        self.assertEqual(value(connection, "select %s::int * 2", [turn]), 2 * turn)
                    connection.execute(statement)
                for name in ("never_prepared", "_pg3_0"):
                    with self.assertRaises(psycopg.errors.InvalidSqlStatementName):
                        connection.execute(f"execute {name}")
                connection.execute("deallocate all")  # said by the application it goes unnoticed by psycopg
                with self.assertRaises(psycopg.errors.InvalidSqlStatementName):
                    value(connection, "select %s::int * 2", [1])
        self.both(work)

    def test_the_same_text_in_two_schemas(self):
        def work(target):
            with target.connect(prepare_threshold=0) as red, target.connect(prepare_threshold=0) as blue:
                both = {"red": red, "blue": blue}
                for colour, connection in both.items():
                    connection.execute(f"drop schema if exists psycopg_{colour} cascade")
                    connection.execute(f"create schema psycopg_{colour}")
                    connection.execute(f"set search_path = psycopg_{colour}")
                    connection.execute(f"create table painted as select '{colour}' as colour")
                for _ in range(TURNS):
                    for colour, connection in both.items():
                        self.assertEqual(value(connection, "select colour from painted"), colour)
                red.execute("set search_path = psycopg_blue")
                for _ in range(TURNS):
                    self.assertEqual({value(connection, "select colour from painted") for connection in both.values()}, {"blue"})
        self.both(work)

    def test_pipelines(self):
        def work(target):
            with target.connect(prepare_threshold=0) as connection, target.connect() as other:
                connection.execute("drop table if exists psycopg_piped")
                connection.execute("create table psycopg_piped (n int primary key)")
                for turn in range(4):
                    with connection.pipeline() as pipeline:
                        cursors = [connection.execute("select %s::int", [n]) for n in range(200)]
                        pipeline.sync()
                        self.assertEqual([cursor.fetchone()[0] for cursor in cursors], list(range(200)))
                        connection.cursor().executemany("insert into psycopg_piped values (%s)", [(100 * turn + n,) for n in range(100)])
                    with self.assertRaises(psycopg.errors.UniqueViolation), connection.pipeline():
                        connection.execute("insert into psycopg_piped values (-1)")
                        connection.execute("insert into psycopg_piped values (1)")
                    with connection.pipeline(), connection.transaction():
                        connection.execute("insert into psycopg_piped values (-2)")
                        connection.execute("delete from psycopg_piped where n < 0")
                    self.assertEqual(value(other, "select count(*) from psycopg_piped"), 100 * (turn + 1))
        self.both(work)

    def test_server_side_cursors(self):
        def work(target):
            with target.connect(autocommit=False, prepare_threshold=0) as connection:
                for options in ({}, {"scrollable": True}, {"withhold": True}):
                    with connection.cursor("cursor name", **options) as cursor:
                        cursor.execute("select generate_series(1, %s)", [300])
                        self.assertEqual([n for n, in cursor.fetchmany(5)], [1, 2, 3, 4, 5])
                        if "withhold" in options:
                            connection.commit()
                        if "scrollable" in options:
                            cursor.scroll(0, mode="absolute")
                            self.assertEqual(cursor.fetchone(), (1,))
                        self.assertEqual(list(cursor)[-1], (300,))
                    connection.commit()
        self.both(work)

    def test_copy(self):
        rows = [(n, f"row\t{n}\n") for n in range(5000)]

        def work(target):
            with target.connect() as connection, connection.cursor() as cursor:
                cursor.execute("drop table if exists psycopg_copied")
                cursor.execute("create table psycopg_copied (n int, t text)")
                for form in ("", " (format binary)"):
                    with cursor.copy(f"copy psycopg_copied from stdin{form}") as copy:
                        copy.set_types(["int4", "text"])
                        for row in rows:
                            copy.write_row(row)
                    with cursor.copy(f"copy (select * from psycopg_copied order by n) to stdout{form}") as copy:
                        copy.set_types(["int4", "text"])
                        self.assertEqual(list(copy.rows()), rows)
                    with self.assertRaises(psycopg.errors.QueryCanceled):
                        with cursor.copy(f"copy psycopg_copied from stdin{form}") as copy:
                            copy.set_types(["int4", "text"])
                            copy.write_row(rows[0])
                            raise ValueError("psycopg answers this with CopyFail")
                    self.assertEqual(value(connection, "select count(*) from psycopg_copied"), len(rows))
                    cursor.execute("truncate psycopg_copied")
        self.both(work)

    def test_notifications(self):
        def work(target):
            with target.connect() as listener, target.connect() as notifier:
                listener.execute("listen psycopg_news")
                for turn in range(TURNS):
                    notifier.execute("select pg_notify('psycopg_news', %s)", [f"turn {turn}"])
                notifier.execute("notify psycopg_other, 'not heard'")
                heard = listener.notifies()
                payloads = [next(heard).payload for _ in range(TURNS)]
                heard.close()
                listener.execute("unlisten *")
                return payloads
        self.both(work)

    def test_cancel(self):
        def work(target):
            with target.connect() as connection, target.connect() as observer:
                def cancel(mark):
                    active = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like %s"
                    eventually(lambda: value(observer, active, [f"%{mark} %"]), "the query runs")
                    connection.cancel()
                for turn in range(3):
                    mark = f"psycopg cancels {turn}"
                    canceller = threading.Thread(target=cancel, args=[mark])
                    canceller.start()
                    with self.assertRaises(psycopg.errors.QueryCanceled):
                        connection.execute(f"select pg_sleep(60) /* {mark} */")
                    canceller.join()
                    for _ in range(3):
                        self.assertEqual(value(connection, "select 1"), 1)
        self.both(work)

    def test_two_phase_commit(self):
        """The prepared transaction is the server's: any connection may end it."""
        def work(target):
            with target.connect() as reader:
                reader.execute("drop table if exists psycopg_phased")
                reader.execute("create table psycopg_phased (n int)")
                for turn in range(4):
                    with contextlib.closing(target.connect(autocommit=False)) as preparing, target.connect() as committing:
                        xid = preparing.xid(1, f"transaction {turn}", "branch")
                        preparing.tpc_begin(xid)
                        preparing.execute("insert into psycopg_phased values (%s)", [turn])
                        preparing.tpc_prepare()
                        self.assertEqual([found.gtrid for found in committing.tpc_recover()], [xid.gtrid])
                        end = committing.tpc_commit if turn % 2 else committing.tpc_rollback
                        end(xid)
                return [n for n, in reader.execute("select n from psycopg_phased order by n")]
        self.both(work)

    def test_settings_that_the_driver_reads(self):
        """psycopg renders timestamps and texts as the server reports TimeZone and client_encoding."""
        def work(target):
            with target.connect() as one, target.connect(client_encoding="latin1") as two:
                one.execute("set timezone = 'Asia/Kathmandu'")
                two.execute("set time zone 'America/Caracas'")
                seen = []
                for _ in range(TURNS):
                    for connection in (one, two):
                        moment = value(connection, "select '2024-02-29 12:00:00+00'::timestamptz")
                        seen.append((moment.isoformat(), value(connection, "select 'é'"), connection.info.encoding))
                return seen
        self.both(work)

    def test_transactions(self):
        def work(target):
            with target.connect(autocommit=False, prepare_threshold=0) as connection, target.connect() as other:
                other.execute("drop table if exists psycopg_kept")
                other.execute("create table psycopg_kept (n int)")
                connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
                connection.read_only = False
                for turn in range(TURNS):
                    with connection.transaction(), self.assertRaises(psycopg.errors.DivisionByZero):
                        self.assertEqual(value(connection, "show transaction_isolation"), "serializable")
                        connection.execute("insert into psycopg_kept values (%s)", [turn])
                        with connection.transaction():
                            connection.execute("insert into psycopg_kept values (%s)", [-turn])
                            connection.execute("select 1/0")
                    connection.rollback()
                    self.assertEqual(value(other, "show transaction_isolation"), "read committed")
                return value(other, "select sum(n) from psycopg_kept")
        self.both(work)


if __name__ == "__main__":
    unittest.main(verbosity=2)
