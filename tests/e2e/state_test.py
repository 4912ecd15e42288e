"""No client ever meets another's session state: three servers in rotation, and noise in between."""

import unittest

import harness
import raw
from raw import SYNC, bind, execute, parse


class Isolation(harness.PoolerTest):
    """PROTOCOL: a pooler that hands the same client the same server hides every defect of this kind."""

    settings = {"default_pool_size": 4, "checkout_order": "round_robin"}

    def setUp(self):
        super().setUp()
        for holder in self.fill_pool(size=4):
            holder.query("commit")
        self.one, *self.noise = self.clients(4)

    def on_all_servers(self, sql):
        """What others see, asked often enough to pass every free server."""
        return {client.value(sql) for _ in range(4) for client in self.noise}

    def pins(self):
        """Why clients are pinned: one reason for each."""
        return [row["pinned"] for row in self.pooler.console("show clients") if row["pinned"]]

    def test_set_stays_with_its_client(self):
        self.one.query("set work_mem = '7MB'")
        self.one.query("set search_path = pg_catalog")
        self.assertEqual(self.on_all_servers("show work_mem"), {"4MB"})
        self.assertEqual(self.on_all_servers("show search_path"), {'"$user", public'})
        for _ in range(5):
            self.assertEqual(self.one.value("show work_mem"), "7MB")
            self.assertEqual(self.one.value("show search_path"), "pg_catalog")

    def test_set_config_stays_with_its_client(self):
        self.one.query("select set_config('app.tenant', 'blue', false)")
        self.assertEqual(self.on_all_servers("select coalesce(current_setting('app.tenant', true), '')"), {""})
        self.assertEqual(self.one.value("select current_setting('app.tenant')"), "blue")

    def test_custom_settings_follow_their_client_whoever_names_them(self):
        look = "select coalesce(current_setting('app.tenant', true), '')"
        named = [parse("select set_config($1, $2, false)", "s"), bind("app.tenant", "blue", name="s")]
        for messages in ([parse("select set_config($1, $2, false)"), bind("App.Tenant", "blue")], named):
            client = self.client()
            client.ask(b"".join(messages) + execute() + SYNC)
            self.assertEqual(self.on_all_servers(look), {""})
            self.assertEqual({client.value(look) for _ in range(5)}, {"blue"})
            self.assertEqual(self.pins(), [])
        self.one.query("select set_config('app.' || 'tenant', 'red', false)")
        self.assertEqual(len(self.pins()), 1)
        self.assertEqual(self.on_all_servers(look), {""})
        self.assertEqual(self.one.value(look), "red")

    def test_a_setting_that_is_refused_is_nobodys(self):
        """Its default is no setting of the client's: replaying that would be refused, too."""
        for statements in (("begin", "set session_replication_role = replica", "rollback"),
                           ("begin; set work_mem = '7MB'; set session_replication_role = replica",),
                           ("begin", "set transaction read only", "set work_mem = '7MB'", "rollback"),
                           ("do $$ begin if false then set session_replication_role = replica; end if; end $$",)):
            with self.subTest(statements=statements):
                client = self.client()
                for sql in statements:
                    client.query(sql)
                client.query("rollback")
                self.assertEqual(self.on_all_servers("show work_mem"), {"4MB"})
                self.assertEqual({client.value("show work_mem") for _ in range(5)}, {"4MB"})

    def test_behind_a_reset_a_client_hears_of_its_own_settings_only(self):
        client = self.client(TimeZone="Asia/Tokyo", IntervalStyle="iso_8601")
        for reset in ("reset all", "discard all", "reset timezone", "set timezone to default"):
            client.query("set timezone = 'Europe/Rome'")
            reply = client.query(reset)
            self.assertEqual(client.parameters["TimeZone"], "Asia/Tokyo", reset)
            told = [message.body.split(b"\0")[1] for message in reply if message.tag == "S"]
            self.assertLessEqual(set(told), {b"Asia/Tokyo", b"iso_8601"}, reset)
            self.assertEqual(client.value("show timezone"), "Asia/Tokyo")

    def test_reported_settings_follow_their_client(self):
        zones = {client: zone for client, zone in zip([self.one, *self.noise], ("Asia/Tokyo", "UTC", "Europe/Rome", "Asia/Tokyo"))}
        for client, zone in zones.items():
            client.query(f"set timezone = '{zone}'")
            self.assertEqual(client.parameters["TimeZone"], zone)
            client.query("commit")
        for _ in range(4):
            for client, zone in zones.items():
                self.assertEqual(client.value("show timezone"), zone)

    def test_startup_settings_follow_their_client(self):
        clients = {self.client(statement_timeout=str(n * 1000), application_name=f"client {n}"): n for n in range(1, 7)}
        for _ in range(5):
            for client, number in clients.items():
                self.assertEqual(client.value("show statement_timeout"), f"{number}s")
                self.assertEqual(client.value("show application_name"), f"client {number}")
            self.assertEqual(self.on_all_servers("show statement_timeout"), {"0"})

    def test_sequences_of_others_are_not_told(self):
        self.one.query("create sequence if not exists drawn")
        self.on_all_servers("select nextval('drawn')")
        for before in ((), ("set work_mem = '5MB'",)):
            with self.subTest(before=before):
                client = self.client()
                for statement in before:
                    client.query(statement)
                self.assertEqual(raw.error(client.query("select lastval()"))["C"], "55000")
                self.assertEqual(raw.error(client.query("select currval('drawn')"))["C"], "55000")
                number = client.value("select nextval('drawn')")
                self.assertEqual(client.value("select lastval()"), number)

    def test_a_prepared_lastval_in_a_later_transaction_tells_nothing_of_others(self):
        self.one.query("create sequence if not exists drawn")
        client = self.client()
        lastval = raw.bind(name="last") + raw.execute() + raw.SYNC
        client.query("begin")
        client.query("select nextval('drawn')")
        self.assertEqual(raw.tags(client.ask(raw.parse("select lastval()", "last") + raw.SYNC)), "1Z")
        client.query("commit")
        self.on_all_servers("select nextval('drawn')")
        self.assertEqual(raw.error(client.ask(lastval))["C"], "55000")
        number = client.value("select nextval('drawn')")  # from now on the server is kept
        self.assertEqual(raw.rows(client.ask(lastval)), [(number,)])

    def test_set_local_ends_with_its_transaction(self):
        self.one.query("begin")
        self.one.query("set local work_mem = '9MB'")
        self.assertEqual(self.one.value("show work_mem"), "9MB")
        self.one.query("commit")
        self.assertEqual(self.on_all_servers("show work_mem"), {"4MB"})
        self.assertEqual(self.one.value("show work_mem"), "4MB")

    def test_a_temporary_table_stays_with_its_client(self):
        self.one.query("create temp table mine as select 5 as n")
        seen = "select count(*) from pg_class where relname = 'mine' and pg_table_is_visible(oid)"
        self.assertEqual(self.on_all_servers(seen), {"0"})
        for _ in range(5):
            self.assertEqual(self.one.value("select n from mine"), "5")

    def test_advisory_locks_are_held_by_one_and_end_with_it(self):
        self.assertEqual(self.one.value("select pg_try_advisory_lock(77)"), "t")
        self.assertEqual(self.on_all_servers("select pg_try_advisory_lock_shared(77)"), {"f"})
        self.one.vanish()
        held = "select count(*) from pg_locks where locktype = 'advisory'"
        harness.eventually(lambda: self.cluster.execute(held) == [(0,)], "the lock is gone with its client")

    def test_listen_hears_with_the_pid_of_the_notifier(self):
        self.one.query("listen channel")
        notifier = self.noise[0]
        notifier.query("begin")
        pid = notifier.value("select pg_backend_pid()")
        notifier.query("notify channel, 'hello'")
        notifier.query("commit")
        message = self.one.read_until("A")[-1]
        self.assertEqual(message.body[4:], b"channel\0hello\0")
        self.assertEqual(int.from_bytes(message.body[:4], "big"), int(pid))
        for client in self.noise:
            self.assertNotIn("A", [m.tag for m in client.query("select 1")])

    def test_named_statements_of_the_same_name_do_not_meet(self):
        for number, client in enumerate((self.one, self.noise[0])):
            client.ask(parse(f"select {number}", "same") + SYNC)
        for number, client in enumerate((self.one, self.noise[0])):
            self.assertEqual(raw.rows(client.ask(bind(name="same") + execute() + SYNC)), [(str(number),)])
        self.assertEqual(self.noise[1].rows("select name from pg_prepared_statements"), [])

    def test_unnamed_statements_do_not_meet(self):
        """Every client parses, then everybody else does, then every client binds what it parsed."""
        clients = [self.one, *self.noise]
        for turn in range(3):
            for number, client in enumerate(clients):
                client.ask(parse(f"select {number}, {turn}, $1::int") + SYNC)
            for number, client in enumerate(clients):
                for value in ("8", "9"):
                    reply = client.ask(bind(value) + execute() + SYNC)
                    self.assertEqual(raw.rows(reply), [(str(number), str(turn), value)])

    def test_a_failed_parse_leaves_no_unnamed_statement(self):
        for client in (self.one, self.noise[0]):
            client.ask(parse("select 'old'") + SYNC)
        self.assert_sqlstate(self.one.ask(parse("selec") + SYNC), "42601")
        self.assert_sqlstate(self.one.ask(bind() + execute() + SYNC), "26000")
        self.assertEqual(raw.rows(self.noise[0].ask(bind() + execute() + SYNC)), [("old",)])

    def test_a_simple_query_drops_the_unnamed_statement(self):
        self.one.ask(parse("select 'old'") + SYNC)
        self.one.query("select 1")
        self.on_all_servers("select 1")
        self.assert_sqlstate(self.one.ask(bind() + execute() + SYNC), "26000")

    def test_role_and_session_authorization_stay(self):
        self.cluster.execute("grant app2 to app")
        self.one.query("set role app2")
        self.assertEqual(self.on_all_servers("select current_user"), {"app"})
        self.assertEqual(self.one.value("select current_user"), "app2")

    def test_holdable_cursors_and_sql_prepare_stay(self):
        self.one.query("declare kept cursor with hold for select generate_series(1, 3)")
        self.one.query("prepare mine as select 'prepared'")
        self.assertEqual(self.on_all_servers("select count(*) from pg_cursors"), {"0"})
        self.assertEqual(self.on_all_servers("select count(*) from pg_listening_channels()"), {"0"})
        self.assertEqual([self.one.value("fetch 1 from kept") for _ in range(3)], ["1", "2", "3"])
        self.assertEqual(self.one.value("execute mine"), "prepared")

    def test_state_made_behind_other_text_is_found_too(self):
        for sql, look in ((" /* x */ SET work_mem = '7MB'", "show work_mem"),
                          ("select 1; set work_mem = '7MB'", "show work_mem"),
                          ("do $$ begin perform set_config('work_mem', '7MB', false); end $$", "show work_mem"),
                          ("begin; set work_mem = '7MB'; commit", "show work_mem"),
                          ("CREATE TEMPORARY TABLE t (n int)",
                           "select 4 - count(*) || 'MB' from pg_class where relname = 't' and pg_table_is_visible(oid)")):
            with self.subTest(sql=sql):
                client = self.client()
                client.query(sql)
                self.assertEqual(self.on_all_servers(look), {"4MB"})
                client.vanish()
                harness.eventually(lambda: self.on_all_servers(look) == {"4MB"}, "clean after it left")

    def test_a_pin_is_visible_and_ends_with_its_client(self):
        self.assertEqual(self.pins(), [])
        self.one.query("listen something")
        harness.eventually(lambda: len(self.pins()) == 1, "the pin is visible")
        self.assertTrue(self.pins()[0])
        self.one.send(raw.TERMINATE).read_to_end()
        harness.eventually(lambda: self.pins() == [], "the pin is gone")
        self.assertEqual(self.on_all_servers("select count(*) from pg_prepared_statements"), {"0"})

    def test_plain_work_never_pins(self):
        for sql in ("select 'set', 'listen', 'temp'", "begin", "select 1", "commit",
                    "create table if not exists settings_of (n int)", "drop table settings_of"):
            self.one.query(sql)
        self.assertEqual(self.pins(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
