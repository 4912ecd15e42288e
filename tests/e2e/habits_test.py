"""Habits of frameworks and tools that lean on the session, in transaction mode beside other clients."""

import os
import re
import subprocess
import threading
import unittest

import harness
import noise
import psycopg
from harness import BINARIES, PASSWORD

TURNS = 12  # so that every server has its turn


def value(connection, sql, parameters=None):
    return connection.execute(sql, parameters).fetchone()[0]


class Sessions(noise.ClientTest):

    def test_migrators_exclude_each_other(self):
        """Rails and Flyway: a session advisory lock, held while other statements and transactions run."""
        def work(target):
            with target.connect() as one, target.connect() as two:
                one.execute("drop table if exists migrations")
                self.assertTrue(value(one, "select pg_try_advisory_lock(815)"))
                for _ in range(TURNS):
                    self.assertFalse(value(two, "select pg_try_advisory_lock(815)"))
                    self.assertEqual(value(one, "select 1"), 1)
                with one.transaction():
                    one.execute("create table migrations (version int)")
                self.assertTrue(value(one, "select pg_advisory_unlock(815)"))
                self.assertTrue(value(two, "select pg_try_advisory_lock(815)"))
                self.assertFalse(value(one, "select pg_try_advisory_lock(815)"))
        self.both(work)

    def test_a_migrator_waits_for_the_other(self):
        """The one that waits holds a server; the one that holds the lock goes on all the same."""
        def work(target):
            order = []

            def second():
                with target.connect() as connection:
                    connection.execute("select pg_advisory_lock(816)")
                    order.append("second")
            with target.connect() as first, target.connect() as observer:
                first.execute("select pg_advisory_lock(816)")
                waiting = threading.Thread(target=second)
                waiting.start()
                harness.eventually(lambda: value(observer, "select count(*) from pg_locks where locktype = 'advisory' and not granted"),
                                   "the second waits")
                for _ in range(TURNS):
                    value(first, "select 1")
                order.append("first")
                first.execute("select pg_advisory_unlock(816)")
                waiting.join()
                return order
        self.both(work)

    def test_a_migrator_that_dies_releases_its_lock(self):
        def work(target):
            with target.connect() as other:
                for _ in range(3):
                    dying = target.connect()
                    self.assertTrue(value(dying, "select pg_try_advisory_lock(817)"))
                    dying.close()
                    harness.eventually(lambda: value(other, "select pg_try_advisory_lock(817)"), "the lock is free")
                    self.assertTrue(value(other, "select pg_advisory_unlock(817)"))
        self.both(work)

    def test_row_level_security_by_tenant(self):
        self.as_app("drop table if exists tenants", "create table tenants (tenant text, n int)",
                    "insert into tenants select t, n from unnest(array['red', 'blue']) t, generate_series(1, 10) n",
                    "alter table tenants enable row level security", "alter table tenants force row level security",
                    "create policy own on tenants using (tenant = current_setting('app.tenant'))")

        def work(target):
            seen = []
            with target.connect() as red, target.connect(prepare_threshold=0) as blue, target.connect() as nobody:
                both = {"red": red, "blue": blue}
                red.execute("set app.tenant = 'red'")
                blue.execute("select set_config('app.tenant', 'blue', false)")
                for turn in range(TURNS):
                    for tenant, connection in both.items():
                        seen += connection.execute("select tenant, count(*) from tenants group by tenant").fetchall()
                        with connection.transaction():
                            connection.execute("update tenants set n = n + 1")
                            self.assertEqual(value(connection, "select count(*) from tenants"), 10)
                        with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                            connection.execute("insert into tenants values ('green', 1)")
                    self.assertIn(value(nobody, "select coalesce(current_setting('app.tenant', true), '')"), ["", None])
                red.execute("set app.tenant = 'blue'")
                blue.execute("set app.tenant = 'red'")
                for _ in range(TURNS):
                    seen += [value(connection, "select min(tenant) from tenants") for connection in both.values()]
            return seen
        self.both(work)

    def test_time_zones_as_django_sets_them(self):
        def work(target):
            seen = []
            with target.connect() as one, target.connect(autocommit=False) as two:
                one.execute("SET TIME ZONE 'Africa/Nairobi'")
                two.execute("SELECT set_config('TimeZone', 'America/Chicago', false)")
                two.commit()
                for _ in range(TURNS):
                    for connection in (one, two):
                        seen.append((value(connection, "show timezone"), connection.info.parameter_status("TimeZone"),
                                     value(connection, "select '2024-07-01 00:00+00'::timestamptz::text")))
                    two.commit()
                two.execute("SET TIME ZONE 'UTC'")
                two.rollback()
                seen.append((value(two, "show timezone"), two.info.parameter_status("TimeZone")))
                two.rollback()
            return seen
        self.both(work)

    def test_first_words_of_drivers(self):
        """What drivers say as soon as they are connected, each with its own values."""
        words = ("SET extra_float_digits = {0}", "SET application_name = 'driver {0}'", "SET client_min_messages TO {1}",
                 "SET standard_conforming_strings = on", "SET intervalstyle = {2}", "SET SESSION CHARACTERISTICS AS TRANSACTION {3}",
                 "SET NAMES 'UTF8'", "SET DateStyle = {4}")
        values = ((3, "warning", "iso_8601", "READ ONLY", "German"), (1, "error", "postgres_verbose", "READ WRITE", "SQL"))
        shown = ("extra_float_digits", "application_name", "client_min_messages", "intervalstyle", "transaction_read_only", "datestyle")

        def work(target):
            seen = []
            with target.connect() as one, target.connect() as two:
                for connection, own in zip((one, two), values):
                    for word in words:
                        connection.execute(word.format(*own))
                for _ in range(TURNS):
                    for connection in (one, two):
                        seen.append([value(connection, f"show {name}") for name in shown])
            return seen
        self.both(work)


class Sequences(noise.ClientTest):
    """PDO's lastInsertId: lastval() is the session's, whoever inserted in between.

    Two clients that draw may keep two of the three servers; the others only read.
    """

    settings = noise.ClientTest.settings | {"max_pinned_fraction": 0.67}

    def setUp(self):
        super().setUp()
        self.as_app("drop table if exists habits_rows", "create table habits_rows (id serial, owner text)")

    @staticmethod
    def last_inserted(*clients, **options):
        """The owners of the rows that lastval() and currval() name, after inserts of each in turn; names by client."""
        seen = []
        for _ in range(TURNS):
            for name, connection in clients:
                connection.execute("insert into habits_rows (owner) values (%s)", [name], **options)
            for drawn in ("lastval()", "currval(pg_get_serial_sequence('habits_rows', 'id'))"):
                seen += [value(connection, f"select owner from habits_rows where id = {drawn}") for _, connection in clients]
        return seen

    def expect_refusal(self, connection, hint=".*"):
        with self.assertRaises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
            connection.execute("select lastval()")
        self.assertRegex(refused.exception.diag.message_hint or "", hint)

    def test_pin_keeps_from_the_first_insert_on(self):
        self.pooler = self.start_pooler({"on_sequence_state": "pin"})

        def work(target):
            for threshold in (None, 0):
                with target.connect(prepare_threshold=threshold) as one, target.connect(prepare_threshold=threshold) as two:
                    seen = self.last_inserted(("one", one), ("two", two))
                with target.connect(prepare_threshold=threshold) as fresh:
                    self.expect_refusal(fresh)
            return seen
        self.both(work, writes=False)

    def test_pin_keeps_as_soon_as_fewer_are_kept(self):
        """What inserted when too many servers were kept is not held for what keeps none."""
        self.pooler = self.start_pooler({"on_sequence_state": "pin"})
        insert = "insert into habits_rows (owner) values ('mine') returning id"
        with self.pooler.connect() as first, self.pooler.connect() as late:
            with self.pooler.connect() as second:
                for connection in (first, second):
                    self.assertEqual(value(connection, insert), value(connection, "select lastval()"))
                for _ in range(TURNS):
                    value(late, insert)
            harness.eventually(lambda: len(self.pooler.console("show pins")) == 1, "one server is kept")
            self.assertEqual(value(late, insert), value(late, "select lastval()"))

    def test_learn_refuses_once_and_then_keeps(self):
        self.pooler = self.start_pooler({"on_sequence_state": "learn"})
        with noise.Noise(self.pooler, writes=False), self.pooler.connect() as one, self.pooler.connect() as two:
            for connection in (one, two):
                connection.execute("insert into habits_rows (owner) values ('before')")
            self.expect_refusal(one, "From now on")
            self.expect_refusal(two, "From now on")  # it has not drawn since
            self.assertEqual(self.last_inserted(("one", one), ("two", two)), ["one", "two"] * 2 * TURNS)

    def test_error_refuses_every_time(self):
        self.pooler = self.start_pooler({"on_sequence_state": "error"})
        with noise.Noise(self.pooler), self.pooler.connect() as one, self.pooler.connect(prepare_threshold=0) as two:
            for _ in range(TURNS):
                for connection in (one, two):
                    connection.execute("insert into habits_rows (owner) values ('somebody')")
                    self.expect_refusal(connection, "RETURNING")
                    with connection.transaction():
                        (drawn,) = connection.execute("insert into habits_rows (owner) values ('it') returning id").fetchone()
                        self.assertEqual(value(connection, "select lastval()"), drawn)
                    self.expect_refusal(connection, "RETURNING")
            self.assertEqual(self.pooler.console("show pins"), [])


class Tools(noise.ClientTest):

    def run_tool(self, target, program, *arguments, **options):
        run = subprocess.run([BINARIES / program, "-h", "127.0.0.1", "-p", str(target.port), "-U", "app", *arguments],
                             capture_output=True, check=False, timeout=120,
                             env=os.environ | {"PGPASSWORD": PASSWORD, "PSQLRC": "/dev/null", "PGOPTIONS": ""}, **options)
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        return run.stdout

    def psql(self, target, script):
        return self.run_tool(target, "psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-d", "test", input=script.encode()).decode()

    def test_dump_and_restore(self):
        """They run with search_path = '' and a dozen other settings, which stay theirs."""
        self.as_app("drop schema if exists dumped cascade", "create schema dumped",
                    "create type dumped.mood as enum ('sad', 'happy')",
                    "create table dumped.parents (id serial primary key, mood dumped.mood, at timestamptz default now())",
                    "create table dumped.children (id int references dumped.parents, f float8, b bytea)",
                    "create view dumped.happy as select * from dumped.parents where mood = 'happy'",
                    "create function dumped.twice(n int) returns int language sql as 'select 2 * n'",
                    "insert into dumped.parents (mood) select case n % 2 when 0 then 'sad' else 'happy' end::dumped.mood"
                    " from generate_series(1, 2000) n",
                    "insert into dumped.children select id, 1.0 / id, decode(md5(id::text), 'hex') from dumped.parents")

        def dump(target):
            text = self.run_tool(target, "pg_dump", "-n", "dumped", "-d", "test")
            return re.sub(rb"\\(un)?restrict \w+\n", b"", text)  # a random word

        def archive(target):
            return self.run_tool(target, "pg_dump", "-Fc", "-n", "dumped", "-d", "test")
        reference = dump(noise.Direct(self.cluster))
        with noise.Noise(self.pooler) as others:
            self.assertEqual(dump(self.pooler), reference)
            packed = archive(self.pooler)
            for options in (["--single-transaction"], []):
                self.as_app("drop schema dumped cascade")
                self.run_tool(self.pooler, "pg_restore", "--exit-on-error", *options, "-d", "test", input=packed)
                self.assertEqual(dump(self.pooler), reference)
                others.wait_for_turns(3)
            self.as_app("drop schema dumped cascade")
            self.psql(self.pooler, reference.decode())
            self.assertEqual(dump(self.pooler), reference)
            others.wait_for_turns(3)

    def test_descriptions_of_psql(self):
        self.as_app("drop schema if exists described cascade", "create schema described",
                    "create table described.t (n int primary key, t text not null default 'x')",
                    "create index on described.t (t)", "create view described.v as select n from described.t",
                    "create sequence described.s", "create function described.f() returns int language sql as 'select 1'")
        script = "".join(f"\\{command}\n" for command in (
            "d described.*", "d+ described.t", "dt described.*", "dv described.*", "di described.*", "ds described.*", "df described.*",
            "dn described", "dp described.*", "sf described.f", "du app", "dconfig search_path", "conninfo"))
        script += "set search_path = described;\n\\d\n\\d t\nselect n from t \\gdesc\n\\d v\n"

        def work(target):
            return self.psql(target, script).replace(str(target.port), "PORT")
        self.both(work)

    def test_scripts_of_psql(self):
        """A script leaves settings, temporary tables, prepared statements and cursors to nobody."""
        script = """
\\set ON_ERROR_ROLLBACK on
set work_mem = '3MB'; set role app; create temp table scratch as select generate_series(1, 5) n;
prepare sum_of (int) as select sum(n) + $1 from scratch;
execute sum_of (10);
begin;
select 'in a transaction';
declare c cursor with hold for select n from scratch order by n;
commit;
fetch 2 from c;
listen psql_news;
notify psql_news, 'to itself';
show work_mem;
select lo_unlink(lo_create(0));
"""

        def work(target):
            out = [self.psql(target, script) for _ in range(4)]
            return [line for text in out for line in text.splitlines() if "Asynchronous" not in line]
        self.both(work)


if __name__ == "__main__":
    unittest.main(verbosity=2)
