"""What clients of a cluster meet beside plain transactions: drivers, statements by name, pins, sizes of pools."""

import asyncio
import unittest

import asyncpg
import psycopg

import harness
import raw
import replicas
from harness import PASSWORD, eventually
from replicas import where

PLACE = "select current_setting('listen_addresses')"


class Clients(unittest.TestCase):
    """On one cluster, whose roles nobody changes."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = replicas.ReplicatedCluster()
        cls.addClassCleanup(cls.cluster.stop)
        replicas.create_counters(cls.cluster)
        cls.addresses = {server.address for server in cls.cluster.standbys}

    def start(self, settings=None, **options):
        pooler = replicas.pooler(self.cluster, settings, **options)
        self.addCleanup(pooler.stop)
        return pooler

    def place_of(self, connection, begin):
        connection.execute(begin)
        place = where(connection)
        connection.execute("commit")
        return place

    def test_psycopg(self):
        pooler = self.start()
        with pooler.connect(autocommit=False) as connection:
            for level in (None, psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ):
                for read_only in (True, False, True):
                    connection.isolation_level, connection.read_only = level, read_only
                    with connection.transaction():
                        self.assertEqual(where(connection) in self.addresses, read_only, (level, read_only))
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE  # no standby has it
            with connection.transaction():
                self.assertEqual(where(connection), self.cluster.primary.address)

    def test_psycopg_deallocates_on_a_replica(self):
        """What it has prepared beyond prepared_max, by SQL in the extended protocol; other statements that leave nothing, too."""
        pooler = self.start()
        with pooler.connect(prepare_threshold=0) as connection:
            connection.prepared_max = 2
            for turn in range(2):
                connection.execute("begin read only")
                for number in range(6):
                    self.assertEqual(connection.execute(f"select {number}, %s::int", [turn]).fetchone(), (number, turn))
                for sql in ("unlisten *", "declare c cursor for select 1", "close c", "close all"):
                    connection.execute(sql)
                self.assertIn(where(connection), self.addresses)
                connection.execute("commit")
                self.assertEqual(where(connection), self.cluster.primary.address)

    def test_asyncpg(self):
        pooler = self.start()

        async def work():
            connection = await asyncpg.connect(host="127.0.0.1", port=pooler.port, user="app", password=PASSWORD, database="test")
            for turn in range(6):  # its statement cache has the same statements for both sides
                async with connection.transaction(readonly=True):
                    self.assertIn(await connection.fetchval(PLACE), self.addresses)
                    self.assertEqual(await connection.fetchval("select $1::int + 1", turn), turn + 1)
                async with connection.transaction():
                    self.assertEqual(await connection.fetchval(PLACE), self.cluster.primary.address)
                    self.assertEqual(await connection.fetchval("select $1::int + 1", turn), turn + 1)
                with self.assertRaises(asyncpg.ReadOnlySQLTransactionError):
                    async with connection.transaction(isolation="repeatable_read", readonly=True):
                        await connection.execute("insert into counters values (1, 1)")
            await connection.close()
        asyncio.run(asyncio.wait_for(work(), harness.PATIENCE_SECONDS))

    def test_a_statement_of_a_name_is_used_on_both_sides(self):
        pooler = self.start()
        with pooler.raw() as client:
            client.ask(raw.parse(PLACE + ", $1::int", "where_1"), raw.SYNC)
            for turn in range(6):
                begin = "begin read only" if turn % 2 else "begin"
                client.query(begin)
                reply = client.ask(raw.bind(turn, name="where_1"), raw.describe(), raw.execute(), raw.SYNC)
                place, number = raw.rows(reply)[0]
                client.query("commit")
                self.assertEqual(number, str(turn))
                self.assertEqual(place in self.addresses, bool(turn % 2), begin)
            client.query("begin read only")
            client.ask(raw.parse("select 'made on a standby'", "made"), raw.SYNC)
            client.query("commit")
            self.assertEqual(raw.rows(client.ask(raw.bind(name="made"), raw.execute(), raw.SYNC)), [("made on a standby",)])
            client.ask(raw.close(name="made"), raw.SYNC)
            client.query("begin read only")
            reply = client.ask(raw.bind(name="made"), raw.execute(), raw.SYNC)
            self.assertEqual(raw.error(reply)["C"], "26000")
            client.query("rollback")

    def test_who_is_pinned_stays_with_what_is_there(self):
        pooler = self.start()
        with pooler.connect() as connection:
            connection.execute("create temp table mine as select 42 as n")
            connection.execute("begin read only")
            self.assertEqual(connection.execute("select n from mine").fetchone(), (42,))
            self.assertEqual(where(connection), self.cluster.primary.address)
            connection.execute("commit")
            counts = {(row["target"], row["reason"]): int(row["count"]) for row in pooler.console("show routing")}
            self.assertGreaterEqual(counts[("primary", "pinned")], 1)
            connection.execute("drop table mine")
            eventually(lambda: self.place_of(connection, "begin read only") in self.addresses, "the pin is gone")

    def test_errors_and_savepoints_on_a_replica(self):
        pooler = self.start()
        with pooler.connect() as connection:
            connection.execute("begin read only")
            place = where(connection)
            self.assertIn(place, self.addresses)
            connection.execute("savepoint s")
            with self.assertRaises(psycopg.errors.DivisionByZero):
                connection.execute("select 1/0")
            connection.execute("rollback to s")
            self.assertEqual(where(connection), place)
            with self.assertRaises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("insert into counters values (2, 2)")
            with self.assertRaises(psycopg.errors.InFailedSqlTransaction):
                connection.execute("select 1")
            connection.execute("rollback")
            connection.execute("insert into counters values (2, 2)")
            connection.execute("delete from counters where id = 2")

    def test_primary_only(self):
        pooler = self.start({"routing": "primary_only"})
        with pooler.connect() as connection:
            for begin in ("begin read only", "begin", "/* pgproxy: replica */ begin"):
                self.assertEqual(self.place_of(connection, begin), self.cluster.primary.address, begin)
            self.assertEqual(where(connection), self.cluster.primary.address)
        self.assertEqual({row["target"] for row in pooler.console("show routing")}, {"primary"})
        self.assertEqual([standby.backends() for standby in self.cluster.standbys], [[], []])

    def test_pools_of_replicas_have_a_size_of_their_own(self):
        pooler = self.start({"replica_pool_size": 1})
        one, other = pooler.connect(), pooler.connect()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        for connection in (one, other):
            connection.execute("begin read only")
        self.assertEqual({where(one), where(other)}, self.addresses)
        with pooler.raw() as waiter:
            waiter.send(raw.query("begin read only"))
            waiting = lambda: sum(int(row["cl_waiting"]) for row in pooler.console("show pools"))
            eventually(lambda: waiting() == 1, "it waits for one of the two")
            with pooler.connect() as writer:  # the primary's pool has its own
                self.assertEqual(where(writer), self.cluster.primary.address)
            one.execute("commit")
            other.execute("commit")
            self.assertEqual(raw.tags(waiter.read_until("Z")), raw.tags(waiter.query("commit")))
        self.assertEqual([len(standby.backends()) for standby in self.cluster.standbys], [1, 1])

    def test_pools_of_replicas_are_filled_at_the_start(self):
        pooler = self.start({"verify_acquire": 1, "default_pool_size": 3, "replica_pool_size": 2}, entry=f"user=app password={PASSWORD}")
        for standby in self.cluster.standbys:
            self.assertIn(f"pool test/app at {standby.address}:{self.cluster.port}: 2 connections", pooler.log_text())
            self.assertEqual(len(standby.backends()), 2)
        self.assertIn("pool test/app: 3 connections", pooler.log_text())

    def test_show_routing(self):
        pooler = self.start()
        with pooler.connect() as connection:
            for _ in range(3):
                self.place_of(connection, "begin read only")
            connection.execute("select 1")
        rows = pooler.console("show routing")
        for row in rows:
            self.assertEqual(list(row), ["database", "user", "target", "reason", "count", "last_fingerprint", "last_seconds_ago"])
            self.assertEqual((row["database"], row["user"]), ("test", "app"))
        counts = {(row["target"], row["reason"]): int(row["count"]) for row in rows}
        self.assertEqual(counts, {("replica", "read_only_transaction"): 3, ("primary", "single_statement"): 1})


if __name__ == "__main__":
    unittest.main()
