"""Prepared statements in transaction mode: what each client prepared, on whatever server it gets."""

import asyncio
import subprocess
import unittest

import asyncpg

import harness
import raw
from harness import BINARIES, PASSWORD, eventually
from raw import FLUSH, SYNC, bind, close, describe, execute, parse, query, statement

TABLE = ("drop table if exists changing cascade; create table changing (a int); insert into changing values (7);"
         "grant all on changing to public; alter table changing owner to app")


def prepare(sql, name, *parameters):
    """Parse, Bind, Describe, Execute; no Sync."""
    return parse(sql, name) + run(*parameters, name=name)


def run(*parameters, name):
    return bind(*parameters, name=name) + describe() + execute()


def essence(message):
    """Without the place in PostgreSQL's source: a Bind may fail at the Parse that we put in front of it."""
    if message.tag != "E":
        return message
    return {code: value for code, value in message.fields().items() if code not in "FLR"}


class Prepared(harness.PoolerTest):
    """Three servers; neighbours prepare the same names with other texts in between."""

    def setUp(self):
        super().setUp()
        if self.auto_start:
            self.begin()

    def begin(self, **settings):
        """All servers of a fresh pooler, with clients of it."""
        if settings:
            self.pooler = self.start_pooler(settings)
        holders = self.clients(3)
        for holder in holders:
            holder.send(query("select pg_sleep(0.1)"))
        for holder in holders:
            holder.read_until("Z")
            holder.close()
        self.direct, self.pooled, self.neighbour = self.cluster.raw("app"), self.client(), self.client()
        self.addCleanup(self.direct.close)
        self.turn = 0

    def disturb(self):
        """A neighbour uses a statement of the same name. Where servers take turns, the next one is another than before."""
        self.turn += 1
        name, text = ("s", "t", "u")[self.turn % 3], f"neighbour {self.turn}"
        reply = self.neighbour.ask(close("S", name) + prepare(f"select '{text}'", name) + SYNC)
        self.assertEqual(raw.rows(reply), [(text,)])

    def converse(self, client, script):
        steps = []
        for sent, wanted in script:
            client.send(sent)
            messages = client.read_cycles(wanted) if isinstance(wanted, int) else client.read_until(wanted)
            steps.append([message for message in messages if message.tag != "S"])
            if client is self.pooled and messages[-1].tag == "Z" and messages[-1].body == b"I":
                self.disturb()
        return steps

    def assert_transparent(self, *script, pins=()):
        wanted, got = self.converse(self.direct, script), self.converse(self.pooled, script)
        for step, (one, other) in enumerate(zip(wanted, got)):
            self.assertEqual([essence(message) for message in other], [essence(message) for message in one],
                             f"step {step}: {script[step]}")
        self.assertEqual(self.pooled.value("select 42"), "42")
        self.assert_pins(*pins)
        self.assertEqual(self.doubts(), 0)
        return got

    def pins(self):
        return [row["pinned"] for row in self.pooler.console("show clients") if row["pinned"]]

    def assert_pins(self, *pins):
        """What a session holds is asked for when its transaction is over."""
        try:
            eventually(lambda: self.pins() == list(pins), "the pins are right")
        except AssertionError:
            self.assertEqual(self.pins(), list(pins))
            raise

    def settle(self):
        """All servers take part in what follows, none is being asked or cleaned."""
        eventually(lambda: all(row["state"] == "idle" for row in self.pooler.console("show servers")), "all are idle")

    def use(self, client):
        return client.ask(run(name="s") + SYNC)

    def doubts(self):
        return self.pooler.log_text().count("unexpected message")

    def counts(self, what):
        """prepared_statements of SHOW CLIENTS or SHOW SERVERS, sorted."""
        return sorted(int(row["prepared_statements"]) for row in self.pooler.console(f"show {what}"))

    def stats(self):
        return next(row for row in self.pooler.console("show stats") if row["database"] == "test")

    def owner(self, sql):
        """Runs DDL as superuser, past the pooler."""
        self.cluster.execute(sql, database="test")


class Transparency(Prepared):
    def test_a_statement_on_many_servers(self):
        self.assert_transparent(
            (parse("select $1::int + 1", "s") + describe("S", "s") + SYNC, 1),
            *((run(n, name="s") + SYNC, 1) for n in range(8)),
            (describe("S", "s") + SYNC, 1), (close("S", "s") + SYNC, 1), (run(1, name="s") + SYNC, 1))

    def test_parameter_types_make_another_statement(self):
        self.assert_transparent(
            (parse("select $1", "s", (23,)) + parse("select $1", "t", (25,)) + describe("S", "s") + describe("S", "t")
             + SYNC, 1), (run(3, name="s") + SYNC, 1), (run("x", name="t") + SYNC, 1), (run("x", name="s") + SYNC, 1))

    def test_two_clients_with_one_name(self):
        clients = self.clients(6)
        for number, client in enumerate(clients):
            client.ask(parse(f"select {number}, $1::text", "s") + SYNC)
        for turn in range(6):
            for number, client in enumerate(clients):
                self.assertEqual(raw.rows(client.ask(run(turn, name="s") + SYNC)), [(str(number), str(turn))])
        self.assertEqual(self.pins(), [])

    def test_errors_are_postgresqls_own_and_in_order(self):
        self.assert_transparent(
            (parse("select 1", "s") + SYNC, 1),
            (parse("select 2", "s") + SYNC, 1),                                # 42P05
            (parse("select 2 from nowhere", "s") + SYNC, 1),                    # the text first
            (parse("select 1", "t") + parse("select 3", "t") + run(name="t") + SYNC, 1),
            (run(name="t") + SYNC, 1),
            (run(name="nothing") + SYNC, 1), (describe("S", "nothing") + SYNC, 1), (close("S", "nothing") + SYNC, 1),
            (run(name="pgproxy_1") + SYNC, 1), (describe("S", "pgproxy_1") + SYNC, 1), (run(name="s") + SYNC, 1),
            (parse("select 'mine'", "pgproxy_1") + run(name="pgproxy_1") + SYNC, 1), (run(name="s") + SYNC, 1),
            (run(name="pgproxy_1") + SYNC, 1), (parse("select 4", "pgproxy_1") + SYNC, 1), (run(name="s") + SYNC, 1),
            (parse("select 'no' from nowhere", "u") + run(name="u") + SYNC, 1), (run(name="u") + SYNC, 1),
            (statement("select 1/0") + parse("select 5", "u") + SYNC + run(name="u") + SYNC, 2),
            (parse("select 6", "u") + run(name="u") + SYNC, 1))

    def test_errors_in_a_transaction_abort_it(self):
        self.assert_transparent(
            (parse("select 1", "s") + parse("rollback", "t") + SYNC, 1), (query("begin"), 1),
            (run(name="s") + SYNC, 1), (parse("select 2", "s") + SYNC, 1), (run(name="s") + SYNC, 1),
            (parse("select 1", "u") + SYNC, 1), (parse("select 2", "u") + SYNC, 1), (close("S", "s") + SYNC, 1),
            (run(name="s") + SYNC, 1), (run(name="t") + SYNC, 1), (run(name="s") + SYNC, 1),
            (query("begin"), 1), (run(name="nothing") + SYNC, 1), (query("select 1"), 1), (query("rollback"), 1),
            (query("begin") + query("select 1/0") + parse("select 1", "u") + SYNC + query("rollback"), 4))

    def test_pipelines_with_two_errors(self):
        good, bad = "select 'good'", "select 'bad' from nowhere"
        self.assert_transparent(
            (prepare(bad, "s") + SYNC + prepare(good, "s") + SYNC + prepare(bad, "s") + SYNC, 3),
            (run(name="s") + SYNC, 1), (close("S", "s") + SYNC, 1),
            (prepare(bad, "t") + close("S", "s") + SYNC + prepare(bad, "u") + SYNC + prepare(good, "u") + SYNC
             + run(name="u") + SYNC + run(name="t") + SYNC, 5),
            (statement("select 1/0") + close("S", "u") + SYNC + run(name="u") + SYNC, 2),
            (parse(good, "s") + statement("select 1/0") + parse(good, "t") + SYNC + run(name="s") + SYNC
             + run(name="t") + SYNC, 3),
            (close("S", "s") + parse("select 'new'", "s") + run(name="s") + close("S", "s") + run(name="s") + SYNC, 1))

    def test_flush_shows_answers_that_are_ours(self):
        self.assert_transparent(
            (parse("select 1", "s") + SYNC, 1), (close("S", "s") + FLUSH, "3"), (parse("select 1", "s") + FLUSH, "1"),
            (run(name="s") + FLUSH, "C"), (parse("select 1", "t") + FLUSH, "1"), (close("S", "t") + FLUSH, "3"),
            (SYNC, 1), (run(name="s") + parse("select 1", "u") + FLUSH, "C"), (SYNC, 1), (run(name="u") + SYNC, 1))

    def test_in_a_pipeline_with_the_unnamed_statement(self):
        self.assert_transparent(
            (parse("select 'unnamed'") + parse("select 'named'", "s") + SYNC, 1), (run(name="s") + SYNC, 1),
            (run(name="") + SYNC, 1), (run(name="s") + run(name="") + run(name="s") + SYNC, 1),
            (statement("select 8") + run(name="s") + statement("select 9") + SYNC, 1),
            (query("select 10"), 1), (run(name="") + SYNC, 1), (run(name="s") + SYNC, 1))

    def test_portals_outlive_their_statements(self):
        self.assert_transparent(
            (query("begin"), 1), (parse("select generate_series(1, 5)", "s") + bind(name="s", portal="p") + SYNC, 1),
            (execute("p", 2) + SYNC, 1), (close("S", "s") + SYNC, 1), (execute("p", 2) + SYNC, 1),
            (parse("select 'other'", "s") + run(name="s") + SYNC, 1), (execute("p") + SYNC, 1),
            (close("P", "p") + execute("p") + SYNC, 1), (query("rollback"), 1))

    def test_a_copy_by_a_prepared_statement(self):
        self.owner("drop table if exists copied; create table copied (n text); grant all on copied to public")
        copy_in = parse("copy copied from stdin", "s") + bind(name="s") + execute()
        self.assert_transparent(
            (copy_in + FLUSH, "G"), (raw.copy_data(b"1\n") + raw.COPY_DONE + SYNC, 1), (query("truncate copied"), 1),
            (bind(name="s") + execute() + FLUSH, "G"), (raw.copy_fail("no") + parse("select 1", "t") + SYNC, 1),
            (run(name="t") + SYNC, 1), (parse("copy (select 1) to stdout", "u") + run(name="u") + SYNC, 1),
            (run(name="u") + parse("select 1", "t") + run(name="t") + SYNC, 1))

    def test_split_at_every_byte(self):
        script = (parse("select $1::text", "sé", (25,)) + describe("S", "sé") + bind("é" * 5, name="sé") + describe()
                  + execute() + SYNC + prepare("select 2", "t") + SYNC + run("x", name="sé") + close("S", "t") + SYNC
                  + run(name="t") + SYNC)
        self.direct.send(script)
        wanted = self.direct.read_cycles(4)
        for _ in range(2):  # the second time the server has them
            client = self.client()
            self.assertEqual(client.send_bytewise(script).read_cycles(4), wanted)

    def test_names_and_texts_larger_than_any_buffer(self):
        text, name = "select '" + "x" * 600_000 + "', $1::text", "n" * 70_000
        self.assert_transparent(
            (parse("select 1", name) + SYNC, 1), (run(name=name) + SYNC, 1), (parse("select 2", name) + SYNC, 1),
            (parse("select length($1)", "s") + SYNC, 1), (run("y" * 1_000_000, name="s") + run("z", name="s") + SYNC, 1),
            (bind(name="m" * 300_000) + SYNC, 1), (run("y" * 500_000, name="s") + SYNC, 1),
            (prepare(text, "t", 5) + SYNC, 1), (run(6, name="t") + run(7, name="s") + SYNC, 1),
            (parse(text, "t") + SYNC, 1), (parse(text, "s") + SYNC, 1), (run(8, name="t") + SYNC, 1),
            (close("S", "t") + run(9, name="t") + SYNC, 1), pins=["state that no query shows"])

    def test_sessions_that_go_leave_nothing(self):
        for _ in range(3):
            client = self.pooler.raw()
            client.ask(parse("select 1", "s") + SYNC)
            client.vanish()
            client = self.pooler.raw()
            client.send(parse("select 2", "s"))
            client.close()
        self.assert_transparent((run(name="s") + SYNC, 1), (parse("select 3", "s") + run(name="s") + SYNC, 1))


class Sharing(Prepared):
    def test_servers_parse_once_and_counts_tell(self):
        clients = self.clients(5)
        before = self.stats()
        for client in clients:
            client.ask(parse("select $1::text", "name") + SYNC)
        for turn in range(30):
            reply = clients[turn % 5].ask(run(turn, name="name") + SYNC)
            self.assertEqual(raw.rows(reply), [(str(turn),)])
        after = self.stats()
        counted = {name: int(after[f"total_{name}"]) - int(before[f"total_{name}"])
                   for name in ("client_parse_count", "server_parse_count", "bind_count")}
        self.assertEqual(counted, {"client_parse_count": 5, "server_parse_count": 3, "bind_count": 30})
        self.assertEqual(self.counts("servers"), [1, 1, 1])
        self.assertEqual([count for count in self.counts("clients") if count], [1] * 5)

    def test_settings_that_parsing_depends_on_make_another_statement(self):
        self.owner("create schema if not exists one; create schema if not exists two;"
                   "create or replace view one.v as select 1 as n; create or replace view two.v as select 2 as n;"
                   "grant all on schema one, two to public; grant all on one.v, two.v to public")
        one, two = (self.client(options=f"-csearch_path={schema}") for schema in ("one", "two"))
        for client in (one, two):
            client.ask(parse("select n from v", "s") + SYNC)
        for _ in range(6):
            self.assertEqual(raw.rows(one.ask(run(name="s") + SYNC)), [("1",)])
            self.assertEqual(raw.rows(two.ask(run(name="s") + SYNC)), [("2",)])
        self.assertEqual(self.pins(), [])

    def test_backslashes_that_mean_something_make_another_statement(self):
        off, on = (self.client(options=f"-cstandard_conforming_strings={value}") for value in ("off", "on"))
        sql = r"select 'a\\b' || current_setting('standard_conforming_strings')"
        for client in (off, on, off, on):
            client.ask(close("S", "s") + parse(sql, "s") + SYNC)
            for _ in range(3):
                wanted = r"a\boff" if client is off else r"a\\bon"
                self.assertEqual(raw.rows(client.ask(run(name="s") + SYNC)), [(wanted,)])

    def test_names_that_applications_do_not_matter(self):
        for number in range(4):
            self.client(application_name=f"app{number}").ask(prepare("select 'same'", "s") + SYNC)
        self.assertLessEqual(max(self.counts("servers")), 1)

    def test_session_mode_and_switched_off(self):
        for settings, pins in (({"pool_mode": "session"}, []),
                               ({"max_prepared_statements": 0}, ["state that no query shows"])):
            self.begin(default_pool_size=4, **settings)
            client = self.client()
            client.ask(parse("select 'own'", "s") + SYNC)
            self.neighbour.query("select 1")
            for _ in range(3):
                self.assertEqual(raw.rows(client.ask(run(name="s") + SYNC)), [("own",)])
            self.assertEqual(raw.error(client.ask(parse("select 2", "s") + SYNC))["C"], "42P05")
            self.assert_pins(*pins)
            client.close()
            self.assertEqual(raw.error(self.client().ask(run(name="s") + SYNC))["C"], "26000")

    def test_statement_mode(self):
        self.begin(pool_mode="statement")
        self.pooled.ask(parse("select $1::text", "s") + SYNC)
        for turn in range(9):
            self.disturb()
            self.assertEqual(raw.rows(self.pooled.ask(run(turn, name="s") + SYNC)), [(str(turn),)])


class Eviction(Prepared):
    settings = {"max_prepared_statements": 2}

    def test_more_statements_than_a_server_keeps(self):
        texts = {f"s{number}": f"select 'text {number}', $1::text" for number in range(7)}
        client = self.client()
        client.ask(b"".join(parse(text, name) for name, text in texts.items()) + SYNC)
        for turn in range(30):
            name = f"s{turn * 3 % 7}"
            self.assertEqual(raw.rows(client.ask(run(turn, name=name) + SYNC)), [(f"text {name[1]}", str(turn))])
        everything = b"".join(run(name, name=name) for name in texts)
        self.assertEqual(len(raw.rows(client.ask(everything + everything + SYNC))), 14)
        self.assertLessEqual(max(self.counts("servers")), 2)
        self.assertIn(7, self.counts("clients"))

    def test_eviction_is_not_seen(self):
        many = [parse(f"select {number}", f"m{number}") for number in range(4)]
        self.assert_transparent(
            (b"".join(many) + SYNC, 1), (query("begin"), 1),
            (parse("select generate_series(1, 4)", "s") + bind(name="s", portal="p") + execute("p", 1) + SYNC, 1),
            (run(name="m0") + run(name="m1") + run(name="m2") + SYNC, 1), (execute("p", 1) + SYNC, 1),
            (run(name="m3") + statement("select 1/0") + run(name="m1") + run(name="s") + SYNC, 1),
            (run(name="m1") + SYNC, 1), (query("rollback"), 1), (run(name="m1") + run(name="s") + SYNC, 1),
            (statement("select 1/0") + run(name="m3") + run(name="m2") + SYNC + run(name="m3") + SYNC
             + run(name="m2") + statement("select 1/0") + SYNC + run(name="m1") + SYNC, 4))


class Deallocation(Prepared):
    def test_discard_all_and_deallocate_all(self):
        for word in ("deallocate all", "discard all"):
            self.begin()
            self.assert_transparent(
                (parse("select 1", "s") + parse("select 2", "t") + SYNC, 1), (run(name="s") + SYNC, 1),
                (query(word), 1), (run(name="s") + SYNC, 1), (parse("select 3", "s") + run(name="s") + SYNC, 1),
                (close("S", "t") + SYNC, 1), (query(word) + parse("select 4", "s") + run(name="s") + SYNC, 2),
                (query("begin") + query(word) + run(name="s") + SYNC + query("rollback"), 4),
                (parse("select 5", "t") + run(name="t") + SYNC, 1))

    def test_deallocate_all_in_the_extended_protocol(self):
        self.assert_transparent(
            (parse("select 1", "s") + SYNC, 1), (statement("deallocate all") + SYNC, 1), (run(name="s") + SYNC, 1),
            (parse("select 2", "s") + run(name="s") + SYNC, 1), (statement("deallocate all") + run(name="s") + SYNC, 1),
            (parse("select 3", "s") + run(name="s") + SYNC, 1))

    def test_deallocate_by_name(self):
        self.assert_transparent(
            (parse("select 1", "s") + parse("select 2", "Odd \" one") + parse("select 3", "u") + SYNC, 1),
            (query("deallocate s"), 1), (run(name="s") + SYNC, 1), (query("deallocate s"), 1), (run(name="u") + SYNC, 1),
            (query('DEALLOCATE PREPARE "Odd "" one" -- done'), 1), (run(name="Odd \" one") + SYNC, 1),
            (parse("select 4", "s") + run(name="s") + SYNC, 1), (query("begin"), 1), (query("deallocate s"), 1),
            (run(name="u") + SYNC, 1), (query("commit"), 1), (run(name="s") + SYNC, 1),
            (query("deallocate u") + run(name="u") + SYNC + query("select 5") + parse("select 6", "u") + SYNC, 4),
            (query("begin") + query("select 1/0") + query("deallocate u") + query("rollback"), 4),
            (run(name="u") + SYNC, 1), (query("deallocate pgproxy_1"), 1), (run(name="u") + SYNC, 1))

    def test_deallocate_by_name_in_the_extended_protocol(self):
        """As psycopg sends it for what it evicts: no server is kept for that."""
        self.assert_transparent(
            (parse("select 1", "s") + parse("select 3", "u") + SYNC, 1), (statement("deallocate s") + SYNC, 1),
            (run(name="s") + SYNC, 1), (statement("deallocate s") + SYNC, 1), (run(name="u") + SYNC, 1),
            (parse("select 4", "s") + run(name="s") + SYNC, 1), (query("begin"), 1), (statement("deallocate s") + SYNC, 1),
            (run(name="u") + SYNC, 1), (query("commit"), 1), (run(name="s") + SYNC, 1),
            # Parsed now, and run later; parsed, described and bound, and never run.
            (parse("select 5", "s") + parse("deallocate s") + SYNC, 1), (run(name="s") + SYNC, 1), (parse("deallocate s") + SYNC, 1),
            (bind() + execute() + SYNC, 1), (run(name="s") + SYNC, 1),
            (parse("select 6", "s") + parse("deallocate s") + raw.describe("S") + bind() + SYNC, 1), (run(name="s") + SYNC, 1),
            (parse("deallocate s") + bind() + bind(name="u") + execute() + SYNC, 1), (run(name="s") + SYNC, 1),
            # Skipped, refused, and with something behind it.
            (statement("select 1/0") + statement("deallocate s") + SYNC, 1), (run(name="s") + SYNC, 1),
            (query("begin") + query("select 1/0"), 2), (statement("deallocate s") + SYNC, 1), (query("rollback"), 1),
            (run(name="s") + SYNC, 1), (statement("deallocate s") + run(name="s") + SYNC + run(name="u") + SYNC, 2),
            (run(name="s") + SYNC, 1), (statement("deallocate u") + parse("select 7", "u") + run(name="u") + SYNC, 1),
            (statement("deallocate u") + statement("deallocate u") + SYNC, 1), (run(name="u") + SYNC, 1), pins=())

    def test_deallocate_among_other_statements(self):
        self.assert_transparent(
            (parse("select 1", "s") + parse("select 2", "u") + SYNC, 1), (query("select 7; deallocate s"), 1),
            (run(name="u") + SYNC, 1), (query("deallocate u; select 1/0"), 1), pins=["prepared statement"])

    def test_execute_by_name(self):
        self.assert_transparent(
            (parse("select $1::int + 1 as n", "s") + parse("select 'u'", "u") + SYNC, 1), (query("execute s(41)"), 1),
            (query("EXECUTE s('x')"), 1), (query("execute nothing"), 1), (query("execute pgproxy_1(1)"), 1),
            (run(5, name="s") + SYNC, 1), (query("explain (costs off) execute u"), 1), (query("execute u"), 1),
            (query("begin; select 1") + query("execute s(2)") + query("execute nothing") + query("execute s(2)")
             + query("rollback"), 5),
            (query("select 1; execute s(3)"), 1), (close("S", "s") + SYNC + query("execute s(4)"), 2),
            (run(name="u") + SYNC, 1))

    def test_execute_of_what_cannot_be_prepared_any_more(self):
        self.owner(TABLE)
        self.assert_transparent((parse("select * from changing", "s") + SYNC, 1), (run(name="s") + SYNC, 1))
        self.owner("drop table changing")
        for script in (query("execute s"), query("begin") + query("execute s") + query("rollback")):
            self.pooled.send(script)
            reply = self.pooled.read_cycles(1 if b"begin" not in script else 3)
            self.assertEqual(raw.error(reply)["C"], "42P01")
        self.assertEqual(raw.rows(self.pooled.query("select name from pg_prepared_statements")), [])
        self.owner(TABLE)
        self.assertEqual(raw.rows(self.pooled.query("execute s")), [("7",)])

    def test_pg_prepared_statements(self):
        listing = query("select name, statement, parameter_types from pg_prepared_statements order by 1")
        self.assert_transparent(
            (listing, 1), (parse("select 1", "s") + parse("select $1::text", "t") + SYNC, 1), (listing, 1),
            (run(name="s") + SYNC, 1), (close("S", "s") + SYNC, 1), (listing, 1), (query("begin"), 1), (listing, 1),
            (parse("select 2", "s") + run(name="s") + SYNC, 1), (listing, 1), (query("commit"), 1), (listing, 1))

    def test_prepare_by_sql_next_to_the_protocol(self):
        self.assert_transparent(
            (parse("select 1", "s") + SYNC, 1), (query("prepare s as select 2"), 1), (query("prepare q as select 3"), 1),
            (run(name="s") + SYNC, 1), (run(name="q") + SYNC, 1), (parse("select 4", "q") + SYNC, 1),
            (parse("select 5", "r") + run(name="r") + SYNC, 1), (query("execute r"), 1), (query("execute q"), 1),
            pins=["prepared statement"])

    def test_names_by_sql_in_the_extended_protocol(self):
        self.assert_transparent(
            (parse("select 'one'", "s") + parse("select 'two'", "t") + SYNC, 1), (statement("execute s") + SYNC, 1),
            (statement("execute nothing") + SYNC, 1), (run(name="t") + SYNC, 1), (statement("deallocate s") + SYNC, 1),
            (run(name="s") + SYNC, 1), (parse("select 'three'", "s") + SYNC, 1), (statement("execute s") + SYNC, 1),
            (statement("select name from pg_prepared_statements order by 1") + SYNC, 1),
            (parse("select 'four'", "t") + SYNC, 1), (close("S", "t") + parse("select 'four'", "t") + SYNC, 1),
            (run(name="t") + SYNC, 1), pins=["prepared statement"])


    def test_statements_of_others_are_out_of_reach_however_it_is_written(self):
        self.begin(default_pool_size=1)
        self.disturb()  # the neighbour's first ones are there
        names = ("pgproxy_1", "pgproxy_2", "pgproxy_3", 'U&"pgproxy\\005f1"', 'U&"pgproxy\\005f2"')
        for word in ("execute", "deallocate"):
            for front in ("/* /* */ */", "-- \r", "/*/**/* / **/"):
                self.assert_transparent(*((query(f"{front} {word} {name}"), 1) for name in names))
            self.assert_transparent(*((statement(f"/* /* */ */ {word} {name}") + SYNC, 1) for name in names))
        for view in ('U&"pg\\005fprepared_statements"', "/* /* */ */ pg_prepared_statements"):
            self.assert_transparent(
                (query(f"select name from {view}"), 1), (parse("select 1", "s") + SYNC, 1),
                (query(f"select name from {view}"), 1), (close("S", "s") + SYNC, 1))

    def test_deallocate_of_an_escaped_name(self):
        self.assert_transparent(
            (parse("select 1", "s") + parse("select 2", "t") + SYNC, 1), (query('deallocate U&"\\0073"'), 1),
            (run(name="s") + SYNC, 1), (run(name="t") + SYNC, 1), pins=["prepared statement"])

    def test_deallocate_in_a_pipeline(self):
        self.assert_transparent(
            (parse("select 1", "s") + SYNC, 1),
            (query("deallocate s") + parse("select 2", "") + parse("select 3", "t") + SYNC, 2),
            (run(name="t") + SYNC, 1), (query("deallocate t") + parse("select 2", "") + run(name="t") + SYNC, 2),
            (query("deallocate t") + parse("select 2", "") + parse("select 4", "s") + FLUSH, "1"),
            (SYNC, 1), (run(name="s") + SYNC, 1))

    def test_deallocate_that_is_skipped(self):
        self.assert_transparent(
            (parse("select 1", "s") + SYNC, 1), (parse("bad sql", "") + query("deallocate s") + SYNC, 1),
            (run(name="s") + SYNC, 1), (parse("bad sql", "") + query("deallocate all") + SYNC, 1),
            (run(name="s") + SYNC, 1), (run(name="none") + query("deallocate s") + SYNC + run(name="s") + SYNC, 2))


class StalePlans(Prepared):
    settings = {"server_round_robin": 1}

    def change(self):
        self.owner("alter table changing add column b int default 8")

    def restore(self):
        self.owner(TABLE)

    def fill(self, client):
        """Parsed on every server before the table changes."""
        client.ask(parse("select * from changing", "s") + SYNC)
        for _ in range(6):
            self.settle()
            self.assertEqual(raw.rows(self.use(client)), [("7",)])

    def test_the_error_is_passed_on_and_then_all_servers_parse_anew(self):
        self.restore()
        self.fill(self.pooled)
        self.direct.ask(parse("select * from changing", "s") + SYNC)
        self.use(self.direct)
        self.change()
        wanted = self.use(self.direct)
        self.assertEqual(self.use(self.pooled), wanted)
        self.assertEqual(raw.error(wanted)["R"], "RevalidateCachedQuery")
        for _ in range(6):
            self.assertEqual(raw.rows(self.use(self.pooled)), [("7", "8")])
        self.assertEqual(raw.rows(self.client().ask(prepare("select * from changing", "s") + SYNC)), [("7", "8")])

    def test_a_cycle_is_run_again_where_the_configuration_says_so(self):
        self.begin(rerun_on="stale_plan")
        self.restore()
        self.fill(self.pooled)
        self.change()
        before = self.stats()
        for _ in range(6):
            reply = self.use(self.pooled)
            self.assertEqual((raw.tags(reply), raw.rows(reply)), ("2TDCZ", [("7", "8")]))
        after = self.stats()
        self.assertEqual(int(after["total_bind_count"]) - int(before["total_bind_count"]), 6)
        self.assertEqual(self.pooler.log_text().count("run again"), 1)
        # Another statement of the pipeline is run again with it, by whatever pieces it came.
        self.restore()
        self.fill(self.pooled)
        self.change()
        cycle = run(name="s") + statement("select 'second'") + SYNC
        self.pooled.send_bytewise(cycle[:10])  # a piece that has all of the Bind may be answered before the Sync comes
        reply = self.pooled.send(cycle[10:]).read_until("Z")
        self.assertEqual(raw.rows(reply), [("7", "8"), ("second",)])

    def test_what_may_not_be_run_again(self):
        self.begin(rerun_on="stale_plan")
        for before, cycle, after, ends in (
                (query("begin"), run(name="s") + SYNC, query("rollback"), 2),          # in a transaction
                (b"", statement("select 1") + run(name="s") + SYNC, b"", 1),           # not the first
                (b"", run(name="s") + FLUSH, SYNC, 1),                                 # the Sync is still to come
                (b"", run(name="s") + SYNC + query("select 1"), b"", 2),               # more is under way
                (b"", run("x" * 20_000, name="s") + SYNC, b"", 1)):                    # too long to be kept
            self.restore()
            client = self.client()
            more = ", $1::text" if b"xxx" in cycle else ""
            client.ask(parse(f"select *{more} from changing", "s") + SYNC)
            parameters = ("x",) if more else ()
            for _ in range(6):
                self.settle()
                client.ask(run(*parameters, name="s") + SYNC)
            self.change()
            if before:
                client.ask(before)
            reply = client.send(cycle).read_until("EZ")
            self.assertEqual(raw.error(reply)["R"], "RevalidateCachedQuery", cycle)
            client.send(after).read_cycles(ends)
            client.close()

    def test_a_statement_that_somebody_deallocated_in_code(self):
        self.restore()
        client = self.client(user="app2")
        client.ask(parse("select 'kept'", "s") + SYNC)
        client.ask(run(name="s") + SYNC)
        self.owner("create or replace function deallocate_them() returns void language plpgsql as $$"
                   "declare n text; begin for n in select name from pg_prepared_statements loop "
                   "execute 'deallocate ' || quote_ident(n); end loop; end $$")
        client.query("select deallocate_them()")
        reply = client.ask(run(name="s") + SYNC)
        if raw.tags(reply) != "2TDCZ":
            self.assertEqual(raw.error(reply)["M"], 'prepared statement "s" does not exist')
        for _ in range(4):
            self.assertEqual(raw.rows(client.ask(run(name="s") + SYNC)), [("kept",)])


class Drivers(Prepared):
    def test_psycopg(self):
        connections = [self.connect(prepare_threshold=0) for _ in range(5)]
        for turn in range(20):
            for number, connection in enumerate(connections):
                row = connection.execute("select %s::int, %s::int", [number, turn]).fetchone()
                self.assertEqual(row, (number, turn))
        with connections[0].transaction():
            connections[0].execute("create temp table mine (n int) on commit drop")
            for turn in range(10):
                connections[0].execute("insert into mine values (%s)", [turn])
        with connections[1].pipeline():
            cursors = [connections[1].execute("select %s::text", [str(turn)]) for turn in range(100)]
        self.assertEqual([cursor.fetchone()[0] for cursor in cursors], [str(turn) for turn in range(100)])
        self.assertEqual(max(int(row["sv_active"]) + int(row["sv_idle"]) for row in self.pooler.console("show pools")
                             if row["database"] == "test"), 3)

    def test_asyncpg(self):
        async def work(number):
            connection = await asyncpg.connect(host="127.0.0.1", port=self.pooler.port, user="app", password=PASSWORD,
                                               database="test")
            statement = await connection.prepare("select $1::int + $2::int")
            for turn in range(30):
                self.assertEqual(await statement.fetchval(number, turn), number + turn)
                self.assertEqual(await connection.fetchval("select $1::text", str(turn)), str(turn))
                if turn % 10 == 0:
                    with self.assertRaises(asyncpg.DivisionByZeroError):
                        await connection.fetchval("select 1 / $1::int", 0)
            await connection.close()

        async def all_of_them():
            await asyncio.gather(*(work(number) for number in range(6)))
        asyncio.run(all_of_them())
        self.assertEqual(self.doubts(), 0)

    def test_pgbench(self):
        arguments = ("-h", "127.0.0.1", "-p", str(self.pooler.port), "-U", "app")
        environment = {"PGPASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}

        def pgbench(*more):
            done = subprocess.run([BINARIES / "pgbench", *arguments, *more, "test"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False, env=environment, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout)
            return done.stdout
        pgbench("-i", "-q", "-s", "1")
        out = pgbench("-n", "-c", "10", "-j", "10", "-t", "50", "-M", "prepared")
        self.assertIn("number of transactions actually processed: 500/500", out)
        self.assertNotIn("failed transactions: 1", out)
        self.assertEqual(self.pins(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
