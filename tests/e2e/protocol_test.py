"""Conversations as bytes: through pgproxy they read exactly as PostgreSQL itself would answer."""

import unittest

import harness
import raw
from raw import COPY_DONE, FLUSH, SYNC, bind, close, copy_data, copy_fail, describe, execute, parse, query, statement


class Transparency(harness.PoolerTest):
    """Every script runs on PostgreSQL and through a pool of two with a neighbour in between."""

    settings = {"default_pool_size": 2}

    def setUp(self):
        super().setUp()
        self.neighbour = self.client()
        self.direct, self.pooled = self.cluster.raw(), self.client()
        self.addCleanup(self.direct.close)

    def converse(self, client, script):
        """Sends each step and reads up to its n ReadyForQuery or to the tag it names."""
        messages = []
        for sent, wanted in script:
            client.send(sent)
            messages += client.read_cycles(wanted) if isinstance(wanted, int) else client.read_until(wanted)
            if client is self.pooled and messages[-1].tag == "Z" and messages[-1].body == b"I":
                self.neighbour.query("select 'neighbour'")
        return [message for message in messages if message.tag != "S"]

    def assert_transparent(self, *script):
        wanted, got = self.converse(self.direct, script), self.converse(self.pooled, script)
        self.assertEqual(got, wanted)
        self.assertEqual(self.pooled.value("select 42"), "42")
        self.assertEqual(self.neighbour.value("select 43"), "43")
        return got

    def test_simple_queries(self):
        self.assert_transparent(
            (query("select 1, null, 'x'"), 1), (query(""), 1), (query(" -- nothing\n"), 1),
            (query("select 1; select 2; values (3), (4)"), 1), (query("select 1; selec 2; select 3"), 1),
            (query("select 1/0"), 1), (query("begin; select 1; commit"), 1),
            (query("do $$ begin raise notice 'one'; raise warning 'two'; end $$"), 1))

    def test_transaction_status(self):
        self.assert_transparent(
            (query("begin"), 1), (query("select 1"), 1), (query("select 1/0"), 1), (query("select 1"), 1),
            (query("rollback"), 1), (query("begin; savepoint a"), 1), (query("select 1/0"), 1),
            (query("rollback to a"), 1), (query("commit and chain"), 1), (query("commit"), 1))

    def test_several_queries_in_one_write(self):
        script = b"".join(query(f"select {n}") for n in range(50))
        self.assert_transparent((script, 50), (query("begin") + query("select 1") + query("commit"), 3))

    def test_extended_cycles(self):
        self.assert_transparent(
            (parse("select $1::int + 1") + describe("S") + SYNC, 1), (bind(41) + describe() + execute() + SYNC, 1),
            (statement("select $1::text", None) + SYNC, 1), (SYNC, 1), (SYNC * 3, 3),
            (parse("") + bind() + execute() + SYNC, 1), (close("S") + close("P", "nothing") + SYNC, 1),
            (statement("create table if not exists nothing_new ()") + statement("drop table nothing_new") + SYNC, 1))

    def test_the_unnamed_statement_lives_across_syncs(self):
        self.assert_transparent(
            (parse("select $1::int * 2", oids=(23,)) + SYNC, 1), (bind(4) + execute() + SYNC, 1),
            (bind(5) + execute() + SYNC, 1), (describe("S") + SYNC, 1), (bind(6) + execute() + SYNC, 1),
            (statement("select 'another'") + SYNC, 1), (bind() + execute() + SYNC, 1))

    def test_errors_skip_to_the_sync_and_no_further(self):
        good, bad = statement("select 'good'") + SYNC, statement("select 1/(1-$1::int)", 1) + SYNC
        self.assert_transparent((good + bad + good, 3), (bad + bad + good, 3), (bad, 1), (bad * 20 + good, 21))
        self.assert_transparent((statement("selec") + statement("select 1") + SYNC, 1),
                                (parse("selec") + bind() + describe() + execute() + close() + SYNC * 2 + good, 3),
                                (bind(name="missing") + execute() + SYNC, 1), (execute("missing") + SYNC, 1),
                                (bind(1, 2, 3) + SYNC, 1), (parse("select $1::int") + bind("x") + SYNC + good, 2))

    def test_an_error_before_a_simple_query_swallows_it(self):
        self.assert_transparent((parse("selec") + query("select 1") + SYNC + query("select 2"), 2))

    def test_pipelined_transactions(self):
        self.assert_transparent(
            (statement("begin") + SYNC + statement("select 1/0") + SYNC + statement("select 1") + SYNC
             + statement("rollback") + SYNC + statement("select 2") + SYNC, 5),
            (statement("begin") + statement("select 1") + statement("commit") + SYNC, 1),
            (query("begin") + statement("select 1") + SYNC + query("commit") + query("select 3"), 4))

    def test_portals_and_flush(self):
        series = parse("select generate_series(1, 5)") + bind(portal="p")
        self.assert_transparent(
            (series + describe("P", "p") + execute("p", 2) + FLUSH, "s"), (execute("p", 2) + FLUSH, "s"),
            (execute("p") + SYNC, 1), (execute("p") + SYNC, 1))
        self.assert_transparent(
            (query("begin"), 1), (series + execute("p", 1) + SYNC, 1), (execute("p", 1) + SYNC, 1),
            (close("P", "p") + SYNC, 1), (execute("p", 1) + SYNC, 1), (query("commit"), 1))
        self.assert_transparent((parse("select 1") + FLUSH, "1"), (bind() + FLUSH, "2"), (execute() + FLUSH, "C"),
                                (SYNC, 1))
        self.assert_transparent((parse("selec") + FLUSH, "E"), (bind() + execute() + FLUSH + SYNC, 1))

    def test_named_statements_stay_with_their_client(self):
        self.assert_transparent(
            (parse("select $1::int", "named") + SYNC, 1), (bind(1, name="named") + execute() + SYNC, 1),
            (bind(2, name="named") + execute() + SYNC, 1), (describe("S", "named") + SYNC, 1),
            (parse("select 2", "named") + SYNC, 1), (close("S", "named") + SYNC, 1),
            (bind(3, name="named") + SYNC, 1))

    def test_function_calls(self):
        self.assert_transparent(
            (raw.function_call(177, 3, 4), 1), (raw.function_call(154, 1, 0), 1),
            (raw.function_call(99999999), 1), (raw.function_call(177, 1, 1) * 3 + query("select 1"), 4))

    def test_copy_out(self):
        self.assert_transparent(
            (query("copy (select g, repeat('x', 100) from generate_series(1, 500) g) to stdout"), 1),
            (query("copy (values (1)) to stdout; select 2; copy (values (3)) to stdout"), 1),
            (statement("copy (values (1), (2)) to stdout") + SYNC, 1),
            (query("copy (select 1/(5-g) from generate_series(1, 9) g) to stdout"), 1),
            (statement("copy (select 1/(5-g) from generate_series(1, 9) g) to stdout") + SYNC * 2, 2))

    def test_copy_in(self):
        self.cluster.execute("drop table if exists copied; create table copied (n int);"
                             "grant all on copied to public", database="test")
        start, data = query("copy copied from stdin"), copy_data(b"1\n2\n")
        extended = statement("copy copied from stdin")
        self.assert_transparent(
            (start, "G"), (data + copy_data(b"3\n") + COPY_DONE, 1),
            (start + data + COPY_DONE + query("select 1"), 2), (start, "G"), (copy_fail("no more") + query("select 2"), 2),
            (query("copy copied from stdin; select 'after'; copy copied from stdin"), "G"), (data + COPY_DONE, "G"),
            (data + COPY_DONE, 1), (extended + FLUSH, "G"), (data + COPY_DONE + SYNC, 1),
            (extended + SYNC, "G"), (data + COPY_DONE + SYNC, 1), (extended + SYNC + data + COPY_DONE + SYNC, 1))

    def test_copy_in_that_fails(self):
        self.cluster.execute("drop table if exists copied; create table copied (n int);"
                             "grant all on copied to public", database="test")
        start, bad = query("copy copied from stdin"), copy_data(b"not a number\n")
        extended = statement("copy copied from stdin")
        late = (copy_data(b"1\n") * 3 + COPY_DONE)
        self.assert_transparent(
            (start, "G"), (bad + late, 1), (query("select 'late data was dropped'"), 1),
            (start + bad + late + query("select 1"), 2), (start, "G"), (bad + copy_fail("late") + query("select 2"), 2),
            (extended + FLUSH, "G"), (bad + late + SYNC, 1), (extended + SYNC, "G"), (bad + late + SYNC, 1),
            (query("begin"), 1), (start, "G"), (bad + late, 1), (query("select 1"), 1), (query("rollback"), 1),
            (query("copy no_such_table from stdin") + late + query("select 4"), 2))

    def test_a_query_in_the_middle_of_a_copy_ends_the_connection(self):
        self.cluster.execute("drop table if exists copied; create table copied (n int);"
                             "grant all on copied to public", database="test")
        transcripts = []
        for client in (self.direct, self.pooled):
            client.send(query("copy copied from stdin")).read_until("G")
            transcripts.append(client.send(query("select 1")).read_to_end())
        self.assertEqual([message.fields()["C"] for message in transcripts[1]][:1], ["08P01"])
        self.assertEqual(raw.tags(transcripts[0])[0], raw.tags(transcripts[1])[0])
        self.assertEqual(self.neighbour.value("select 1"), "1")

    def test_copy_data_outside_of_a_copy_is_dropped(self):
        self.assert_transparent((copy_data(b"x") + COPY_DONE + copy_fail("y") + query("select 1"), 1))

    def test_messages_split_at_every_byte(self):
        script = (parse("select $1::text", oids=(25,)) + bind("é" * 5) + describe() + execute() + SYNC
                  + query("select 'x'") + query("copy (values (7)) to stdout"))
        self.direct.send(script)
        wanted = self.direct.read_cycles(3)
        self.pooled.send_bytewise(script)
        self.assertEqual(self.pooled.read_cycles(3), wanted)

    def test_names_and_texts_larger_than_any_buffer(self):
        text, name = "select '" + "x" * 300_000 + "' as a", "n" * 100_000
        self.assert_transparent(
            (query(text), 1), (statement(text) + SYNC, 1), (statement("select length($1)", "y" * 1_000_000) + SYNC, 1),
            (parse(text, name) + bind(name=name) + describe() + execute() + SYNC, 1))

    def test_rows_larger_than_any_buffer(self):
        self.assert_transparent((query("select repeat('abc', 1000000), 1 from generate_series(1, 3)"), 1),
                                (statement("select repeat('abc', $1::int)", 2_000_000) + SYNC, 1))

    def test_a_parameter_change_is_reported(self):
        for client in (self.direct, self.pooled):
            reply = client.query("set application_name = 'renamed'")
            self.assertIn(raw.Message("S", b"application_name\0renamed\0"), reply)
            client.query("begin; set local timezone = 'Asia/Tokyo'")
            self.assertEqual(client.value("show timezone"), "Asia/Tokyo")
            client.query("rollback")
        self.assertEqual(self.pooled.value("show timezone"), self.direct.value("show timezone"))

    def test_a_terminate_glued_to_work_waits_for_the_work(self):
        self.cluster.execute("drop table if exists done; create table done ();"
                             "grant all on done to public", database="test")
        client = self.client()
        client.send(query("insert into done default values") + raw.TERMINATE)
        reply = client.read_to_end()
        self.assertIn(raw.tags(reply), ("", "CZ"))
        harness.eventually(lambda: self.cluster.execute("select count(*) from done", database="test") == [(1,)],
                           "the insert before the Terminate ran")


if __name__ == "__main__":
    unittest.main(verbosity=2)
