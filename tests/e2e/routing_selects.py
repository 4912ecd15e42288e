"""Single SELECTs on replicas, what a replica's refusal leads to, and EXPLAIN ROUTE.

Not registered: this version knows neither `routing = selects` nor `rerun_on = replica_refusal` nor EXPLAIN ROUTE. Named
routing_selects_test.py it is a test of ctest like the others.
"""

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
create view volatile_view as select volatile_one() as n, {PLACE} as place;
create sequence numbers;
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
                        f"select {PLACE}, volatile_one()", "select place from volatile_view", f"select {PLACE}, nextval('numbers')",
                        f"select {PLACE}, count(*) from pg_stat_activity", f"select {PLACE}, count(*) from pg_locks",
                        f"select {PLACE}, pg_advisory_xact_lock(1)", f"select {PLACE}, pg_is_in_recovery()",
                        f"/* pgproxy: primary */ select {PLACE}"):
                self.assert_on_replica(connection, sql, expected=False)
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
                place, value = connection.execute(f"select {PLACE}, %s::int", [number]).fetchone()
                self.assertIn(place, self.addresses)
                self.assertEqual(value, number)
                connection.execute("update counters set n = %s where id = 1", [number])
            both = raw.parse(f"select {PLACE}") + raw.bind() + raw.execute()
            self.assertEqual({row[0] for row in raw.rows(client.ask(both, both, raw.SYNC))}, {self.cluster.primary.address})

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
        pooler = self.start({"rerun_on": rerun_on})
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
