"""Saturation is a queue: its order, its end, the limits that make it, and the timeouts that clear it."""

import unittest

import harness
import raw
from raw import query


class Queue(harness.PoolerTest):
    def test_waiters_are_served_in_order(self):
        self.pooler = self.start_pooler({"default_pool_size": 1})
        holder, = self.fill_pool(size=1)
        waiters = self.clients(8)
        self.cluster.execute("drop table if exists served; create table served (n int, at serial);"
                             "grant all on served to public; grant all on served_at_seq to public", database="test")
        for number, waiter in enumerate(waiters, 1):
            waiter.send(query(f"insert into served values ({number})"))
            self.pooler.wait_for_pool("one more waits", cl_waiting=number)
        holder.query("commit")
        for waiter in waiters:
            waiter.read_until("Z")
        self.assertEqual(self.cluster.execute("select n from served order by at", database="test"),
                         [(number,) for number in range(1, 9)])

    def test_a_wait_too_long_is_53300_with_the_facts(self):
        self.pooler = self.start_pooler({"query_wait_timeout": 1, "default_pool_size": 2})
        self.fill_pool(size=2)
        waiter = self.client()
        reply = waiter.send(query("select 1")).read_to_end()
        fields = self.assert_sqlstate(reply, "53300")
        self.assertIn("query_wait_timeout", " ".join(fields.values()))
        self.assertIn("test", fields["D"])
        self.assertIn("2", fields["D"])
        self.assertTrue(fields["H"])
        self.assertEqual(fields["V"], fields["S"])

    def test_many_clients_share_few_servers(self):
        clients = self.clients(60)
        for turn in range(5):
            for number, client in enumerate(clients):
                client.send(query(f"select {number}, {turn}"))
            for number, client in enumerate(clients):
                self.assertEqual(raw.rows(client.read_until("Z")), [(str(number), str(turn))])
        self.assertLessEqual(len(self.cluster.server_pids()), 3)

    def test_a_waiter_that_leaves_frees_its_place(self):
        holders = self.fill_pool()
        leaver, stayer = self.clients(2)
        leaver.send(query("select 1"))
        self.pooler.wait_for_pool("queued", cl_waiting=1)
        stayer.send(query("select 'stays'"))
        self.pooler.wait_for_pool("both queued", cl_waiting=2)
        leaver.vanish()
        self.pooler.wait_for_pool("one left", cl_waiting=1)
        holders[0].query("rollback")
        self.assertEqual(raw.rows(stayer.read_until("Z")), [("stays",)])


class Limits(harness.PoolerTest):
    auto_start = False

    def assert_servers(self, most):
        """A backend of an evicted connection is seen until it has ended."""
        self.assertLessEqual(len(self.pooler.console("show servers")), most)
        harness.eventually(lambda: len(self.cluster.server_pids()) <= most, f"at most {most} servers are open")

    def test_max_client_conn_refuses_one_more_with_53300(self):
        self.pooler = self.start_pooler({"max_client_conn": 4})
        clients = self.clients(4)
        self.assert_refused("53300")
        self.assertEqual(clients[0].value("select 1"), "1")
        clients[0].send(raw.TERMINATE).read_to_end()
        self.assertEqual(self.client().value("select 1"), "1")

    def test_the_console_is_open_when_clients_are_not(self):
        self.pooler = self.start_pooler({"max_client_conn": 1})
        self.client()
        self.assertTrue(self.pooler.console("show pools"))

    def test_client_limits_per_database_and_user(self):
        self.pooler = self.start_pooler({"max_user_client_connections": 2})
        self.clients(2)
        self.assert_refused("53300")
        self.client("app2")
        self.pooler = self.start_pooler({"max_db_client_connections": 2})
        self.client("app")
        self.client("app2")
        self.assert_refused("53300")

    def test_limits_of_one_database_or_user_beat_the_global_ones(self):
        where = f"host=127.0.0.1 port={self.cluster.port} dbname=test"
        self.databases = {"small": f"{where} pool_size=1", "test": f"{where} max_db_client_connections=1"}
        self.users = {"app2": "max_user_client_connections=1"}
        self.pooler = self.start_pooler()
        self.client("app", "test")
        self.assert_refused("53300", user="app", database="test")
        self.client("app2", "small")
        self.assert_refused("53300", user="app2", database="small")
        holder, waiter = self.clients(2, "app", "small")
        holder.query("begin")
        waiter.send(query("select 1"))
        harness.eventually(lambda: self.pooler.pool("app", "small")["cl_waiting"] == 1, "pool_size=1 holds")
        holder.query("commit")
        waiter.read_until("Z")

    def test_max_db_connections_counts_all_users_and_evicts_idle_servers(self):
        self.check_eviction({"max_db_connections": 2}, ("app", "app2"))

    def check_eviction(self, settings, users):
        self.pooler = self.start_pooler(settings)
        other = self.client(users[1])  # its login needed a server, which fill_pool evicts
        first = self.fill_pool(users[0], size=2)
        other.send(query("select current_user"))
        self.pooler.wait_for_pool("it waits", user=users[1], cl_waiting=1)
        self.assert_servers(2)
        first[0].query("commit")
        self.assertEqual(raw.rows(other.read_until("Z")), [(users[1],)])
        self.assert_servers(2)
        first[1].query("commit")

    def test_an_idle_server_of_another_user_makes_room_at_once(self):
        self.pooler = self.start_pooler({"max_db_connections": 2})
        for holder in self.fill_pool("app", size=2):
            holder.query("commit")
        self.assertEqual(self.client("app2").value("select current_user"), "app2")
        self.assert_servers(2)

    def test_max_user_connections_counts_all_databases_and_evicts(self):
        where = f"host=127.0.0.1 port={self.cluster.port} dbname=test"
        self.databases = {"test": where, "second": where}
        self.pooler = self.start_pooler({"max_user_connections": 2})
        other = self.client("app", "second")  # its login needed a server, which fill_pool evicts
        first = self.fill_pool("app", "test", size=2)
        other.send(query("select 'evicted'"))
        harness.eventually(lambda: self.pooler.pool("app", "second").get("cl_waiting") == 1, "it waits")
        first[0].query("commit")
        self.assertEqual(raw.rows(other.read_until("Z")), [("evicted",)])
        self.assert_servers(2)

    def test_the_reserve_pool_opens_after_its_timeout(self):
        self.pooler = self.start_pooler({"default_pool_size": 1, "reserve_pool_size": 1, "reserve_pool_timeout": 0.2})
        self.fill_pool(size=1)
        self.assertEqual(self.client().value("select 'reserve'"), "reserve")
        self.assertIn("taking connection from reserve_pool", self.pooler.log_text())

    def test_min_pool_size_is_kept_ready(self):
        self.pooler = self.start_pooler({"min_pool_size": 2})
        self.client()
        harness.eventually(lambda: len(self.cluster.server_pids()) == 2, "two servers are open")


class Timeouts(harness.PoolerTest):
    """By their effect; how long they take is nobody's business here."""

    auto_start = False

    def assert_ended(self, client, word):
        """The connection ends with one FATAL that names the timeout."""
        fields = raw.error(client.read_to_end())
        self.assertEqual(fields["S"], "FATAL", fields)
        self.assertIn(word, fields["M"].replace(" ", "_"))
        return fields

    def test_query_timeout(self):
        self.pooler = self.start_pooler({"query_timeout": 1})
        client = self.client()
        client.send(query("select pg_sleep(60)"))
        self.assert_ended(client, "query_timeout")
        harness.eventually(lambda: not self.cluster.server_pids("state = 'active'"), "the query is gone")
        self.assertEqual(self.client().value("select 1"), "1")

    def test_idle_transaction_timeout(self):
        self.pooler = self.start_pooler({"idle_transaction_timeout": 1})
        client = self.client()
        client.query("begin")
        self.assertEqual(self.assert_ended(client, "idle_transaction_timeout")["C"], "25P03")
        harness.eventually(lambda: not self.cluster.server_pids("state like 'idle in%'"), "rolled back")

    def test_transaction_timeout(self):
        self.pooler = self.start_pooler({"transaction_timeout": 1})
        client = self.client()
        client.send(query("begin") + query("select pg_sleep(60)")).read_until("Z")
        messages = client.read_to_end()
        fields = [message.fields() for message in messages if message.tag == "E"][-1]
        self.assertIn("transaction_timeout", fields["M"].replace(" ", "_"))
        harness.eventually(lambda: not self.cluster.server_pids("state <> 'idle'"), "rolled back")

    def test_client_idle_timeout_spares_who_waits_or_works(self):
        self.pooler = self.start_pooler({"client_idle_timeout": 1})
        busy, idle = self.clients(2)
        busy.send(query("select pg_sleep(2.5)"))
        self.assert_ended(idle, "client_idle_timeout")
        self.assertEqual(raw.tags(busy.read_until("Z")), "TDCZ")

    def test_client_login_timeout(self):
        self.pooler = self.start_pooler({"client_login_timeout": 1, "auth_type": "md5"})
        for sent in (b"", raw.startup_packet(user="app", database="test")[:9],
                     raw.startup_packet(user="app", database="test")):
            with raw.RawClient(self.pooler.address()) as client:
                client.send(sent)
                self.assertIn(raw.tags(client.read_to_end()).lstrip("R"), ("", "E"))

    def test_server_idle_timeout_and_lifetime_close_servers(self):
        for setting in ("server_idle_timeout", "server_lifetime"):
            self.pooler = self.start_pooler({setting: 1})
            client = self.client()
            client.query("select 1")
            harness.eventually(lambda: not self.cluster.server_pids(), f"{setting} closed it")
            self.assertEqual(client.value("select 1"), "1")
            self.finish(self.pooler)


if __name__ == "__main__":
    unittest.main(verbosity=2)
