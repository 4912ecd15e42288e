"""Servers that go away: who hears of it, in which words, and that everything works again afterwards."""

import signal
import unittest

import harness
import raw
from raw import query


class ServerGone(harness.PoolerTest):
    def terminate_servers(self, where="true"):
        for pid in self.cluster.server_pids(where):
            self.cluster.execute("select pg_terminate_backend(%s)", [pid])

    def assert_fatal(self, messages, sqlstate):
        fields = [message.fields() for message in messages if message.tag == "E"]
        self.assertEqual([field["C"] for field in fields], [sqlstate], fields)
        self.assertEqual((fields[0]["S"], fields[0]["V"]), ("FATAL", "FATAL"))
        return fields[0]

    def test_a_terminated_backend_speaks_for_itself(self):
        running, in_transaction, idle = self.clients(3)
        in_transaction.query("begin")
        running.send(query("select pg_sleep(60)"))
        harness.eventually(lambda: self.cluster.server_pids("state = 'active'"), "it runs")
        self.terminate_servers()
        for client in (running, in_transaction):
            fields = self.assert_fatal(client.read_to_end(), "57P01")
            self.assertEqual(fields["M"], "terminating connection due to administrator command")
        self.assertEqual(idle.value("select 'unharmed'"), "unharmed")

    def test_a_cut_connection_is_08006(self):
        proxy = self.start_fault_proxy()
        self.pooler = self.start_pooler(port=proxy.port)
        running, in_transaction, idle = self.clients(3)
        in_transaction.query("begin")
        running.send(query("select pg_sleep(60)"))
        harness.eventually(lambda: self.cluster.server_pids("state = 'active'"), "it runs")
        proxy.command("cut")
        for client in (running, in_transaction):
            self.assert_fatal(client.read_to_end(), "08006")
        self.terminate_servers("state = 'active'")  # PostgreSQL itself notices only when the sleep is over
        self.assertEqual(idle.value("select 'unharmed'"), "unharmed")

    def test_waiters_do_not_notice(self):
        holders = self.fill_pool()
        waiter = self.client()
        waiter.send(query("select 'served'"))
        self.pooler.wait_for_pool("it waits", cl_waiting=1)
        self.terminate_servers()
        self.assertEqual(raw.rows(waiter.read_until("Z")), [("served",)])
        for holder in holders:
            self.assert_fatal(holder.read_to_end(), "57P01")

    def test_a_dead_idle_server_is_never_given_out(self):
        for holder in self.fill_pool():
            holder.query("commit")
        clients = self.clients(6)
        self.terminate_servers()
        harness.eventually(lambda: not self.cluster.server_pids(), "all are gone")
        for client in clients:
            self.assertEqual(client.value("select 1"), "1")

    def test_a_server_that_answers_nothing_at_login_is_given_up(self):
        proxy = self.start_fault_proxy()
        proxy.command("refuse")
        self.pooler = self.start_pooler({"server_connect_timeout": 1, "server_login_retry": 1,
                                         "query_wait_timeout": 2}, port=proxy.port)
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login("app", "test")
            if reply[-1].tag == "Z":
                reply = client.send(query("select 1")).read_until("E")
            self.assertIn(raw.error(reply)["C"], ("08001", "08006", "53300", "57P03"))
        proxy.command("accept")
        harness.eventually(self.works, "it works once the server is there")

    def works(self):
        try:
            return self.client().value("select 1") == "1"
        except (AssertionError, raw.Closed):
            return False

    def test_a_black_hole_costs_its_own_clients_only(self):
        proxy = self.start_fault_proxy()
        self.pooler = self.start_pooler({"query_timeout": 1}, port=proxy.port)
        victim, other = self.clients(2)
        victim.query("begin")
        proxy.command("hole")
        fields = raw.error(victim.send(query("select 1")).read_to_end())
        self.assertEqual(fields["S"], "FATAL")
        self.assertEqual(other.value("select 1"), "1")

    def test_a_restart_of_postgresql(self):
        clients = self.clients(5)
        holder, *_ = self.fill_pool(size=2)
        for client in clients[:3]:
            client.query("select 1")
        self.cluster.stop(signal.SIGINT)
        self.assertTrue(self.pooler.is_alive())
        self.assert_fatal(holder.read_to_end(), "57P01")
        self.cluster.start()
        harness.eventually(self.works, "new clients work")
        for client in clients:
            self.assertEqual(client.value("select 'kept its connection'"), "kept its connection")


if __name__ == "__main__":
    unittest.main(verbosity=2)
