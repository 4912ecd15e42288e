"""Single SELECTs on replicas, what a replica's refusal leads to, and EXPLAIN ROUTE."""

import signal
import threading
import unittest

import psycopg

import harness
import raw
import replicas
from harness import eventually
from replicas import where

PLACE = "current_setting('listen_addresses')"
OBJECTS = f"""
create table counters(id int primary key, n int);
insert into counters select i, i from generate_series(1, 100) i;
create view plain_view as select id, n, {PLACE} as place from counters;
create function volatile_one() returns int language sql volatile as 'select 1';
create function stable_one() returns int language sql stable as 'select 1';
create function defaulted(x int default volatile_one()) returns int language sql stable as 'select x';
create view volatile_view as select volatile_one() as n, {PLACE} as place;
create sequence numbers;
create unlogged table unlogged(n int);
create table later(n int);
create function noted(a int, b int) returns int language plpgsql volatile as 'begin insert into counters values (a, b); return a; end';
create operator ### (leftarg = int, rightarg = int, function = noted);
create view noting_view as select noted(2000, 1) as n;
grant create on schema public to app;
grant all on all tables in schema public to app;
grant all on all sequences in schema public to app;
"""


class RoutingTest(unittest.TestCase):
    """On one cluster, whose roles nobody changes."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = replicas.ReplicatedCluster()
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.primary.execute(OBJECTS, database="test")
        cls.cluster.wait_until_replayed()
        cls.addresses = {server.address for server in cls.cluster.standbys}

    def start(self, settings=None, **options):
        pooler = replicas.pooler(self.cluster, {"routing": "selects"} | (settings or {}), **options)
        self.addCleanup(pooler.stop)
        return pooler

    def assert_on_replica(self, connection, sql, expected=True, msg=None):
        place = connection.execute(sql).fetchone()[0]
        self.assertEqual(place in self.addresses, expected, msg or sql)


class Selects(RoutingTest):
    def test_plain_queries_go_to_replicas(self):
        pooler = self.start()
        with pooler.connect() as connection:
            for sql in (f"select {PLACE}", f"select {PLACE} from counters where id = 1", f"select {PLACE}, stable_one()",
                        f"with c as (select 1) select {PLACE} from c", "select place from plain_view limit 1",
                        f"select {PLACE} union all select {PLACE}"):
                eventually(lambda: connection.execute(sql).fetchone()[0] in self.addresses, sql)  # once the catalog is known
                self.assert_on_replica(connection, sql)

    def test_what_may_write_lock_or_is_not_known_stays_on_the_primary(self):
        pooler = self.start()
        with pooler.connect() as connection:
            eventually(lambda: where(connection) in self.addresses, "the catalog is known")
            for sql in (f"select {PLACE} from counters where id = 1 for update", f"select {PLACE} from counters where id = 1 for share",
                        f"with w as (update counters set n = n where id = 1 returning 1) select {PLACE} from w",
                        f"select {PLACE}, volatile_one()", f"select {PLACE}, defaulted()", "select place from volatile_view", f"select {PLACE}, nextval('numbers')",
                        f"select {PLACE}, count(*) from pg_stat_activity", f"select {PLACE}, count(*) from pg_locks",
                        f"select {PLACE}, pg_advisory_xact_lock(1)", f"select {PLACE}, pg_is_in_recovery()",
                        f"select {PLACE}, current_setting('transaction_read_only')", f"select {PLACE}, count(*) from pg_settings",
                        f"/* pgproxy: primary */ select {PLACE}"):
                with self.subTest(sql), pooler.connect() as fresh:  # has written nothing, which would keep it on the primary
                    self.assert_on_replica(fresh, sql, expected=False)
            connection.execute("select 1 as n into made_here")
            connection.execute("drop table made_here")

    def test_several_statements_and_transactions_stay_on_the_primary(self):
        pooler = self.start()
        with pooler.connect() as connection, pooler.raw() as client:
            eventually(lambda: where(connection) in self.addresses, "the catalog is known")
            self.assertEqual(raw.rows(client.query(f"select {PLACE}; select {PLACE}")), [(self.cluster.primary.address,)] * 2)
            connection.execute("begin")
            self.assertEqual(where(connection), self.cluster.primary.address)
            connection.execute("commit")
            self.assert_on_replica(connection, f"select {PLACE}")

    def test_extended_protocol(self):
        pooler = self.start()
        with pooler.raw() as client, pooler.connect(prepare_threshold=0) as connection:
            ask = lambda: raw.rows(client.ask(raw.parse(f"select {PLACE}, $1::int"), raw.bind(3), raw.execute(), raw.SYNC))[0]
            eventually(lambda: ask()[0] in self.addresses, "the catalog is known")
            self.assertEqual(ask()[1], "3")
            for number in range(6):
                def read():
                    place, value = connection.execute(f"select {PLACE}, %s::int", [number]).fetchone()
                    self.assertEqual(value, number)
                    return place
                eventually(lambda: read() in self.addresses, "what it wrote is replayed")
                connection.execute("update counters set n = %s where id = 1", [number])
            both = raw.parse(f"select {PLACE}") + raw.bind() + raw.execute()
            self.assertEqual({row[0] for row in raw.rows(client.ask(both, both, raw.SYNC))}, {self.cluster.primary.address})

    def test_the_statement_that_a_cycle_runs_decides(self):
        pooler = self.start()
        with pooler.raw() as client, pooler.connect() as warm:
            eventually(lambda: where(warm) in self.addresses, "the catalog is known")
            client.ask(raw.parse("insert into counters values (400, 1)", "writes"), raw.SYNC)
            reply = client.ask(raw.parse("select 1", "reads"), raw.bind(name="writes"), raw.execute(), raw.SYNC)
            self.assertEqual(raw.tags(reply), "12CZ")
            reply = client.ask(raw.bind(name="reads", portal="a"), raw.bind(name="writes"), raw.execute(), raw.SYNC)
            self.assertEqual(raw.error(reply)["C"], "23505")
            client.query("delete from counters where id = 400")

    def test_own_writes_are_seen(self):
        for consistency, sees in (("session", True), ("eventual", False)):
            with self.subTest(consistency):
                pooler = self.start({"read_consistency": consistency})
                with pooler.connect() as writer, pooler.connect() as reader:
                    eventually(lambda: where(writer) in self.addresses, "the catalog is known")
                    try:
                        for standby in self.cluster.standbys:
                            standby.pause_replay()
                        writer.execute("insert into counters values (500, 1)")
                        self.assertEqual(writer.execute("select n from counters where id = 500").fetchone() is not None, sees)
                        self.assert_on_replica(reader, f"select {PLACE}")
                    finally:
                        for standby in self.cluster.standbys:
                            standby.resume_replay()
                    writer.execute("delete from counters where id = 500")
                    self.cluster.wait_until_replayed()
                pooler.stop()


class Reruns(RoutingTest):
    """A query that conflicts with what its standby replays: 40001, before any row was sent."""

    def conflict(self, rerun_on):
        """What a SELECT on a standby ends with when rows that it may need are vacuumed away."""
        pooler = self.start({"rerun_on": rerun_on, "safe_functions": "pg_sleep"})
        for standby in self.cluster.standbys:
            standby.execute("alter system set max_standby_streaming_delay = 0")
            standby.execute("select pg_reload_conf()")
        outcome = []

        def read():
            with pooler.connect() as connection:
                try:
                    outcome.append(connection.execute(f"select count(*), {PLACE} from counters, (select pg_sleep(2)) s").fetchone())
                except psycopg.Error as error:
                    outcome.append(error.sqlstate)

        with pooler.connect() as warm:
            eventually(lambda: where(warm) in self.addresses, "the catalog is known")
            thread = threading.Thread(target=read)
            thread.start()
            running = "select 1 from pg_stat_activity where usename = 'app' and state = 'active' and query like '%pg_sleep%'"
            eventually(lambda: any(standby.execute(running) for standby in self.cluster.standbys), "it runs on a standby")
            self.cluster.primary.execute("update counters set n = n + 1", database="test")
            self.cluster.primary.execute("vacuum counters", database="test")
            thread.join(harness.PATIENCE_SECONDS)
        return pooler, outcome[0]

    def test_it_is_run_again_on_the_primary(self):
        pooler, outcome = self.conflict("replica_refusal")
        self.assertEqual(outcome, (100, self.cluster.primary.address))
        self.assertIn(("primary", "refused_before"), {(row["target"], row["reason"]) for row in pooler.console("show routing")})

    def test_without_it_the_error_is_the_client_s(self):
        _, outcome = self.conflict("none")
        self.assertEqual(outcome, "40001")


class Refusals(RoutingTest):
    """What the catalog does not tell: an operator whose function writes."""

    def tearDown(self):
        self.cluster.primary.execute("delete from counters where id > 1000", database="test")

    def start_and_warm(self, rerun_on="replica_refusal"):
        pooler = self.start({"rerun_on": rerun_on})
        with pooler.connect() as warm:
            eventually(lambda: where(warm) in self.addresses, "the catalog is known")
        return pooler

    def reasons(self, pooler):
        """But for what came before the catalog was known."""
        return {(row["target"], row["reason"]): int(row["count"]) for row in pooler.console("show routing")
                if row["reason"] != "function_unknown"}

    def noted(self):
        return self.cluster.primary.execute("select count(*) from counters where id > 1000", database="test")[0][0]

    def test_it_runs_on_the_primary_and_is_remembered(self):
        pooler = self.start_and_warm()
        with pooler.connect() as connection, pooler.raw() as client:
            self.assertEqual(connection.execute("select 1001 ### 1 as n, 'text'").fetchone(), (1001, "text"))
            self.assertEqual(self.noted(), 1)
            self.assertEqual(self.reasons(pooler)[("primary", "refused_before")], 1)
            sent = self.reasons(pooler)[("replica", "plain_query")]
            self.assertEqual(connection.execute("select 1002 ### 1 as n, 'text'").fetchone(), (1002, "text"))
            reply = client.query("select 1003 ### 1 as n, 'text'")
            self.assertEqual((raw.rows(reply), raw.tags(reply)), ([("1003", "text")], "TDCZ"))
            self.assertEqual(self.reasons(pooler), {("replica", "plain_query"): sent, ("primary", "refused_before"): 3})
        self.assertEqual(self.noted(), 3)
        self.assertEqual(pooler.log_text().count("was refused by the standby"), 1)
        eventually(lambda: all(row["sv_active"] == "0" for row in pooler.console("show pools")), "all servers are given back")

    def test_extended_protocol_and_pipelines(self):
        pooler = self.start_and_warm()
        with pooler.raw() as client:
            cycle = lambda number: (raw.parse(f"select {number} ### $1::int, {number}") + raw.bind(1) + raw.describe() +
                                    raw.execute() + raw.SYNC)
            reply = client.ask(cycle(1001))
            self.assertEqual((raw.rows(reply), raw.tags(reply)), ([("1001", "1001")], "12TDCZ"))
            client.ask(raw.parse("select 1002 ### $1::int, 'named'", "named"), raw.SYNC)
            reply = client.ask(raw.bind(1, name="named"), raw.execute(), raw.SYNC)
            self.assertEqual((raw.rows(reply), raw.tags(reply)), ([("1002", "named")], "2DCZ"))
            client.send(raw.query("select 1003 ### 1, 'behind it'") + raw.query("insert into counters values (1004, 1)"))
            self.assertEqual(raw.tags(client.read_until("Z")), "TDCZ")
            self.assertEqual(raw.tags(client.read_until("Z")), "CZ")
        self.assertEqual(self.noted(), 4)

    def test_a_statement_that_its_cycle_prepares(self):
        pooler = self.start_and_warm()
        with pooler.raw() as client:
            reply = client.ask(raw.parse("select $1::int ### 1, 'at once'", "S_1") + raw.bind(1001, name="S_1") + raw.describe() +
                               raw.execute() + raw.SYNC)
            self.assertEqual((raw.tags(reply), raw.rows(reply)), ("12TDCZ", [("1001", "at once")]))
            reply = client.ask(raw.bind(1002, name="S_1"), raw.execute(), raw.SYNC)
            self.assertEqual((raw.tags(reply), raw.rows(reply)), ("2DCZ", [("1002", "at once")]))
            self.assertEqual(raw.error(client.ask(raw.parse("select 1", "S_1"), raw.SYNC))["C"], "42P05")
            stats, = (row for row in pooler.console("show stats_totals") if row["database"] == "test")
            self.assertEqual((stats["client_parse_count"], stats["bind_count"]), ("2", "2"))
        self.assertEqual(self.noted(), 2)

    def test_what_such_a_statement_wrote_is_seen(self):
        pooler = self.start_and_warm()
        count = "select count(*) from counters where id > 1000"
        try:
            for standby in self.cluster.standbys:
                standby.pause_replay()
            for number, steps in enumerate((["select 1001 ### 1, 'seen'"], ["select 1002 ### 1, 'seen'"],
                                            ["begin", "select 1003 ### 1, 'seen'", "commit"], ["select * from noting_view"]), 1):
                with pooler.connect() as writer, pooler.connect() as other:
                    for sql in steps:
                        writer.execute(sql)
                    self.assertEqual(writer.execute(count).fetchone(), (number,), steps)
                    self.assertEqual(other.execute(count).fetchone(), (0,))  # it need not see that
            self.cluster.primary.execute("delete from counters where id = 2000", database="test")
            with pooler.connect() as writer:
                for sql in ("begin", "select * from noting_view", "commit"):
                    writer.execute(sql)
                self.assertEqual(writer.execute(count).fetchone(), (4,))
        finally:
            for standby in self.cluster.standbys:
                standby.resume_replay()

    def test_nothing_is_held_of_what_a_flush_asks_for(self):
        pooler = self.start_and_warm()
        with pooler.raw() as client:
            client.send(raw.parse("/* pgproxy: replica */ select 1"), raw.describe("S"), raw.FLUSH)
            self.assertEqual(raw.tags(client.read_until("T")), "1tT")
            self.assertEqual(raw.tags(client.ask(raw.bind(), raw.execute(), raw.SYNC)), "2DCZ")

    def test_sessions_that_are_serializable_by_default(self):
        self.cluster.primary.execute("alter role app set default_transaction_isolation = serializable")
        self.addCleanup(self.cluster.primary.execute, "alter role app reset default_transaction_isolation")
        self.cluster.wait_until_replayed()
        pooler = self.start({"rerun_on": "replica_refusal"})
        with pooler.connect() as connection:
            eventually(lambda: ("primary", "refused_before") in self.reasons(pooler) or not connection.execute("select 7, 'serializable'"),
                       "the catalog is known")
            self.assertEqual(connection.execute("show transaction_isolation").fetchone(), ("serializable",))

    def test_who_waits_for_it_still_gets_it_when_the_pooler_ends(self):
        pooler = self.start({"rerun_on": "replica_refusal", "safe_functions": "pg_sleep"})
        with pooler.connect() as warm:
            eventually(lambda: where(warm) in self.addresses, "the catalog is known")
        with pooler.raw() as client:
            client.send(raw.query("select 1001 ### 1, 'late' from pg_sleep(1)"))
            running = "select 1 from pg_stat_activity where usename = 'app' and state = 'active'"
            eventually(lambda: any(standby.execute(running) for standby in self.cluster.standbys), "it runs on a standby")
            pooler.process.send_signal(signal.SIGTERM)
            reply = client.read_to_end()
            self.assertEqual((raw.rows(reply), raw.error(reply)["C"]), ([("1001", "late")], "57P01"))
        self.assertEqual(self.noted(), 1)

    def test_what_a_standby_does_not_have_yet(self):
        """Another client's table, column and function; the catalog, which is the primary's, knows them."""
        pooler = self.start_and_warm()
        self.addCleanup(self.cluster.primary.execute, "drop table late; drop function later", database="test")
        with pooler.connect() as writer, pooler.raw() as reader:
            try:
                for standby in self.cluster.standbys:
                    standby.pause_replay()
                writer.execute("create table late (n int)")
                writer.execute("insert into late values (1)")
                writer.execute("create function later() returns int language sql stable as 'select 2'")
                for statement, value in (("select n, 77 from late", "1"), ("select later(), 77", "2")):
                    eventually(lambda: pooler.console(f"explain route '{statement}'")[0]["reason"] == "plain_query", "the catalog has it")
                    for reply in (reader.query(statement), reader.ask(raw.statement(statement), raw.SYNC)):
                        self.assertEqual(raw.rows(reply), [(value, "77")])
                    self.assertEqual(pooler.console(f"explain route '{statement}'")[0]["target"], "replica")  # it may have it the next time
                self.assertEqual(raw.error(reader.query("select nothing from late"))["C"], "42703")  # the primary says so, too
            finally:
                for standby in self.cluster.standbys:
                    standby.resume_replay()
            self.cluster.wait_until_replayed()
            with pooler.connect() as another:
                self.assert_on_replica(another, f"select {PLACE} from late")

    def test_other_errors_are_the_client_s(self):
        pooler = self.start_and_warm()
        with pooler.raw() as client:
            reply = client.query("select 1 / 0")
            self.assertEqual((raw.error(reply)["C"], raw.tags(reply)), ("22012", "EZ"))
            reply = client.ask(raw.parse("select 1 / (i - $1::int) from generate_series(1, 3) i"), raw.bind(1), raw.describe(), raw.execute(), raw.SYNC)
            self.assertEqual((raw.error(reply)["C"], raw.tags(reply)), ("22012", "12TEZ"))
            reply = client.query("select i / (3 - i) from generate_series(1, 3) i")
            self.assertEqual(raw.error(reply)["C"], "22012")
        self.assertEqual(set(self.reasons(pooler)), {("replica", "plain_query")})

    def test_without_it_the_refusal_is_the_client_s(self):
        pooler = self.start_and_warm("none")
        with pooler.connect() as connection, self.assertRaises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("select 1001 ### 1")

    def test_a_table_that_is_not_replicated(self):
        pooler = self.start_and_warm()
        with pooler.connect() as connection:
            self.assertEqual(connection.execute("select count(*) from unlogged").fetchone(), (0,))
            self.assertIn(("primary", "relation_unsafe"), self.reasons(pooler))
            self.assert_on_replica(connection, f"select {PLACE} from later right join (select 1) s on true")
            self.cluster.primary.execute("alter table later set unlogged", database="test")
            self.cluster.wait_until_replayed()
            self.assertEqual(connection.execute("select count(*) from later").fetchone(), (0,))
            self.assertIn(("primary", "refused_before"), self.reasons(pooler))


class Catalogs(RoutingTest):
    """What a client changes is known to the router from then on."""

    def test_a_function_that_becomes_volatile(self):
        pooler = self.start()
        with pooler.connect() as connection, pooler.connect() as owner:
            owner.execute("create function changing() returns int language sql stable as 'select 1'")
            self.cluster.wait_until_replayed()
            eventually(lambda: connection.execute(f"select {PLACE}, changing()").fetchone()[0] in self.addresses, "it is stable")
            owner.execute("alter function changing() volatile")
            for _ in range(20):
                self.assert_on_replica(connection, f"select {PLACE}, changing()", expected=False)
            owner.execute("drop function changing()")

    def test_a_table_that_becomes_unlogged(self):
        pooler = self.start()
        with pooler.connect() as connection:
            read = f"select {PLACE} from changing right join (select 1) s on true"
            for create in ("create unlogged table changing (n int)", "create unlogged table changing as select 1 as n",
                           "select 1 as n into unlogged changing"):
                with pooler.connect() as owner:
                    self.cluster.primary.execute("create table changing (n int); alter table changing owner to app", database="test")
                    owner.execute("alter table changing set (fillfactor = 90)")  # has the catalog asked for
                    self.cluster.wait_until_replayed()
                    eventually(lambda: connection.execute(read).fetchone()[0] in self.addresses, "it is known")
                    owner.execute("drop table changing")
                    owner.execute(create)
                    self.cluster.wait_until_replayed()
                    self.assert_on_replica(connection, read, expected=False, msg=create)
                    owner.execute("drop table changing")

    def test_without_access_it_is_told_and_queries_stay(self):
        self.cluster.primary.execute("revoke connect on database test from public; grant connect on database test to app", database="postgres")
        self.addCleanup(self.cluster.primary.execute, "grant connect on database test to public", database="postgres")
        pooler = self.start({"catalog_interval": 0.1})
        with pooler.connect() as connection:
            connection.execute("select 1")
            row = eventually(lambda: [row for row in pooler.console("show health") if row["kind"] == "catalog"], "it is told")[0]
            self.assertIn("GRANT CONNECT ON DATABASE test", row["hint"])
            self.assert_on_replica(connection, f"select {PLACE} from counters where id = 1", expected=False)
            self.cluster.primary.execute(f"grant connect on database test to {replicas.CONTROL}", database="postgres")
            read = f"select {PLACE} from counters where id = 1"
            eventually(lambda: connection.execute(read).fetchone()[0] in self.addresses, "it is known")
        self.assertEqual([row for row in pooler.console("show health") if row["kind"] == "catalog"], [])


class ExplainRoute(RoutingTest):
    def test_it_tells_where_a_statement_would_run_and_why(self):
        pooler = self.start()
        for sql, target, reason in (("SELECT 1", "replica", "plain_query"), ("BEGIN READ ONLY", "replica", "read_only_transaction"),
                                    ("UPDATE counters SET n = 1", "primary", "writes"),
                                    ("SELECT * FROM counters FOR UPDATE", "primary", "locks_rows"),
                                    ("SELECT 1; SELECT 2", "primary", "several_statements"),
                                    ("SELECT ''quoted''", "replica", "plain_query")):
            row, = pooler.console(f"EXPLAIN ROUTE '{sql}'")
            self.assertEqual((row["target"], row["reason"]), (target, reason), sql)
        self.assertEqual(pooler.console("show routing"), [])  # nothing was sent


if __name__ == "__main__":
    unittest.main()
