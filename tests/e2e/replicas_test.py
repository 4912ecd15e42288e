"""What replicas.py promises to the tests that use it, without pgproxy: straight to the servers."""

import unittest

import psycopg

import harness
import replicas
from harness import PASSWORD, eventually


def count(server):
    return server.execute("select count(*) from written", database="test")[0][0]


class Replication(unittest.TestCase):
    """On one cluster, whose roles nobody changes."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = replicas.ReplicatedCluster()
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.primary.execute("create table written(n int)", database="test")
        cls.cluster.wait_until_replayed()

    def setUp(self):
        self.cluster.primary.execute("truncate written", database="test")
        self.cluster.wait_until_replayed()

    def write(self):
        self.cluster.primary.execute("insert into written values (1)", database="test")

    def test_they_differ_in_their_addresses_and_roles(self):
        for server in self.cluster.servers:
            with psycopg.connect(host=server.address, port=self.cluster.port, user="app", password=PASSWORD, dbname="test") as app:
                address, port, is_standby = app.execute(
                    "select host(inet_server_addr()), inet_server_port(), pg_is_in_recovery()").fetchone()
            self.assertEqual((address, port), (server.address, self.cluster.port))
            self.assertEqual(is_standby, server is not self.cluster.primary)

    def test_passwords_are_asked_for(self):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(host=self.cluster.standbys[0].address, port=self.cluster.port, user="app", password="wrong", dbname="test")
        self.assertIn("password authentication failed", str(caught.exception))

    def test_the_control_role_sees_who_streams(self):
        with psycopg.connect(host=self.cluster.primary.address, port=self.cluster.port, user=replicas.CONTROL, password=PASSWORD,
                             dbname="postgres", autocommit=True) as control:
            seen = lambda: control.execute("select count(*) from pg_stat_replication where state = 'streaming'").fetchone()
            eventually(lambda: seen() == (len(self.cluster.standbys),), "all of them stream")

    def test_replay_that_is_paused(self):
        paused, other = self.cluster.standbys
        self.addCleanup(paused.resume_replay)
        paused.pause_replay()
        self.write()
        eventually(lambda: count(other) == 1, "the other one has it")
        self.assertEqual(count(paused), 0)
        paused.resume_replay()
        self.cluster.wait_until_replayed()
        self.assertEqual(count(paused), 1)

    def test_replay_that_is_delayed(self):
        delayed = self.cluster.standbys[0]
        self.addCleanup(delayed.set_apply_delay, 0)
        delayed.set_apply_delay(3_600_000)
        eventually(lambda: delayed.value("show recovery_min_apply_delay") == "1h", "it is set")
        self.write()
        position = self.cluster.primary.value("select pg_current_wal_insert_lsn()")
        eventually(lambda: delayed.value(f"select pg_last_wal_receive_lsn() >= '{position}'"), "it has come")
        self.assertEqual(count(delayed), 0)
        delayed.set_apply_delay(0)
        self.cluster.wait_until_replayed()
        self.assertEqual(count(delayed), 1)

    def test_a_frozen_server_goes_on_where_it_was(self):
        frozen = self.cluster.standbys[1]
        with frozen.connect() as connection:
            self.addCleanup(frozen.thaw)
            frozen.freeze()
            with self.assertRaises(psycopg.OperationalError):
                psycopg.connect(host=frozen.address, port=self.cluster.port, user="postgres", dbname="test", connect_timeout=2)
            self.write()
            frozen.thaw()
            self.cluster.wait_until_replayed()
            self.assertEqual(connection.execute("select count(*) from written").fetchone(), (1,))

    def test_backends_are_those_of_app_and_can_be_ended(self):
        standby = self.cluster.standbys[0]
        with standby.connect(user="app") as connection:
            self.assertEqual(standby.terminate_backends(), [connection.info.backend_pid])
            with self.assertRaises(psycopg.OperationalError) as caught:
                connection.execute("select 1")
            self.assertIn("due to administrator command", str(caught.exception))


class Roles(unittest.TestCase):
    """On a cluster of its own."""

    def test_a_primary_that_is_killed_and_comes_back(self):
        cluster = replicas.ReplicatedCluster()
        self.addCleanup(cluster.stop)
        old, new, other = cluster.servers
        old.execute("create table written(n int)", database="test")
        cluster.wait_until_replayed()
        old.kill()
        self.assertFalse(old.is_running())
        new.promote()
        other.follow(new)
        new.execute("insert into written values (1)", database="test")
        eventually(lambda: count(other) == 1, "the other one follows")
        old.start()
        self.assertFalse(old.value("select pg_is_in_recovery()"))
        timelines = [server.value("select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)::int") for server in (old, new)]
        self.assertEqual(timelines, [1, 2])
        self.assertEqual(count(old), 0)
        other.freeze()  # stop() ends it all the same
        pids = [pid for server in cluster.servers for pid in harness.processes_of(server.process)]
        self.assertGreater(len(pids), len(cluster.servers))
        cluster.stop()
        eventually(lambda: not any(replicas.state_of(pid) for pid in pids), "nothing is left")


if __name__ == "__main__":
    unittest.main()
