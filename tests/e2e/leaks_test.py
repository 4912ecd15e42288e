"""Clients that forget a transaction: named in time, ended in the end."""

import unittest

import harness
import raw
from raw import query


class Leaks(harness.PoolerTest):
    settings = {"leak_warning": 0.3, "idle_transaction_timeout": 1.5}

    def warnings(self):
        return [line for line in self.pooler.log_text().splitlines() if "(leak_warning)" in line]

    def test_a_leak_is_named_once_and_then_ended(self):
        client = self.client(application_name="forgetful")
        client.query("begin")
        client.query("create table leaked (n int)")
        pid = self.cluster.server_pids()[0]
        fields = self.assert_sqlstate(client.read_to_end(), "25P03")
        self.assertIn("idle_transaction_timeout", fields["M"])
        line, = self.warnings()
        for word in ("test/app@127.0.0.1", 'application_name "forgetful"', f"server pid {pid}",
                     "idle in transaction for 0.3 s", "idle_transaction_timeout = 1.5 ends it"):
            self.assertIn(word, line)
        self.assertRegex(line, r"last statement 0x[0-9a-f]{6,}")
        self.assertRegex(line, r"transaction open for \d+\.\d+ s")
        self.assertEqual(self.pooler.pool()["leak_warnings"], 1)
        self.pooler.wait_for_pool("rolled back", sv_active=0, sv_tested=0)
        self.assertEqual(self.cluster.execute("select to_regclass('leaked')", database="test"), [(None,)])
        self.assertEqual(self.cluster.server_pids("state <> 'idle'"), [])

    def test_once_in_each_transaction(self):
        self.pooler = self.start_pooler({"idle_transaction_timeout": 100})
        client = self.client()
        for transaction in (1, 2):
            client.query("begin")
            harness.eventually(lambda: len(self.warnings()) == transaction, "a warning")
            client.query("select 1")
            client.query("commit")
        self.assertEqual(len(self.warnings()), 2)

    def test_without_a_limit_it_says_so(self):
        self.pooler = self.start_pooler({"idle_transaction_timeout": 0})
        client = self.client()
        client.query("begin")
        harness.eventually(self.warnings, "a warning")
        self.assertIn("nothing will end it", self.warnings()[0])
        self.assertEqual(client.value("select 'goes on'"), "goes on")

    def test_a_busy_client_is_no_leak(self):
        self.pooler = self.start_pooler({"leak_warning": 2})  # more than passes between two queries
        client = self.client()
        client.query("begin")
        client.query("select pg_sleep(2.5)")
        client.query("commit")
        self.assertEqual(self.warnings(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
