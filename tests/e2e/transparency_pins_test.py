"""What pgproxy says about pins, when they end, and when it refuses them: transaction mode, pools of three."""

import unittest

import harness
import raw
import scenario
from raw import SYNC, bind, execute, parse

# Statements that pin, the reason as the console tells it, and what unpins.
PINS = {
    "temporary object": (("create temp table t (n int)",), ("drop table t", "discard temp", "discard all")),
    "advisory lock": (("select pg_advisory_lock(1)",), (
        "select pg_advisory_unlock(1)", "select pg_advisory_unlock_all()", "discard all")),
    "LISTEN": (("listen c",), ("unlisten c", "unlisten *", "discard all")),
    "cursor WITH HOLD": (("declare c cursor with hold for select 1",), ("close c", "close all", "discard all")),
    "prepared statement": (("prepare p as select 1",), ("deallocate p", "deallocate all", "discard all")),
}
LOCKS = "select count(*) from pg_locks where locktype = 'advisory'"
CODE = """
create or replace function make_table() returns void language sql as 'create temp table made (n int)';
create or replace function take_lock() returns void language sql as 'select pg_advisory_lock(77)';
"""


class PinTest(harness.PoolerTest):
    settings = {"default_pool_size": scenario.POOL_SIZE} | scenario.CHECKOUT_ORDER
    def setUp(self):
        super().setUp()
        for holder in self.fill_pool():
            holder.query("commit")
        self.one, *self.noise = self.clients(3)

    def pinned(self, client):
        """Why the client is pinned, once it is known: the question to the server follows its statement's answer."""
        port = str(client.socket.getsockname()[1])
        row = {}

        def is_known():
            row.update(next(row for row in self.pooler.console("show clients") if row["port"] == port))
            return row["pinned"] or not row["link"]
        harness.eventually(is_known, "the client is pinned or without a server", scenario.PATIENCE_SECONDS)
        return row["pinned"]

    def assert_ok(self, reply):
        self.assertNotIn("E", raw.tags(reply), [message.fields() for message in reply if message.tag == "E"])

    def assert_refused_statement(self, reply):
        """By an ERROR of pgproxy's own making, which names the setting to change."""
        fields = raw.error(reply)
        self.assertEqual(fields["S"], "ERROR")
        self.assertIn("on_residue", fields["M"] + fields.get("H", ""))
        return fields

    def assert_free(self, client):
        port = str(client.socket.getsockname()[1])
        harness.eventually(lambda: not any(row["port"] == port and row["link"] for row in self.pooler.console("show clients")),
                           "the client is without a server", scenario.PATIENCE_SECONDS)
        self.assertFalse(self.pinned(client))
        self.assertEqual(self.pooler.console("show pins"), [])
        self.assertEqual(self.pooler.pool()["sv_pinned"], 0)

    def on_all_servers(self, sql):
        return {client.value(sql) for _ in range(4) for client in self.noise}

    def backends(self, client, count=6):
        """Other clients' transactions in between."""
        return {(client.value("select pg_backend_pid()"), self.noise[0].value("select 1"))[0] for _ in range(count)}


class Pins(PinTest):
    def test_settings_and_the_role_do_not_pin(self):
        self.cluster.execute("grant app2 to app")
        for sql in ("set work_mem = '7MB'", "select set_config('app.tenant', 'blue', false)", "set role app2", "reset role",
                    "update pg_settings set setting = '9000' where name = 'work_mem'",
                    "set timezone = 'UTC'", "set search_path = pg_catalog", "do $$ begin set work_mem = '8MB'; end $$",
                    "begin; set local work_mem = '9MB'; commit", "reset all", "discard all", "set session characteristics as transaction read only",
                    "begin; savepoint s; set work_mem = '5MB'; rollback to s; commit"):
            with self.subTest(sql):
                self.assert_ok(self.one.query(sql))
                self.assert_free(self.one)
                self.assertGreater(len(self.backends(self.one)), 1)
                self.assert_ok(self.one.ask(parse(sql) + bind() + execute() + SYNC) if ";" not in sql else self.one.query("select 1"))
                self.assert_free(self.one)

    def test_each_kind_of_residue_pins_and_unpins(self):
        for reason, (make, undoes) in PINS.items():
            for undo in undoes:
                with self.subTest(f"{reason}: {undo}"), self.pooler.raw() as client:
                    for sql in make:
                        self.assert_ok(client.query(sql))
                    self.assertIn(reason, self.pinned(client))
                    self.assertEqual(len(self.backends(client)), 1)
                    row, = self.pooler.console("show pins")
                    self.assertEqual((row["user"], row["database"]), ("app", "test"))
                    self.assertIn(reason, row["reason"])
                    self.assertTrue(row["age"])
                    self.pooler.wait_for_pool("it is counted", sv_pinned=1)
                    self.assert_ok(client.query(undo))
                    self.assert_free(client)
                    self.assertGreater(len(self.backends(client)), 1)

    def test_what_is_rolled_back_does_not_pin(self):
        for sql in ("create temp table t (n int)", "declare c cursor with hold for select 1", "listen c"):
            with self.subTest(sql):
                for statement in ("begin", sql, "rollback"):
                    self.assert_ok(self.one.query(statement))
                self.assert_free(self.one)

    def test_what_ends_with_the_transaction_does_not_pin(self):
        for sql in ("create temp table t (n int) on commit drop", "select pg_advisory_xact_lock(1)", "declare c cursor for select 1",
                    "create temp table t (n int); drop table t", "select pg_advisory_lock(1); select pg_advisory_unlock(1)"):
            with self.subTest(sql):
                for statement in ("begin", sql, "commit"):
                    self.assert_ok(self.one.query(statement))
                self.assert_free(self.one)

    def test_a_lock_taken_twice_pins_until_it_is_given_back_twice(self):
        for sql, is_pinned in (("select pg_advisory_lock(1)", True), ("select pg_advisory_lock(1)", True),
                               ("select pg_advisory_unlock(1)", True), ("select pg_advisory_unlock(1)", False)):
            self.assert_ok(self.one.query(sql))
            if is_pinned:
                self.assertTrue(self.pinned(self.one), sql)
            else:
                self.assert_free(self.one)

    def test_two_kinds_of_residue_pin_until_both_are_gone(self):
        for sql in ("create temp table t (n int)", "listen c", "drop table t"):
            self.assert_ok(self.one.query(sql))
            self.assertTrue(self.pinned(self.one), sql)
        self.assert_ok(self.one.query("unlisten *"))
        self.assert_free(self.one)

    def test_residue_that_only_the_server_can_tell_of(self):
        self.cluster.execute(CODE, database="test")
        for make, undo in (("select make_table()", "drop table made"), ("select take_lock()", "select pg_advisory_unlock(77)"),
                           ("do $$ begin create temp table made (); end $$", "drop table made"),
                           ("do $$ begin perform pg_advisory_lock(77); end $$", "do $$ begin perform pg_advisory_unlock(77); end $$")):
            with self.subTest(make):
                self.assert_ok(self.one.query(make))
                self.assertTrue(self.pinned(self.one))
                self.assert_ok(self.one.query(undo))
                self.assert_free(self.one)

    def test_code_that_leaves_nothing_does_not_pin(self):
        for sql in ("do $$ begin perform 1; end $$", "select pg_sleep(0), random(), now(), version()", "select nextval('public.noise')",
                    "select generate_series(1, 3)", "call public.idle()", "select lower('A') from pg_class limit 1"):
            with self.subTest(sql):
                self.cluster.execute(scenario.NOISE + "; create or replace procedure public.idle() language sql as 'select 1'", database="test")
                for _ in range(5):
                    self.assert_ok(self.one.query(sql))
                    self.assert_free(self.one)

    def test_named_statements_of_the_protocol_do_not_pin(self):
        self.assert_ok(self.one.ask(parse("select $1::int", "s") + SYNC))
        self.assert_free(self.one)
        for value in range(6):
            self.noise[0].query("select 1")
            self.assertEqual(raw.rows(self.one.ask(bind(value, name="s") + execute() + SYNC)), [(str(value),)])

    def test_the_next_client_finds_nothing_of_the_one_before(self):
        self.cluster.execute(CODE, database="test")
        seen = ("select (select count(*) from pg_class where relpersistence = 't' and relnamespace = pg_my_temp_schema())"
                f" + (select count(*) from pg_listening_channels()) + (select count(*) from pg_cursors) + ({LOCKS})"
                " + (select count(*) from pg_prepared_statements where from_sql) || current_setting('work_mem') || current_user")
        for leave in ("vanish", "close", "terminate", "in a transaction"):
            client = self.client()
            for make, _ in PINS.values():
                for sql in make:
                    self.assert_ok(client.query(sql))
            for sql in ("set work_mem = '7MB'", "set role none", "select make_table()", "select take_lock()"):
                self.assert_ok(client.query(sql))
            if leave == "in a transaction":
                client.query("begin; create temp table more (n int)")
                client.vanish()
            elif leave == "terminate":
                client.send(raw.TERMINATE).read_to_end()
            else:
                getattr(client, leave)()
            self.pooler.wait_for_pool("the pin ends", sv_pinned=0, sv_active=0)
            # A server that was closed instead still takes PostgreSQL a moment to end.
            harness.eventually(lambda: self.cluster.execute(LOCKS, database="test") == [(0,)], "its locks are gone")
            for holder in self.fill_pool():
                self.assertEqual(holder.value(seen), "04MBapp")
                holder.query("commit")


class Refusals(PinTest):
    settings = PinTest.settings | {"on_residue": "error"}

    def test_what_would_pin_is_refused_before_it_runs(self):
        for reason, (make, _) in PINS.items():
            for ask in ("query", "extended"):
                with self.subTest(f"{reason} {ask}"):
                    reply = self.one.query(make[0]) if ask == "query" else self.one.ask(raw.statement(make[0]) + SYNC)
                    self.assert_refused_statement(reply)
                    self.assertEqual(reply[-1].body, b"I")
                    self.assert_free(self.one)
        self.assertEqual(self.cluster.execute(LOCKS, database="test"), [(0,)])

    def test_in_a_transaction_it_is_an_error_like_any_other(self):
        self.assert_ok(self.one.query("begin"))
        self.assert_ok(self.one.query("savepoint s"))
        self.assert_refused_statement(self.one.query("create temp table t (n int)"))
        self.assert_sqlstate(self.one.query("select 1"), "25P02")
        self.assert_ok(self.one.query("rollback to s"))
        self.assertEqual(self.one.value("select 'goes on'"), "goes on")
        self.assertEqual(self.one.query("commit")[-1].body, b"I")
        self.assert_free(self.one)

    def test_in_a_pipeline_all_behind_it_is_skipped(self):
        reply = self.one.ask(raw.statement("select 1") + raw.statement("create temp table t (n int)") + raw.statement("select 2") + SYNC)
        self.assert_refused_statement(reply)
        self.assertEqual(raw.rows(reply), [("1",)])
        reply = self.one.send((raw.statement("listen c") + SYNC) * 3 + raw.statement("select 5") + SYNC).read_cycles(4)
        self.assertEqual(raw.tags(reply), "EZ" * 3 + "12DCZ")
        self.assertEqual(raw.rows(reply), [("5",)])
        self.assert_free(self.one)

    def test_among_several_statements_none_runs(self):
        self.assert_refused_statement(self.one.query("create table if not exists never (); create temp table t (n int)"))
        self.assertEqual(self.one.value("select to_regclass('never') is null"), "t")
        self.assert_free(self.one)

    def test_settings_are_no_residue(self):
        self.assert_ok(self.one.query("set work_mem = '7MB'"))
        self.assertEqual(self.on_all_servers("show work_mem"), {"4MB"})
        self.assertEqual(self.one.value("show work_mem"), "7MB")
        self.assert_free(self.one)

    def test_residue_found_afterwards_pins(self):
        self.cluster.execute(CODE, database="test")
        self.assert_ok(self.one.query("select make_table()"))
        self.assertTrue(self.pinned(self.one))
        self.assertEqual(self.one.value("select count(*) from made"), "0")
        self.assert_ok(self.one.query("drop table made"))
        self.assert_free(self.one)


class RefusalsOfOneDatabase(PinTest):
    def setUp(self):
        self.databases = {"strict": f"host=127.0.0.1 port={harness.Cluster.shared().port} dbname=test on_residue=error"}
        super().setUp()

    def test_another_database_may_pin(self):
        self.assert_refused_statement(self.client(database="strict").query("create temp table t (n int)"))
        self.assert_ok(self.one.query("create temp table t (n int)"))
        self.assertTrue(self.pinned(self.one))


class Cap(PinTest):
    """A third of a pool of three: one pin."""

    settings = PinTest.settings | {"max_pinned_fraction": "0.34"}

    def test_the_second_pin_is_refused_and_not_executed(self):
        first, second = self.client(), self.client()
        self.assert_ok(first.query("create temp table t (n int)"))
        self.assertTrue(self.pinned(first))
        for begin in (False, True):
            if begin:
                second.query("begin")
            fields = self.assert_sqlstate(second.query("select pg_advisory_lock(5)"), "53400")
            self.assertEqual(fields["S"], "ERROR")
            self.assertIn("max_pinned_fraction", fields["H"])
            self.assertEqual(self.cluster.execute(LOCKS, database="test"), [(0,)])
            if begin:
                self.assert_sqlstate(second.query("select 1"), "25P02")
                second.query("rollback")
        self.assertFalse(self.pinned(second))
        self.assert_ok(first.query("listen c"))  # it is pinned already
        self.assert_ok(second.query("set work_mem = '7MB'"))
        for sql in ("drop table t", "unlisten *"):
            self.assert_ok(first.query(sql))
        self.assert_free(first)
        self.assert_ok(second.query("select pg_advisory_lock(5)"))
        self.assertTrue(self.pinned(second))

    def test_a_pin_that_ends_with_its_client_makes_room(self):
        first, second = self.client(), self.client()
        self.assert_ok(first.query("listen c"))
        self.assertTrue(self.pinned(first))
        self.assert_sqlstate(second.query("listen c"), "53400")
        first.vanish()
        self.pooler.wait_for_pool("the pin ends", sv_pinned=0, sv_active=0)
        self.assert_ok(second.query("listen c"))

    def test_residue_found_afterwards_pins_beyond_the_cap(self):
        self.cluster.execute(CODE, database="test")
        first, second = self.client(), self.client()
        self.assert_ok(first.query("listen c"))
        self.assertTrue(self.pinned(first))
        self.assert_ok(second.query("select make_table()"))
        self.assertTrue(self.pinned(second))
        self.assertEqual(second.value("select count(*) from made"), "0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
