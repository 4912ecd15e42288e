"""A client of a cluster whose server connection is lost loses its transaction, and nothing else."""

import unittest

import psycopg

import harness
import raw
import replicas
from harness import eventually

LOST = "terminating connection due to administrator command"


class Losses(unittest.TestCase):
    """On one cluster, whose roles nobody changes: backends are terminated."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = replicas.ReplicatedCluster()
        cls.addClassCleanup(cls.cluster.stop)
        replicas.create_counters(cls.cluster)
        cls.pooler = replicas.pooler(cls.cluster, {"attempt_interval": 0.1})
        cls.addClassCleanup(cls.pooler.stop)

    def setUp(self):
        self.cluster.primary.execute("delete from counters", database="test")

    def terminate_while_it_runs(self, text):
        running = f"select 1 from pg_stat_activity where usename = 'app' and state = 'active' and query like '%{text}%'"
        eventually(lambda: self.cluster.primary.execute(running), "it runs")
        self.cluster.primary.terminate_backends()

    def assert_lost(self, reply, tags, status=b"I"):
        """Whatever came of the reply before."""
        self.assertEqual(raw.tags(reply).lstrip("12T"), tags)
        for fields in (message.fields() for message in reply if message.tag == "E"):
            self.assertEqual((fields["S"], fields["C"], fields["M"]), ("ERROR", "57P01", LOST))
            self.assertIn("is lost", fields["D"])
        if tags.endswith("Z"):
            self.assertEqual(reply[-1].body, status)

    def test_a_statement(self):
        with self.pooler.raw() as client:
            client.send(raw.query("select pg_sleep(20), 'simple'"))
            self.terminate_while_it_runs("simple")
            self.assert_lost(client.read_until("Z"), "EZ")
            client.send(raw.statement("select pg_sleep(20), $1::text", "extended") + raw.SYNC)
            self.terminate_while_it_runs("pg_sleep")
            self.assert_lost(client.read_until("Z"), "EZ")
            self.assertEqual(client.value("select 1"), "1")

    def test_what_was_sent_behind_it(self):
        with self.pooler.raw() as client:
            client.query("begin")
            client.send(raw.query("select pg_sleep(20), 'first'"), raw.query("insert into counters values (1, 1)"), raw.query("commit"))
            self.terminate_while_it_runs("first")
            for _ in range(3):
                self.assert_lost(client.read_until("Z"), "EZ")
            self.assertEqual(client.value("select count(*) from counters"), "0")
            client.send(raw.statement("select pg_sleep(20), 'open'"), raw.FLUSH)
            self.terminate_while_it_runs("open")
            self.assert_lost(client.read_until("E"), "E")
            client.send(raw.statement("insert into counters values (2, 2)"), raw.SYNC)
            self.assertEqual(raw.tags(client.read_until("Z")), "Z")
            self.assertEqual(client.value("select count(*) from counters"), "0")

    def test_between_two_statements_of_a_transaction(self):
        for end in ("commit", "end", "insert into counters values (3, 3)", None):
            with self.subTest(end), self.pooler.raw() as client:
                client.query("begin")
                client.query("insert into counters values (1, 1)")
                self.cluster.primary.terminate_backends()
                reply = client.query(end) if end else client.ask(raw.statement("select 1"), raw.SYNC)
                self.assert_lost(reply, "EZ", b"I" if end in ("commit", "end") else b"E")
                if reply[-1].body == b"E":
                    reply = client.query("rollback")
                    self.assertEqual((raw.tags(reply), reply[-1].body), ("CZ", b"I"))
                self.assertEqual(client.value("select count(*) from counters"), "0")

    def test_nothing_runs_outside_of_the_block_that_it_was_meant_for(self):
        insert = "insert into counters values (5, 5)"
        for end, status in (("rollback", b"I"), ("commit", b"I"), ("rollback to s", b"E")):
            with self.subTest(end), self.pooler.raw() as client:
                client.query("begin")
                client.send(raw.query("select pg_sleep(20), 'block'"))
                self.terminate_while_it_runs("block")
                self.assert_lost(client.read_until("Z"), "EZ", b"E")
                for reply in (client.query(insert), client.ask(raw.statement(insert), raw.SYNC)):
                    self.assertEqual((raw.error(reply)["C"], reply[-1].body), ("25P02", b"E"))
                self.assertEqual(client.ask(raw.SYNC)[-1].body, b"E")
                reply = client.query(end)
                self.assertEqual((raw.tags(reply), reply[-1].body), ("CZ" if status == b"I" else "EZ", status))
                reply = client.ask(raw.statement("rollback"), raw.SYNC)
                self.assertEqual((raw.tags(reply), reply[-1].body), ("12CZ", b"I"))
                self.assertEqual(client.value("select count(*) from counters"), "0")

    def test_rows_that_are_on_their_way(self):
        with self.pooler.raw() as client:
            client.send(raw.query("select repeat('x', 1000), 'rows' from generate_series(1, 2000) i where pg_sleep(i / 1000) is not null"))
            client.read_until("D")
            self.terminate_while_it_runs("rows")
            reply = client.read_until("Z")
            self.assertEqual(raw.tags(reply).lstrip("D"), "EZ")
            self.assertEqual(client.value("select 1"), "1")

    def test_copy(self):
        with self.pooler.raw() as client:
            client.send(raw.query("copy counters from stdin"))
            client.read_until("G")
            client.send(raw.copy_data(b"1\t1\n"))
            self.terminate_while_it_runs("copy")
            self.assert_lost(client.read_until("Z"), "EZ")
            client.send(raw.copy_data(b"2\t2\n"), raw.COPY_DONE)
            self.assertEqual(client.value("select count(*) from counters"), "0")

    def test_settings_are_those_from_before(self):
        with self.pooler.raw() as client:
            client.query("set timezone = 'Asia/Tokyo'")
            client.query("set app.tenant = '7'")
            client.query("begin")
            client.query("set timezone = 'Europe/Rome'")
            client.query("set app.tenant = '8'")
            noticed = lambda: self.pooler.log_text().count("the transaction is lost, the client stays")
            before = noticed()
            self.cluster.primary.terminate_backends()
            eventually(lambda: noticed() > before, "the loss is noticed")
            self.assertEqual(raw.tags(client.query("rollback")), "CZ")  # it need not hear of the loss at all
            self.assertEqual(client.query("show timezone")[1].row(), ("Asia/Tokyo",))
            self.assertEqual(client.value("show app.tenant"), "7")

    def test_statements_stay_prepared(self):
        with self.pooler.raw() as client:
            client.ask(raw.parse("select $1::int + 1", "before"), raw.SYNC)
            client.query("begin")
            self.cluster.primary.terminate_backends()
            client.query("select 1")
            client.query("rollback")
            self.assertEqual(raw.rows(client.ask(raw.bind(5, name="before"), raw.execute(), raw.SYNC)), [("6",)])
            client.send(raw.parse("select pg_sleep(20)", "within") + raw.bind(name="within") + raw.execute() + raw.SYNC)
            self.terminate_while_it_runs("pg_sleep")
            client.read_until("Z")
            self.assertEqual(raw.tags(client.ask(raw.parse("select 2", "within"), raw.bind(name="within"), raw.execute(), raw.SYNC))[-1], "Z")

    def test_on_a_replica(self):
        with self.pooler.raw() as client:
            client.query("begin read only")
            place = client.value("select current_setting('listen_addresses')")
            standby = next(server for server in self.cluster.standbys if server.address == place)
            standby.terminate_backends()
            self.assert_lost(client.query("select 1"), "EZ", b"E")
            client.query("rollback")
            client.query("insert into counters values (4, 4)")
            self.assertEqual(client.value("select count(*) from counters"), "1")

    def test_who_has_more_there_than_a_transaction_is_told_by_the_end_of_its_connection(self):
        connection = self.pooler.connect()
        connection.execute("create temp table mine(n int)")
        self.cluster.primary.terminate_backends()
        with self.assertRaises(psycopg.OperationalError):
            connection.execute("select * from mine")
        self.assertTrue(connection.broken)

    def tearDown(self):
        eventually(lambda: all(row["sv_active"] == "0" and row["cl_active"] == "0" for row in self.pooler.console("show pools")
                               if row["database"] == "test"), "nobody has a server")


if __name__ == "__main__":
    unittest.main()
