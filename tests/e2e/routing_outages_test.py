"""Servers of a cluster that fall silent, are terminated, or change their role while clients are at work."""

import os
import subprocess
import unittest

import harness
import raw
import replicas
from harness import BINARIES, PASSWORD, eventually
from replicas import where


class Outages(unittest.TestCase):
    """On a cluster for each test."""

    def setUp(self):
        self.cluster = replicas.ReplicatedCluster()
        self.addCleanup(self.cluster.stop)
        replicas.create_counters(self.cluster)

    def start(self, **settings):
        pooler = replicas.pooler(self.cluster, {"attempt_interval": 0.1, "failover_hold": 25} | settings)
        self.addCleanup(pooler.stop)
        return pooler

    def role(self, pooler, server):
        return self.host(pooler, server)["role"]

    def host(self, pooler, server):
        return next(row for row in pooler.console("show hosts") if row["host"].split(":")[0] == server.address)

    def place_of(self, connection, begin="begin read only"):
        connection.execute(begin)
        place = where(connection)
        connection.execute("commit")
        return place

    def test_a_standby_that_does_not_answer_gets_nothing_until_it_does(self):
        pooler = self.start()
        silent, other = self.cluster.standbys
        with pooler.connect() as connection:
            self.addCleanup(silent.thaw)
            silent.freeze()
            eventually(lambda: self.role(pooler, silent) == "unknown", "it is noticed")
            for _ in range(6):
                self.assertEqual(self.place_of(connection), other.address)
            silent.thaw()
            eventually(lambda: self.role(pooler, silent) == "standby", "it answers")
            eventually(lambda: self.place_of(connection) == silent.address, "it is used again")

    def test_a_standby_that_is_killed_and_comes_back(self):
        pooler = self.start()
        killed, other = self.cluster.standbys
        with pooler.connect() as connection:
            eventually(lambda: self.place_of(connection) == killed.address, "it is used")
            killed.kill()
            eventually(lambda: self.role(pooler, killed) == "unknown", "it is noticed")
            for _ in range(6):
                self.assertEqual(self.place_of(connection), other.address)
            self.assertEqual(where(connection), self.cluster.primary.address)
            killed.start()
            eventually(lambda: self.place_of(connection) == killed.address, "it is used again")

    def test_what_is_written_without_a_primary_waits_for_the_next_one(self):
        pooler = self.start()
        old, new, _ = self.cluster.servers
        with pooler.raw() as client, pooler.connect() as reader:
            client.query("insert into counters values (1, 1)")
            self.cluster.wait_until_replayed()
            old.kill()
            eventually(lambda: self.role(pooler, old) == "unknown", "it is noticed")
            client.send(raw.query("insert into counters values (2, 2)"))
            eventually(lambda: pooler.console("show waits"), "it waits")
            self.assertIn(self.place_of(reader), {server.address for server in self.cluster.standbys})  # nobody else does
            new.promote()
            reply = client.read_until("Z")
            self.assertNotIn("E", raw.tags(reply), reply)
        self.assertEqual(new.execute("select id from counters order by id", database="test"), [(1,), (2,)])

    def test_another_primary_while_the_old_one_lives(self):
        """A standby is promoted, and nobody has told the old primary."""
        pooler = self.start()
        old, new, other = self.cluster.servers
        with pooler.connect() as connection, pooler.connect() as late:
            self.assertEqual(where(connection), old.address)
            self.assertEqual(where(late), old.address)
            new.promote()
            other.follow(new)
            eventually(lambda: self.role(pooler, new) == "primary", "it is seen")
            row = self.host(pooler, old)
            self.assertNotEqual(row["role"], "primary")
            self.assertIn("it takes writes on timeline 1, but there is timeline 2", row["evidence"])
            for number, client in enumerate((connection, late, connection, late)):
                client.execute("insert into counters values (%s, 0)", [number])
            self.assertEqual(new.execute("select count(*) from counters", database="test"), [(4,)])
            self.assertEqual(old.execute("select count(*) from counters", database="test"), [(0,)])
            eventually(lambda: old.backends() == [], "nothing is kept open to it")
            eventually(lambda: self.place_of(connection) == other.address, "the other standby is read from")
            for _ in range(6):
                self.assertNotEqual(self.place_of(connection), old.address)

    def test_readers_go_on_through_the_loss_of_the_primary(self):
        """pgbench ends a client whose transaction fails: none of them does."""
        pooler = self.start(on_no_replica="error", default_pool_size=8)
        script = pooler.directory / "read.sql"
        script.write_text("begin read only;\nselect count(*) from counters;\ncommit;\n")
        command = [BINARIES / "pgbench", "-n", "-c", "4", "-j", "1", "-R", "400", "-t", "400", "-f", script, "-h", "127.0.0.1",
                   "-p", str(pooler.port), "-U", "app", "test"]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=os.environ | {"PGPASSWORD": PASSWORD})
        self.addCleanup(run.kill)
        done = lambda: sum(int(row["count"]) for row in pooler.console("show routing") if row["target"] == "replica")
        eventually(lambda: done() > 50, "they read")
        self.cluster.primary.kill()
        eventually(lambda: self.role(pooler, self.cluster.primary) == "unknown", "it is noticed")
        out, _ = run.communicate(timeout=harness.PATIENCE_SECONDS)
        self.assertEqual(run.returncode, 0, out)
        self.assertIn("number of transactions actually processed: 1600/1600", out)


if __name__ == "__main__":
    unittest.main()
