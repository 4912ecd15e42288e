"""Which server of a cluster a transaction runs on: a primary and two standbys behind one entry."""

import socket
import threading
import time
import unittest

import psycopg

import harness
import raw
import replicas
from harness import eventually
from replicas import where


class Routing(unittest.TestCase):
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

    def tearDown(self):
        for standby in self.cluster.standbys:
            standby.resume_replay()
        self.cluster.wait_until_replayed()

    def place_of(self, connection, begin):
        with connection.cursor() as cursor:
            cursor.execute(begin)
            place = where(connection)
            cursor.execute("commit")
        return place

    def test_read_only_transactions(self):
        pooler = self.start()
        with pooler.connect() as connection:
            for begin in ("begin read only", "BEGIN TRANSACTION READ ONLY", "start transaction read only",
                          "begin isolation level repeatable read, read only", "/* pgproxy: replica */ begin"):
                self.assertIn(self.place_of(connection, begin), self.addresses, begin)
            for begin in ("begin", "begin read write", "start transaction", "begin isolation level serializable read only",
                          "/* pgproxy: primary */ begin read only"):
                self.assertEqual(self.place_of(connection, begin), self.cluster.primary.address, begin)
            self.assertEqual(where(connection), self.cluster.primary.address)
        rows = {(row["target"], row["reason"]): int(row["count"]) for row in pooler.console("show routing")}
        self.assertEqual(rows["replica", "read_only_transaction"], 4)
        self.assertEqual(rows["replica", "hint_replica"], 1)
        self.assertEqual(rows["primary", "hint_primary"], 1)

    def test_both_standbys_serve(self):
        pooler = self.start()
        with pooler.connect() as connection:
            self.assertEqual({self.place_of(connection, "begin read only") for _ in range(10)}, self.addresses)

    def test_a_transaction_stays_where_it_is(self):
        pooler = self.start()
        with pooler.connect() as one, pooler.connect() as other:
            one.execute("begin read only")
            places = {where(one)}
            for _ in range(5):
                self.place_of(other, "begin read only")
                places.add(where(one))
            one.execute("commit")
            self.assertEqual(len(places), 1)

    def test_extended_protocol(self):
        pooler = self.start()
        with pooler.connect(autocommit=False) as connection:
            connection.read_only = True
            self.assertIn(where(connection), self.addresses)
            connection.commit()
            connection.read_only = False
            self.assertEqual(where(connection), self.cluster.primary.address)
            connection.commit()
        with pooler.raw() as client:
            reply = client.ask(raw.parse("begin read only"), raw.bind(), raw.execute(),
                               raw.parse("select host(inet_server_addr())"), raw.bind(), raw.execute(), raw.SYNC)
            self.assertIn(raw.rows(reply)[0][0], self.addresses)
            client.query("commit")

    def test_what_is_sent_ahead_goes_where_it_belongs(self):
        pooler = self.start()
        with pooler.raw() as client:
            client.send(*(raw.query(sql) for sql in (
                "begin read only", "select 1", "commit", "insert into counters values (77, 1) on conflict do nothing", "select 2")))
            self.assertNotIn("E", raw.tags(client.read_cycles(5)))

    def test_a_pipeline_goes_on_behind_its_commit(self):
        pooler = self.start()
        insert = "insert into counters values (79, 1) on conflict (id) do update set n = counters.n + 1"
        place = "select current_setting('listen_addresses')"
        with pooler.raw() as client:
            def run(*steps):
                return client.ask(*(message for step in steps for message in (raw.parse(step), raw.bind(), raw.execute())), raw.SYNC)
            reply = run("begin read only", place, "commit", insert, place, "begin read only", place, "commit", place)
            self.assertEqual(raw.tags(reply), "12C12DC12C" "12C12DC" "12C12DC12C" "12DC" "Z")
            places = [row for row, in raw.rows(reply)]
            self.assertIn(places[0], self.addresses)
            self.assertEqual([places[1], places[3]], [self.cluster.primary.address] * 2)
            self.assertEqual(reply[-1].body, b"I")
            reply = run("begin read only", place, "rollback", insert)
            self.assertEqual(raw.tags(reply), "12C12DC12C" "12C" "Z")
            reply = run("begin read only", "select 1 / (n - n) from counters where id = 79", "commit", insert, place)
            self.assertEqual((raw.error(reply)["C"], reply[-1].body), ("22012", b"E"))
            self.assertEqual(reply[-1].body, client.query("rollback")[-1].body.replace(b"I", b"E"))
            reply = run("begin read only", place, "commit", "select 1 / 0", insert)
            self.assertEqual((raw.error(reply)["C"], reply[-1].body), ("22012", b"I"))
            self.assertEqual(client.value("select n from counters where id = 79"), "2")
            client.query("delete from counters where id = 79")

    def test_what_follows_a_pipeline_that_failed_in_front_of_its_commit(self):
        pooler = self.start()
        with pooler.raw() as client:
            steps = ("begin read only", "select 1 / 0", "commit")
            reply = client.ask(*(raw.statement(step) for step in steps), raw.SYNC)
            self.assertEqual((raw.error(reply)["C"], reply[-1].body), ("22012", b"E"))
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for standby in self.cluster.standbys:
                    standby.freeze()
                client.send(raw.parse("select 1"), raw.bind())
                pooler.console("show clients")  # it has been read
                client.send(raw.execute(), raw.SYNC)
                pooler.console("show clients")
            finally:
                for standby in self.cluster.standbys:
                    standby.thaw()
            self.assertEqual(raw.error(client.read_until("Z"))["C"], "25P02")
            self.assertEqual(raw.tags(client.query("rollback")), "CZ")
            self.assertEqual(raw.tags(client.query("select 1")), "TDCZ")

    def test_read_only_sessions(self):
        pooler = self.start()
        with pooler.connect() as connection:
            connection.execute("set default_transaction_read_only = on")
            self.assertIn(where(connection), self.addresses)
            self.assertEqual(connection.execute("select pg_is_in_recovery()").fetchone(), (False,))  # it speaks of the server
            self.assertIn(self.place_of(connection, "begin"), self.addresses)
            self.assertEqual(connection.execute("show default_transaction_read_only").fetchone(), ("on",))
            with self.assertRaises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("insert into counters values (1, 1)")
            connection.execute("set default_transaction_read_only = off")
            self.assertEqual(where(connection), self.cluster.primary.address)
            connection.execute("insert into counters values (78, 1)")
            connection.execute("delete from counters where id = 78")

    def test_settings_and_statements_are_those_of_the_client(self):
        pooler = self.start()
        with pooler.connect(prepare_threshold=0) as one, pooler.connect(prepare_threshold=0) as other:
            one.execute("set timezone = 'Asia/Tokyo'")
            one.execute("set app.tenant = '7'")
            for connection, zone in ((one, "Asia/Tokyo"), (other, None)) * 3:
                for begin in ("begin read only", "begin"):
                    connection.execute(begin)
                    row = connection.execute("select current_setting('timezone'), current_setting('app.tenant', true), %s::int",
                                             [5]).fetchone()
                    connection.execute("commit")
                    if zone:
                        self.assertEqual(row, (zone, "7", 5))
                    else:
                        self.assertNotEqual(row[0], "Asia/Tokyo")
                        self.assertIn(row[1], (None, ""))

    def test_locks_and_what_stays_behind_are_refused_on_a_replica(self):
        pooler = self.start()
        with pooler.connect() as connection:
            for sql in ("select pg_advisory_xact_lock(1)", "select pg_advisory_lock(1)",
                        "declare c cursor with hold for select 1", "prepare p as select 1"):
                connection.execute("begin read only")
                with self.assertRaises(psycopg.errors.FeatureNotSupported, msg=sql) as caught:
                    connection.execute(sql)
                self.assertIn("pgproxy: primary", caught.exception.diag.message_hint)
                connection.execute("rollback")
            connection.execute("select pg_advisory_lock(1)")
            connection.execute("select pg_advisory_unlock(1)")

    def test_statements_that_are_too_long_to_be_kept(self):
        """Longer than what is read at once: run on a replica, but not prepared there under a name, which the next server would not know."""
        long = f"select length('{'x' * 1_000_000}')"
        pooler = self.start()
        with pooler.raw() as client:
            client.query("begin read only")
            self.assertEqual(client.value(long), "1000000")
            self.assertEqual(raw.rows(client.ask(raw.statement(long), raw.SYNC)), [("1000000",)])
            refusal = raw.error(client.ask(raw.parse(long, "long"), raw.SYNC))
            self.assertEqual((refusal["C"], "READ ONLY" in refusal["H"]), ("0A000", True))
            client.query("rollback")
            client.ask(raw.parse(long, "long"), raw.SYNC)  # on the primary, which is the client's from here on
            client.query("insert into counters values (7000, 1)")
            self.assertEqual(raw.rows(client.ask(raw.bind(name="long"), raw.execute(), raw.SYNC)), [("1000000",)])
            client.query("delete from counters where id = 7000")

    def test_cancel_on_a_replica(self):
        pooler = self.start()
        with pooler.connect() as connection:
            connection.execute("begin read only")
            self.assertIn(where(connection), self.addresses)
            timer = threading.Timer(0.2, connection.cancel)
            timer.start()
            with self.assertRaises(psycopg.errors.QueryCanceled):
                connection.execute("select pg_sleep(60)")
            connection.execute("rollback")

    def test_what_a_view_has_written_is_seen(self):
        """Which nothing in the statement tells, but the primary's catalog."""
        self.cluster.primary.execute(
            "create function noted() returns int language plpgsql volatile as 'begin insert into counters values (6, 1); return 6; end';"
            "create view noting as select noted() as n; grant select on noting to app", database="test")
        self.addCleanup(self.cluster.primary.execute, "drop view noting; drop function noted; delete from counters where id = 6", database="test")
        self.cluster.wait_until_replayed()
        pooler = self.start()
        for standby in self.cluster.standbys:
            standby.pause_replay()
        with pooler.connect() as writer:
            writer.execute("select * from noting")
            writer.execute("begin read only")
            self.assertEqual(writer.execute("select n from counters where id = 6").fetchone(), (1,))
            writer.execute("commit")

        def reads_elsewhere():
            with pooler.connect() as reader:
                reader.execute("select count(*) from counters")  # writes nothing
                return self.place_of(reader, "begin read only") in self.addresses

        eventually(reads_elsewhere, "the catalog is known")

    def test_own_writes_are_seen(self):
        for consistency, sees in (("session", True), ("eventual", False)):
            with self.subTest(consistency):
                pooler = self.start({"read_consistency": consistency})
                for standby in self.cluster.standbys:
                    standby.pause_replay()
                with pooler.connect() as writer, pooler.connect() as reader:
                    writer.execute("delete from counters where id = 5")
                    writer.execute("insert into counters values (5, 1)")
                    writer.execute("begin read only")
                    found = writer.execute("select n from counters where id = 5").fetchone()
                    place = where(writer)
                    writer.execute("commit")
                    self.assertEqual((found is not None, place == self.cluster.primary.address), (sees, sees))
                    self.assertIn(self.place_of(reader, "begin read only"), self.addresses)
                    for standby in self.cluster.standbys:
                        standby.resume_replay()
                    eventually(lambda: self.place_of(writer, "begin read only") in self.addresses,
                               "the writer reads from standbys again")
                    writer.execute("delete from counters where id = 5")
                pooler.stop()

    def stale_reads(self, consistency, synchronous_commit):
        """Of clients that write a counter and read it back in a read-only transaction."""
        pooler = self.start({"read_consistency": consistency})
        stale, replica_reads, failures = [], [], []

        def read_back(connection, number, n):
            """True: from a standby."""
            connection.execute("begin read only")
            found = connection.execute("select n, pg_is_in_recovery() from counters where id = %s", [number]).fetchone()
            connection.execute("commit")
            if found is None or found[0] != n:
                stale.append((number, n, found))
            if found is not None and found[1]:
                replica_reads.append(n)
            return found is not None and found[1]

        def work(number):
            try:
                with pooler.connect() as connection:
                    connection.execute(f"set synchronous_commit = {synchronous_commit}")
                    connection.execute("insert into counters values (%s, 0) on conflict (id) do update set n = 0", [number])
                    for n in range(1, 151):
                        connection.execute("update counters set n = %s where id = %s", [n, number])
                        read_back(connection, number, n)
                        if n % 15 == 0:
                            eventually(lambda: read_back(connection, number, n), "a standby has what was written")
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(100, 108)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pooler.stop()
        self.assertEqual(failures, [])
        self.assertTrue(replica_reads, "some reads were a replica's")
        return stale

    def test_no_stale_reads_after_own_writes(self):
        for standby in self.cluster.standbys:
            standby.set_apply_delay(30)
            self.addCleanup(standby.set_apply_delay, 0)
        for synchronous_commit in ("on", "off"):
            self.assertEqual(self.stale_reads("session", synchronous_commit), [], synchronous_commit)
        self.assertTrue(self.stale_reads("eventual", "on"))

    def test_max_replica_lag(self):
        pooler = self.start({"read_consistency": "bounded", "max_replica_lag": 0.5})
        with pooler.connect() as connection:
            self.assertIn(self.place_of(connection, "begin read only"), self.addresses)
            for standby in self.cluster.standbys:
                standby.pause_replay()
            self.cluster.primary.execute("insert into counters values (6, 1)", database="test")
            eventually(lambda: self.place_of(connection, "begin read only") == self.cluster.primary.address, "they lag")
            self.cluster.primary.execute("delete from counters where id = 6", database="test")

    def test_show_hosts(self):
        pooler = self.start()
        with pooler.connect() as connection:
            self.place_of(connection, "begin read only")
        rows = {row["host"]: row for row in pooler.console("show hosts")}
        self.assertEqual(sorted(row["role"] for row in rows.values()), ["primary", "standby", "standby"])
        for row in rows.values():
            self.assertEqual(row["timeline"], "1")
            self.assertTrue(row["evidence"])
            self.assertGreaterEqual(float(row["evidence_age"]), 0)
            if row["role"] == "standby":
                self.assertGreaterEqual(int(row["lag_bytes"]), 0)
                self.assertGreaterEqual(float(row["lag_seconds"]), 0)

    def test_wrong_settings_are_told_apart(self):
        for without in ("routing", "read_consistency", "on_no_replica", "failover_hold"):
            with self.assertRaises(AssertionError) as caught:
                self.start({without: None})
            self.assertIn(f"{without} must be given", str(caught.exception))


class NoReplica(unittest.TestCase):
    """The only standby goes away and comes back."""

    def setUp(self):
        self.cluster = replicas.ReplicatedCluster(standbys=1)
        self.addCleanup(self.cluster.stop)
        self.standby = self.cluster.standbys[0]

    def place(self, connection):
        connection.execute("begin read only")
        place = where(connection)
        connection.execute("commit")
        return place

    def test_on_no_replica(self):
        poolers = {what: replicas.pooler(self.cluster, {"on_no_replica": what, "attempt_interval": 0.1})
                   for what in ("primary", "wait", "error")}
        clients = {}
        for what, pooler in poolers.items():
            self.addCleanup(pooler.stop)
            clients[what] = pooler.connect()
            self.assertEqual(self.place(clients[what]), self.standby.address)
        self.standby.stop()
        for pooler in poolers.values():
            eventually(lambda: "unknown" in {row["role"] for row in pooler.console("show hosts")}, "it is noticed")
        self.assertEqual(self.place(clients["primary"]), self.cluster.primary.address)
        with self.assertRaises(psycopg.Error) as caught:
            clients["error"].execute("begin read only")
        self.assertEqual(caught.exception.sqlstate, "57P03")
        self.assertIn("on_no_replica", caught.exception.diag.message_hint)
        self.assertEqual(where(clients["error"]), self.cluster.primary.address)  # the client stays
        places = []
        waiter = threading.Thread(target=lambda: places.append(self.place(clients["wait"])))
        waiter.start()
        eventually(lambda: poolers["wait"].console("show waits"), "it waits")
        self.standby.start()
        waiter.join(harness.PATIENCE_SECONDS)
        self.assertEqual(places, [self.standby.address])
        for client in clients.values():
            client.close()


class Failover(unittest.TestCase):
    """The primary is lost, a standby is promoted."""

    def setUp(self):
        self.cluster = replicas.ReplicatedCluster()
        self.addCleanup(self.cluster.stop)
        replicas.create_counters(self.cluster)

    def start(self, **settings):
        pooler = replicas.pooler(self.cluster, {"attempt_interval": 0.1, "failover_hold": 25} | settings)
        self.addCleanup(pooler.stop)
        return pooler

    def roles(self, pooler):
        return {row["host"].split(":")[0]: row["role"] for row in pooler.console("show hosts")}

    def test_a_killed_primary(self):
        pooler = self.start()
        old, new, other = self.cluster.servers
        done = threading.Event()
        lost, written, failures, pauses = [], {}, [], []

        def work(number):
            """Writes and reads all the time; each row that was acknowledged counts."""
            try:
                with pooler.connect() as connection:
                    n = 0
                    while not done.is_set():
                        n += 1
                        begun = time.monotonic()
                        try:
                            connection.execute("insert into counters values (%s, %s)", [number * 100000 + n, n])
                            written[number] = n
                            connection.execute("begin read only")
                            connection.execute("select count(*) from counters")
                            connection.execute("commit")
                        except psycopg.Error as error:
                            lost.append(error)
                            if connection.broken:
                                raise
                            connection.execute("rollback")
                        pauses.append(time.monotonic() - begun)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)

        # Between transactions when it happens: these stay connected, and notice nothing.
        idle = [pooler.connect() for _ in range(5)]
        for connection in idle:
            connection.execute("select 1")
        threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(written) == 4 and min(written.values()) > 20, "they write")
        old.stop()
        eventually(lambda: self.roles(pooler)[old.address] == "unknown", "the loss is noticed")
        new.promote()
        other.follow(new)
        before = dict(written)
        eventually(lambda: all(written[number] > before[number] for number in before), "all of them write again")
        self.assertEqual(self.roles(pooler)[new.address], "primary")
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for connection in idle:
            self.assertEqual(where(connection), new.address)
            connection.close()
        # Who lost a transaction had one under way, and is still connected.
        self.assertLessEqual(len(lost), len(threads))
        print(f"failover: {len(lost)} transactions failed, longest pause {max(pauses):.2f} s")

        # The old one comes back, and believes that it is the primary.
        old.start()
        eventually(lambda: "it takes writes on timeline 1, but there is timeline 2" in pooler.log_text(), "it is seen")
        self.assertEqual(self.roles(pooler)[new.address], "primary")
        with pooler.connect() as connection:
            for _ in range(10):
                self.assertEqual(where(connection), new.address)
        self.assertEqual(old.backends(), [])

    def test_without_a_primary(self):
        pooler = self.start(failover_hold=1)
        with pooler.connect() as connection:
            connection.execute("select 1")
            self.cluster.primary.stop()
            with self.assertRaises(psycopg.Error) as caught:
                while True:
                    connection.execute("select 1")
            self.assertEqual(caught.exception.sqlstate, "57P03")
            self.assertIn("failover_hold", caught.exception.diag.message_hint)
            connection.execute("begin read only")
            self.assertNotEqual(where(connection), self.cluster.primary.address)
            connection.execute("commit")
            self.cluster.servers[1].promote()
            eventually(lambda: self.roles(pooler)[self.cluster.servers[1].address] == "primary", "it is seen")
            self.assertEqual(where(connection), self.cluster.servers[1].address)

    def test_a_standby_tells_that_there_was_a_promotion(self):
        old, new, other = self.cluster.servers
        new.promote()
        other.follow(new)
        eventually(lambda: other.value("select max(received_tli) from pg_stat_wal_receiver") == 2, "it follows")
        new.execute("checkpoint")
        position = new.value("select pg_current_wal_insert_lsn()")
        eventually(lambda: other.value(f"select pg_last_wal_replay_lsn() >= '{position}'"), "it has replayed that")
        other.execute("checkpoint")
        new.stop()
        pooler = self.start(failover_hold=1)  # which has never seen the new primary, and sees the old one
        with self.assertRaises(psycopg.Error), pooler.connect() as connection:
            connection.execute("insert into counters values (1, 1)")
        self.assertEqual(old.execute("select count(*) from counters", database="test"), [(0,)])
        hosts = {row["host"].split(":")[0]: row for row in pooler.console("show hosts")}
        self.assertEqual(hosts[old.address]["role"], "replaced")
        self.assertIn("takes writes on timeline 1, but there is timeline 2", hosts[old.address]["evidence"])

    def test_a_terminated_backend_is_no_failover(self):
        pooler = self.start()
        with pooler.connect() as connection, pooler.connect() as other:
            for begin in ("begin", "begin read only"):
                connection.execute(begin)
                place = where(connection)
                server = next(server for server in self.cluster.servers if server.address == place)
                other.execute("select 1")
                self.assertTrue(server.terminate_backends())
                with self.assertRaises(psycopg.OperationalError):
                    connection.execute("select 1")
                connection.execute("rollback")
                self.assertEqual(other.execute("select 1").fetchone(), (1,))
            self.assertEqual(sorted(self.roles(pooler).values()), ["primary", "standby", "standby"])


if __name__ == "__main__":
    unittest.main()
