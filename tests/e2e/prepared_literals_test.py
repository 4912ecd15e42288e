"""Prepared statements keep the meaning of their literals: that of the settings when they were parsed."""

import unittest

import raw
from prepared_test import Prepared, run
from raw import SYNC, bind, close, describe, execute, frame, parse, query, statement, text

DATE = "select '02/01/2026'::date"
INSTANT = "select '2026-01-02 12:00'::timestamptz at time zone 'UTC'"
BACKSLASH = r"select 'a\'"


class Literals(Prepared):
    settings = {"server_round_robin": 1}

    def assert_kept(self, prepared, setting, *others):
        """`prepared` means what it meant, on every server, whatever `setting` says later."""
        use = (run(name="s") + SYNC, 1)
        return self.assert_transparent((parse(prepared, "s") + SYNC, 1), (query(setting), 1), *(use for _ in range(5)),
                                       *others, use, use, (query("discard all"), 1))

    def test_settings_of_the_session(self):
        for prepared, setting in ((DATE, "set datestyle = 'iso, dmy'"), (INSTANT, "set timezone = 'Asia/Tokyo'"),
                                  (BACKSLASH, "set standard_conforming_strings = off"),
                                  ("select interval '-1-2 3'", "set intervalstyle = 'sql_standard'"),
                                  ("select 'null'::text, '{null}'::text[]", "set array_nulls = off"),
                                  ("select 'a' where null = null or 'b' = 'b'", "set transform_null_equals = on")):
            with self.subTest(setting):
                self.assert_kept(prepared, setting)

    def test_an_encoding(self):
        use = (run(name="s") + SYNC, 1)
        self.assert_transparent(
            (query("set client_encoding = 'latin1'"), 1), (parse_latin1("select 'é', 1 as \"ü\"", "s") + SYNC, 1),
            (query("set client_encoding = 'utf8'"), 1), *(use for _ in range(5)))

    def test_back_again(self):
        use = (run(name="s") + SYNC, 1)
        turns = [step for _ in range(3) for step in ((query("set datestyle = 'iso, dmy'"), 1), use,
                                                     (query("set datestyle = 'sql, dmy'"), 1), use,
                                                     (query("reset datestyle"), 1), use)]
        self.assert_transparent((parse(DATE, "s") + SYNC, 1), *turns)

    def test_settings_of_a_transaction(self):
        use = (run(name="s") + SYNC, 1)
        for setting in ("set local datestyle = 'iso, dmy'", "select set_config('datestyle', 'iso, dmy', true)",
                        "set datestyle = 'iso, dmy'", "do $$begin perform set_config('datestyle', 'iso, dmy', true); end$$"):
            for end in ("commit", "rollback"):
                with self.subTest(f"{setting}; {end}"):
                    block = ((query("begin"), 1), (query(setting), 1), use, use, (query(DATE), 1), (query(end), 1), use)
                    self.assert_transparent((parse(DATE, "s") + SYNC, 1), *block, *block, *block, *block,
                                            (query("discard all"), 1))

    def test_setting_and_use_in_one_pipeline(self):
        use = (run(name="s") + SYNC, 1)
        block = (query("begin") + statement("set local datestyle = 'iso, dmy'") + SYNC + run(name="s") + SYNC
                 + query("commit"), 4)
        self.assert_transparent((parse(DATE, "s") + SYNC, 1), *((block, use) * 4)[0:8])

    def test_a_savepoint_in_front_of_the_use(self):
        use = (run(name="s") + SYNC, 1)
        block = ((query("begin"), 1), (query("savepoint a"), 1), (query("set local datestyle = 'iso, dmy'"), 1), use,
                 (query("rollback to a"), 1), (query(DATE), 1), use, (query("release a"), 1),
                 (query("set local datestyle = 'iso, dmy'"), 1), (query("savepoint b"), 1), use, (query(DATE), 1),
                 (query("rollback"), 1))
        self.assert_transparent((parse(DATE, "s") + SYNC, 1), *block, *block, *block, use, use)

    def test_another_search_path_has_them_read_anew(self):
        use = (run(name="s") + SYNC, 1)
        self.assert_transparent(
            (parse(DATE, "s") + SYNC, 1), (query("set datestyle = 'iso, dmy'"), 1), use, use,
            (query("set search_path = pg_catalog"), 1), use, use, use, (query("reset datestyle"), 1), use, use,
            (query("reset search_path"), 1), use, use, use, (query("begin"), 1),
            (query("set local search_path = pg_catalog"), 1), (query("set local datestyle = 'iso, dmy'"), 1), use, use,
            (query("set local search_path = information_schema"), 1), use, (query("commit"), 1), use, use, use)

    def test_what_another_client_had_read_anew(self):
        other = self.client()
        self.assert_transparent((parse(DATE, "s") + SYNC, 1), *((run(name="s") + SYNC, 1) for _ in range(4)))
        other.ask(parse(DATE, "s") + SYNC)
        use = (run(name="s") + SYNC, 1)
        for _ in range(6):
            for sql in ("begin", "set local search_path = pg_catalog", "set local datestyle = 'iso, dmy'"):
                other.ask(query(sql))
            self.assertEqual(raw.rows(other.ask(run(name="s") + SYNC)), [("2026-01-02",)])
            other.ask(query("commit"))
            self.assert_transparent(
                (query("begin"), 1), (query("set local search_path = pg_catalog"), 1), use, (query("commit"), 1), use)

    def test_the_unnamed_statement(self):
        use = (bind() + describe() + execute() + SYNC, 1)
        for prepared, setting in ((DATE, "set datestyle = 'iso, dmy'"), (BACKSLASH, "set standard_conforming_strings = off")):
            with self.subTest(setting):
                self.assert_transparent((parse(prepared) + SYNC, 1), (statement_named(setting), 1), use, use, use, use,
                                        (statement_named("reset all"), 1), use, use)

    def test_names_in_sql(self):
        execute_it = (query("execute s"), 1)
        use = (run(name="s") + SYNC, 1)
        self.assert_transparent(
            (parse(DATE, "s") + SYNC, 1), (query("set datestyle = 'iso, dmy'"), 1), execute_it, execute_it, execute_it,
            (query("reset datestyle"), 1), (query("begin"), 1), (query("set local datestyle = 'iso, dmy'"), 1),
            execute_it, (query("commit"), 1), execute_it, use)

    def test_names_in_sql_of_the_extended_protocol(self):
        count = (statement("select count(*) from pg_prepared_statements where name = 's'") + SYNC, 1)
        use = (run(name="s") + SYNC, 1)
        self.assert_transparent(
            (parse(DATE, "s") + SYNC, 1), (query("begin"), 1), (query("set local datestyle = 'iso, dmy'"), 1), count, use,
            (query("commit"), 1), use, use, (query("deallocate s"), 1), pins=())

    def test_rollback_to_takes_settings_back(self):
        use = (run(name="s") + SYNC, 1)
        look = parse(DATE) + bind() + execute()
        begin = ((query("begin"), 1), (query("savepoint a"), 1), (query("set local datestyle = 'iso, dmy'"), 1))
        back = statement("rollback to a")
        for block in ((*begin, (back + run(name="s") + look + SYNC, 1)),
                      (*begin, (query("select 1/0"), 1), (back + run(name="s") + look + SYNC, 1)),
                      (*begin, (query("rollback to a") + run(name="s") + look + SYNC, 2))):
            with self.subTest(block[-1]):
                block = (*block, (look + SYNC, 1), (query("commit"), 1))
                self.assert_transparent((parse(DATE, "s") + SYNC, 1), *(block * 4), use, (query("discard all"), 1))

    def test_the_end_not_waited_for(self):
        use = (run(name="s") + SYNC, 1)
        block = ((query("begin"), 1), (query("set local datestyle = 'iso, dmy'"), 1),
                 (query("commit") + run(name="s") + SYNC + query(DATE), 3))
        self.assert_transparent((parse(DATE, "s") + SYNC, 1), *(block * 4), use)

    def test_the_end_and_use_before_one_sync(self):
        """What the settings are behind it only the server knows: right, or refused, and nothing else goes wrong."""
        self.pooled.ask(parse(DATE, "s") + SYNC)
        for change in ("set local datestyle = 'iso, dmy'", "set local search_path = x; set local datestyle = 'iso, dmy'"):
            for failing in ("", "select 1/0"):
                for end in ("commit", "rollback", "abort", "end"):
                    for sql in ("begin", change, failing or "select 1"):
                        self.pooled.ask(query(sql))
                    if failing and end in ("commit", "end"):
                        end = "rollback"
                    reply = self.pooled.ask(statement(end) + run(name="s") + statement(DATE) + SYNC)
                    self.assertEqual(reply[-1].body, b"I")
                    if raw.rows(reply) != [("2026-02-01",)] * 2:
                        self.assertEqual(raw.rows(reply), [])
                        self.assertEqual(raw.error(reply)["C"], "0A000")
                    self.disturb()
                    self.assertEqual(raw.rows(self.pooled.ask(run(name="s") + SYNC)), [("2026-02-01",)])
        self.assertEqual(self.doubts(), 0)

    def test_a_setting_bound_and_executed_later(self):
        block = ((query("begin"), 1), (parse("set local datestyle = 'iso, dmy'") + bind(portal="p") + SYNC, 1),
                 (execute("p") + run(name="s") + SYNC, 1), (query("rollback"), 1))
        self.assert_transparent((parse(DATE, "s") + SYNC, 1), *(block * 4))

    def test_reset_all_in_a_transaction(self):
        use = (run(name="s") + SYNC, 1)
        block = ((query("begin"), 1), (query("reset all"), 1), use, (query("rollback"), 1), use)
        self.assert_transparent(
            (query("set transform_null_equals = on"), 1),
            (parse("select 'a' where null = null or 'b' = 'c'", "s") + SYNC, 1), *(block * 5))

    def test_a_search_path_of_one_transaction(self):
        """PostgreSQL reads literals anew behind it, whether they were read or parsed in it."""
        use = (run(name="s") + SYNC, 1)
        inside = ((query("begin"), 1), (query("set local search_path = pg_catalog"), 1))
        for first, change, then in (
                ((), "set datestyle = 'iso, dmy'", (*inside, use, (query("commit"), 1))),
                (inside, "set datestyle = 'iso, dmy'", ())):
            with self.subTest(then):
                commit = ((query("commit"), 1),) if first else ()
                self.assert_transparent(*first, (parse(DATE, "s") + SYNC, 1), *commit, (query(change), 1), *then, *([use] * 5),
                                        (query("reset datestyle"), 1), use, use, use, (query("discard all"), 1))

    def test_a_search_path_is_of_the_name_that_was_used(self):
        use, other = (run(name="s") + SYNC, 1), (run(name="t") + SYNC, 1)
        block = ((query("begin"), 1), (query("set local search_path = pg_catalog"), 1),
                 (query("set datestyle = 'iso, dmy'"), 1), use, (query("commit"), 1), use, other,
                 (query("reset datestyle"), 1), use, other)
        self.assert_transparent((parse(DATE, "s") + parse(DATE, "t") + SYNC, 1), *(block * 4))

    def test_a_tenant_in_one_pipeline_pins_nothing(self):
        tenant = parse("select set_config('app.tenant', $1, true)", "c") + bind("x", name="c") + execute()
        self.assert_transparent(
            (query("begin") + tenant + parse(DATE, "s") + run(name="s") + SYNC + query("commit"), 3),
            *([(run(name="s") + SYNC, 1)] * 3))

    def test_what_failed_leaves_nothing_behind(self):
        """Our own statement fails once: the server can still be used."""
        owner = self.cluster.raw("postgres")
        self.addCleanup(owner.close)
        self.pooled.ask(parse(DATE, "s") + SYNC)
        denied = 0
        for turn in range(12):
            self.disturb()
            self.pooled.ask(query("begin"))
            self.pooled.ask(query("set local datestyle = 'iso, dmy'"))
            if turn < 4:
                owner.ask(query("revoke execute on function set_config from public"))
            reply = self.pooled.ask(run(name="s") + SYNC)
            owner.ask(query("grant execute on function set_config to public"))
            self.pooled.ask(query("rollback"))
            if raw.rows(reply) != [("2026-02-01",)]:
                self.assertLess(turn, 4)
                self.assertEqual(raw.error(reply)["C"], "42501")
                denied += 1
        self.assertGreater(denied, 0)

    def test_what_cannot_be_done_is_said(self):
        """Setting and use before one Sync: the server may be in no transaction block, which only it knows."""
        self.pooled.ask(parse(DATE, "s") + SYNC)
        replies = [self.pooled.ask(statement("select set_config('datestyle', 'iso, dmy', true)") + run(name="s") + SYNC)
                   for _ in range(4)]
        for reply in replies:
            if raw.rows(reply)[1:] == [("2026-02-01",)]:
                continue
            error = raw.error(reply)
            self.assertEqual(error["C"], "0A000")
            self.assertIn("BEGIN", error["H"])
        self.assertEqual(raw.rows(self.pooled.ask(run(name="s") + SYNC)), [("2026-02-01",)])

    def test_behind_reset_all_nothing_is_in_doubt(self):
        """What a RESET ALL goes back to is known: the settings at startup. A ROLLBACK TO takes that back."""
        nulls, use = "select 'a' where null = null or 'b' = 'c'", (run(name="s") + SYNC, 1)
        for end in ("commit", "rollback"):
            for change in ("reset all", "savepoint a; reset all; release a"):
                with self.subTest(f"{change}; {end}"):
                    resets = tuple((query(sql), 1) for sql in change.split("; "))
                    self.assert_transparent(
                        (query("set transform_null_equals = on"), 1), (query("begin"), 1), *resets,
                        (parse(nulls, "s") + SYNC, 1), use, (query(end), 1), *([use] * 5),
                        (query("set transform_null_equals = on"), 1), *([use] * 4), (query("discard all"), 1))

    def test_reset_all_taken_back(self):
        nulls, use = "select 'a' where null = null or 'b' = 'c'", (run(name="s") + SYNC, 1)
        self.assert_transparent(
            (query("set transform_null_equals = on"), 1), (query("begin"), 1), (query("savepoint a"), 1),
            (query("reset all"), 1), (query("rollback to a"), 1), (parse(nulls, "s") + SYNC, 1), use,
            (query("commit"), 1), *([use] * 4), pins=("state that no query shows",))

    def test_what_must_not_pin_stays_where_it_was_read(self):
        """Parsed behind the change and before the same Sync, it means something on this server only."""
        cycle = (query("begin") + statement("set local datestyle = 'iso, dmy'") + parse(DATE, "s") + run(name="s") + SYNC
                 + query("commit"))
        for settings, pins in (({"on_residue": "error"}, 0), ({"max_pinned_fraction": "0.1"}, 0), ({}, 1)):
            with self.subTest(settings):
                self.begin(on_sequence_state="learn", **settings)
                self.assertEqual(raw.rows(self.pooled.send(cycle).read_cycles(3)), [("2026-01-02",)])
                self.assertEqual(len(self.pins()), pins)
                refused = 0
                for _ in range(6):
                    self.disturb()
                    reply = self.pooled.ask(run(name="s") + SYNC)
                    if raw.rows(reply) != [("2026-01-02",)]:
                        self.assertEqual(raw.error(reply)["C"], "0A000")
                        self.assertIn("on_residue", raw.error(reply)["H"])
                        refused += 1
                self.assertEqual(refused > 0, pins == 0)
                reply = self.pooled.ask(query("execute s"))
                self.assertIn(raw.rows(reply) or raw.error(reply)["C"], ("0A000", [("2026-01-02",)]))
                self.pooled.ask(close("S", "s") + parse(DATE, "s") + SYNC)
                for _ in range(4):
                    self.disturb()
                    self.assertEqual(raw.rows(self.pooled.ask(run(name="s") + SYNC)), [("2026-02-01",)])


def parse_latin1(sql, name):
    return frame("P", text(name) + sql.encode("latin1") + b"\0\0\0")


def statement_named(sql):
    """By the extended protocol, the unnamed statement stays what it is."""
    return parse(sql, "set") + bind(name="set") + execute() + close("S", "set") + SYNC


if __name__ == "__main__":
    unittest.main()
