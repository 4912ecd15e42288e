"""Prepared statements whose results change, and those that are known before a server is asked."""

import unittest

import harness
import raw
from prepared_test import TABLE, Prepared, essence, run
from raw import FLUSH, SYNC, bind, close, describe, execute, parse, query, statement


class Descriptions(Prepared):
    """What Describe told of a statement's rows holds on servers that parse it later."""

    settings = {"server_round_robin": 1}
    select = parse("select * from changing", "s") + describe("S", "s") + SYNC
    use = bind(name="s") + execute() + SYNC

    def begin(self, **settings):
        super().begin(**settings)
        self.owner(TABLE)

    def change(self):
        self.owner("alter table changing add column b int default 8")

    def test_nothing_changed(self):
        insert = parse("insert into changing select $1::int where false", "t") + describe("S", "t") + SYNC
        self.assert_transparent((self.select, 1), (insert, 1), *((self.use, 1) for _ in range(6)),
                                *((run(n, name="t") + self.use, 1) for n in range(6)),
                                (describe("S", "s") + describe("S", "t") + SYNC, 1), (query("begin"), 1),
                                (run(9, name="t") + run(name="s") + FLUSH, "C"), (self.use, 1),
                                (query("rollback"), 1), (self.use, 1))
        both = bind(name="s") + execute() + bind(9, name="t") + execute() + SYNC
        parses = []
        for _ in range(2):  # each server tells once
            for _ in range(6):
                self.settle()
                self.pooled.ask(both)
            parses.append(self.stats()["total_server_parse_count"])
        self.assertEqual(parses[0], parses[1])

    def test_other_columns_are_an_error_until_it_is_prepared_anew(self):
        self.assert_transparent((self.select, 1))
        self.change()
        again = (self.use, 1)
        wanted = self.assert_transparent(
            again, again, again, again, (statement("select 1") + bind(name="s") + execute() + statement("select 2") + SYNC, 1),
            (statement("select 3") + SYNC, 1), (query("begin"), 1), (query("select 4"), 1), again,
            (query("select 5"), 1), again, (query("rollback"), 1), (close("S", "s") + SYNC, 1), (self.select, 1),
            *(again for _ in range(6)))
        errors = [raw.error(step) for step in wanted[:4]]
        self.assertEqual(raw.rows(wanted[4]), [("1",)])
        self.assertEqual([(error["C"], error["R"]) for error in errors], [("0A000", "RevalidateCachedQuery")] * 4)
        self.assertEqual(raw.rows(wanted[-1]), [("7", "8")])

    def test_other_columns_are_an_error_of_describe(self):
        self.assert_transparent((self.select, 1))
        self.change()
        for client in (self.direct, self.pooled, self.pooled):
            reply = client.send(describe("S", "s") + execute() + SYNC + statement("select 3") + SYNC).read_cycles(2)
            self.assertEqual((raw.error(reply)["C"], raw.rows(reply)), ("0A000", [("3",)]))
            self.disturb()

    def test_what_describe_told_of_a_portal(self):
        """A driver that describes its first portal only."""
        self.assert_transparent((parse("select * from changing", "s") + SYNC, 1), (run(name="s") + SYNC, 1),
                                *((self.use, 1) for _ in range(6)))
        self.change()
        for step in self.assert_transparent(*((self.use, 1) for _ in range(3))):
            self.assertEqual(raw.error(step)["C"], "0A000")
        self.assert_transparent((close("S", "s") + parse("select * from changing", "s") + self.use, 1),
                                *((self.use, 1) for _ in range(3)))

    def test_types_and_names_count(self):
        for change in ("alter table changing alter a type bigint", "alter table changing rename a to b",
                       "alter table changing alter a type numeric(7, 2)"):
            self.owner(TABLE)
            self.assert_transparent((close("S", "s") + self.select, 1))
            self.owner(change)
            for step in self.assert_transparent(*((self.use, 1) for _ in range(3))):
                self.assertEqual(raw.error(step)["C"], "0A000", change)

    def test_a_table_that_is_made_anew_and_one_that_is_gone(self):
        self.assert_transparent((self.select, 1), (self.use, 1))
        self.owner(TABLE)
        self.assert_transparent(*((self.use, 1) for _ in range(4)))
        self.owner("drop table changing")
        self.assert_transparent(
            *((self.use, 1) for _ in range(4)), (query("begin"), 1), (self.use, 1),
            (query("select 1"), 1), (query("rollback"), 1))

    def test_a_server_that_parsed_it_before_the_change(self):
        """The client's description is the right one, the server's is old."""
        old = self.client()
        old.ask(self.select)
        for _ in range(6):
            self.settle()
            old.ask(self.use)
        self.assertEqual(min(self.counts("servers")), 1)
        self.change()
        self.owner("alter table changing rename to changing_too")
        self.owner("create table changing (a int); insert into changing values (7); grant all on changing to public")
        self.assert_transparent((self.select, 1), *((self.use, 1) for _ in range(6)))

    def test_split_at_every_byte(self):
        self.assert_transparent((self.select, 1))
        self.change()
        for cycle in (self.use, self.use + statement("select 'more'") + SYNC):
            count = cycle.count(SYNC)
            wanted = self.direct.send(cycle).read_cycles(count)
            got = self.pooled.send_bytewise(cycle).read_cycles(count)
            self.assertEqual([essence(message) for message in got], [essence(message) for message in wanted])

    def test_descriptions_of_any_size(self):
        columns = ", ".join(f"{'c' * 50}{n} int" for n in range(1600))
        self.owner(f"drop table if exists wide; create table wide ({columns}); grant all on wide to public")
        self.assert_transparent((parse("select * from wide", "s") + describe("S", "s") + SYNC, 1),
                                *((self.use, 1) for _ in range(4)))

    def test_a_client_that_leaves_while_a_server_describes(self):
        for _ in range(6):
            client = self.client()
            client.ask(self.select)
            for _ in range(3):
                client.send(self.use)
            client.vanish()
        self.assert_transparent((self.select, 1), *((self.use, 1) for _ in range(3)))

    def test_a_cycle_that_is_run_again_keeps_to_it(self):
        self.begin(rerun_on="stale_plan")
        self.assert_transparent((self.select, 1), *((self.use, 1) for _ in range(6)))
        self.change()
        for step in self.assert_transparent(*((self.use + statement("select 'more'") + SYNC, 2) for _ in range(4))):
            self.assertEqual((raw.error(step)["C"], raw.rows(step)), ("0A000", [("more",)]))


class WithoutServer(Prepared):
    """A Parse of what some server has parsed is answered without one."""

    def test_while_all_servers_are_held(self):
        prepared = parse("select $1::text", "s") + SYNC
        self.pooled.ask(prepared)
        self.neighbour.query("select 1")
        holders = self.clients(3)
        for holder in holders:
            holder.query("begin")
        late = self.client()
        self.assertEqual(raw.tags(late.ask(prepared)), "1Z")
        late.send(prepared + close("S", "s") + SYNC + run("queued", name="s") + SYNC)
        harness.eventually(lambda: any(row["state"] == "waiting" for row in self.pooler.console("show clients")), "it waits")
        for holder in holders:
            holder.query("rollback")
        reply = late.read_cycles(3)
        self.assertEqual(raw.tags(reply), "EZ3ZEZ")
        self.assertEqual([message.fields()["C"] for message in reply if message.tag == "E"], ["42P05", "26000"])
        self.assertEqual(raw.tags(late.ask(prepared)), "1Z")
        self.assertEqual(raw.rows(late.ask(run("served", name="s") + SYNC)), [("served",)])

    def test_only_what_is_sure_to_succeed(self):
        self.owner(TABLE)
        self.pooled.ask(parse("select * from changing", "s") + SYNC)
        self.owner("drop table changing")
        self.pooled.ask(run(name="s") + SYNC)
        for sql, sqlstate in (("select * from nowhere", "42P01"), ("syntax error", "42601")):
            for client in (self.pooled, self.client()):
                self.assertEqual(raw.error(client.ask(parse(sql, "t") + SYNC))["C"], sqlstate)

    def test_types_make_another_statement(self):
        self.pooled.ask(parse("select $1", "s", (25,)) + SYNC)
        client = self.client()
        self.assertEqual(raw.tags(client.ask(parse("select $1", "s", (25,)) + SYNC)), "1Z")
        self.assertEqual(raw.error(client.ask(parse("select $1", "t", (1,)) + SYNC)).get("C"),
                         raw.error(self.direct.ask(parse("select $1", "t", (1,)) + SYNC)).get("C"))

    def test_it_is_the_clients_own_all_the_same(self):
        self.pooled.ask(parse("select 1", "s") + SYNC)
        before = self.stats()
        self.assert_transparent(
            (parse("select 1", "t") + SYNC, 1), (parse("select 1", "t") + SYNC, 1), (run(name="t") + SYNC, 1),
            (close("S", "t") + SYNC, 1), (parse("select 1", "t") + describe("S", "t") + run(name="t") + SYNC, 1),
            (query("deallocate t"), 1), (run(name="t") + SYNC, 1), (parse("select 1", "t") + SYNC, 1),
            (query("execute t"), 1), (query("deallocate all"), 1), (run(name="t") + SYNC, 1))
        self.assertGreater(int(self.stats()["total_client_parse_count"]), int(before["total_client_parse_count"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
