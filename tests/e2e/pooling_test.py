"""When a server connection changes hands: the three pool modes, and clients that leave at the wrong moment."""

import signal
import unittest

import harness
import raw
from raw import query


def backend(client):
    return client.value("select pg_backend_pid()")


class TransactionMode(harness.PoolerTest):
    def test_a_transaction_keeps_its_server_and_gives_it_back(self):
        client, other = self.clients(2)
        client.query("begin")
        mine = backend(client)
        for _ in range(4):
            self.assertNotEqual(backend(other), mine)
            self.assertEqual(backend(client), mine)
        client.query("commit")
        self.assertIn(mine, {backend(other) for _ in range(4)})

    def test_round_robin_passes_all_servers_and_lifo_stays_on_one(self):
        for round_robin, expected in ((1, 3), (0, 1)):
            self.pooler = self.start_pooler({"server_round_robin": round_robin})
            for holder in self.fill_pool():
                holder.query("commit")
            client = self.client()
            self.assertEqual(len({backend(client) for _ in range(9)}), expected)

    def test_a_failed_transaction_keeps_its_server_too(self):
        client = self.client()
        client.query("begin")
        mine = backend(client)
        client.query("savepoint s")
        client.query("select 1/0")
        self.assertEqual(client.query("select 1")[-1].body, b"E")
        client.query("rollback to s")
        self.assertEqual(backend(client), mine)

    def test_autocommit_statements_of_one_client_in_flight_keep_their_order(self):
        client = self.client()
        client.send(b"".join(query(f"select {n}") for n in range(200)))
        self.assertEqual(raw.rows(client.read_cycles(200)), [(str(n),) for n in range(200)])

    def test_a_pipeline_goes_on_while_its_replies_come(self):
        client = self.client()
        for number in range(300):
            client.send(raw.statement("select $1::int", number) + raw.SYNC)
            if number >= 10:
                self.assertEqual(raw.rows(client.read_until("Z")), [(str(number - 10),)])
        client.read_cycles(10)

    def test_an_idle_client_survives_the_loss_of_a_server(self):
        client = self.client()
        client.query("select 1")
        self.cluster.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")
        harness.eventually(lambda: not self.cluster.server_pids(), "the server is gone")
        self.assertEqual(client.value("select 'still here'"), "still here")


class SessionMode(harness.PoolerTest):
    settings = {"pool_mode": "session"}

    def test_a_client_keeps_its_server_until_it_leaves(self):
        clients = self.clients(3)
        backends = [backend(client) for client in clients]
        self.assertEqual(len(set(backends)), 3)
        self.assertEqual([backend(client) for client in clients], backends)
        clients[0].query("create temp table kept as select 5 as n")
        clients[0].query("set work_mem = '7MB'")
        self.assertEqual(clients[0].value("select n from kept"), "5")

    def test_the_next_client_finds_a_clean_server(self):
        for client in self.clients(3):
            for sql in ("set work_mem = '7MB'", "create temp table kept ()", "select pg_advisory_lock(1)", "listen c"):
                client.query(sql)
            client.send(raw.TERMINATE).read_to_end()
        # pg_class and pg_locks tell of all sessions, also of one that is just being cleaned.
        self.pooler.wait_for_pool("the servers are clean", sv_active=0, sv_tested=0)
        for client in self.clients(3):
            self.assertEqual(client.value("show work_mem"), "4MB")
            self.assertEqual(client.rows("select relname from pg_class where relname = 'kept'"), [])
            self.assertEqual(client.value("select count(*) from pg_locks where locktype = 'advisory'"), "0")
            self.assertEqual(client.rows("select pg_listening_channels()"), [])

    def test_a_fourth_client_waits_for_the_first_to_leave(self):
        first, *_ = self.clients(3)
        with raw.RawClient(self.pooler.address()) as fourth:
            fourth.send(raw.startup_packet(user="app", database="test"), query("select 'served'"))
            self.pooler.wait_for_pool("it waits", cl_waiting=1)
            first.send(raw.TERMINATE)
            self.assertEqual(fourth.read_until("Z")[-1].tag, "Z")
            self.assertEqual(raw.rows(fourth.read_until("Z")), [("served",)])

    def test_a_client_is_told_the_pid_of_its_server(self):
        for application_name in ("one", "two"):
            with self.connect(application_name=application_name) as connection:
                row = connection.execute("select pg_backend_pid(), current_setting('application_name')").fetchone()
                self.assertEqual(row, (connection.info.backend_pid, application_name))


class StatementMode(harness.PoolerTest):
    settings = {"pool_mode": "statement"}

    def test_single_statements_work_and_transactions_are_refused(self):
        client = self.client()
        self.assertEqual(client.value("select 1"), "1")
        self.assertEqual(raw.tags(client.ask(raw.statement("select 2") + raw.SYNC)), "12DCZ")
        reply = client.send(query("begin")).read_to_end()
        fields = [message.fields() for message in reply if message.tag == "E"][-1]
        self.assertEqual(fields["S"], "FATAL")
        self.assertIn("transaction blocks not allowed in statement pooling mode", fields["M"])
        harness.eventually(lambda: not self.cluster.server_pids("state <> 'idle'"), "no transaction is left open")
        self.assertEqual(self.client().value("select 3"), "3")


class Vanishing(harness.PoolerTest):
    """Whatever a client leaves undone, nothing of it is left, and its place is free again."""

    settings = {"default_pool_size": 2}

    def setUp(self):
        super().setUp()
        self.cluster.execute("drop table if exists kept; create table kept (n int);"
                             "grant all on kept to public", database="test")

    def assert_clean(self):
        harness.eventually(lambda: not self.cluster.server_pids("state <> 'idle'"), "all servers are idle")
        harness.eventually(lambda: self.cluster.execute(
            "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
            " where usename = 'app' and locktype <> 'virtualxid'") == [(0,)], "no locks are held")
        self.assertEqual(self.cluster.execute("select count(*) from kept", database="test"), [(0,)])
        clients = self.fill_pool(size=2)
        for client in clients:
            self.assertEqual(client.rows("select relname from pg_class where relpersistence = 't'"), [])
            self.assertEqual(client.query("commit")[-1].body, b"I")
        self.pooler.wait_for_pool("places are free", cl_waiting=0, sv_active=0)

    def test_in_a_transaction(self):
        for leave in ("vanish", "close"):
            client = self.client()
            for sql in ("begin", "insert into kept values (1)", "lock table kept", "select pg_advisory_xact_lock(1)"):
                client.query(sql)
            getattr(client, leave)()
            self.assert_clean()

    def test_in_a_failed_transaction(self):
        client = self.client()
        client.query("begin; insert into kept values (1)")
        client.query("select 1/0")
        client.vanish()
        self.assert_clean()

    def test_with_session_state_of_earlier_transactions(self):
        client = self.client()
        for sql in ("create temp table t ()", "select pg_advisory_lock(5)", "listen c", "set work_mem = '9MB'",
                    "begin", "insert into kept values (1)"):
            client.query(sql)
        client.vanish()
        self.assert_clean()
        self.assertEqual({self.client().value("show work_mem") for _ in range(4)}, {"4MB"})

    def test_while_a_query_runs(self):
        for leave in ("vanish", "close"):
            client = self.client()
            client.send(query("select pg_sleep(100)"))
            harness.eventually(lambda: self.cluster.server_pids("state = 'active'"), "the query runs")
            getattr(client, leave)()
            self.assert_clean()

    def test_in_a_copy(self):
        for sent in (b"", raw.copy_data(b"1\n"), raw.copy_data(b"1\n")[:4], raw.copy_data(b"1\n2\n")[:-1]):
            for leave in ("vanish", "close"):
                client = self.client()
                client.send(query("copy kept from stdin")).read_until("G")
                client.send(sent)
                getattr(client, leave)()
                self.assert_clean()

    def test_in_a_copy_out_that_nobody_reads(self):
        client = self.client()
        client.send(query("copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout")).read_until("H")
        client.vanish()
        self.assert_clean()

    def test_in_every_byte_of_a_message(self):
        whole = raw.statement("insert into kept values ($1::int)", 1) + raw.SYNC
        for cut in range(1, len(whole)):
            client = self.client()
            client.send(whole[:cut])
            client.vanish()
        self.assert_clean()

    def test_before_the_sync(self):
        client = self.client()
        client.send(raw.statement("insert into kept values (1)") + raw.FLUSH).read_until("C")
        client.vanish()
        self.assert_clean()

    def test_with_a_pipeline_in_flight(self):
        client = self.client()
        client.send((raw.statement("select pg_sleep(0.05)") + raw.SYNC) * 50).read_until("Z")
        client.vanish()
        self.assert_clean()


class Stopping(harness.PoolerTest):
    settings = {"drain_timeout": 0}

    def stop_by(self, how):
        """Signals; the test looks at the exit status itself."""
        self.forget(self.pooler)
        self.pooler.process.send_signal(how)

    def assert_stopped(self):
        self.assertEqual(self.pooler.process.wait(harness.PATIENCE_SECONDS), 0, self.pooler.log_text())
        harness.eventually(lambda: not self.cluster.server_pids(), "no server connection is left")

    def test_sigterm_closes_each_client_when_its_transaction_ends(self):
        client, idle = self.clients(2)
        client.query("begin")
        self.stop_by(signal.SIGTERM)
        harness.eventually(lambda: not harness.accepts(self.pooler.port), "no new clients")
        self.assertEqual(idle.read_to_end()[-1].fields()["C"], "57P01")
        self.assertEqual(raw.tags(client.query("commit")), "CZ")
        self.assertEqual(client.read_to_end()[-1].fields()["C"], "57P01")
        self.assert_stopped()

    def test_a_second_sigterm_does_not_wait(self):
        client = self.client()
        client.query("begin")
        self.stop_by(signal.SIGTERM)
        harness.eventually(lambda: not harness.accepts(self.pooler.port), "no new clients")
        self.pooler.process.send_signal(signal.SIGTERM)
        self.assert_stopped()

    def test_sigquit_does_not_wait(self):
        self.client().query("begin")
        self.stop_by(signal.SIGQUIT)
        self.assert_stopped()

    def test_sigint_waits_for_transactions_only(self):
        busy, idle = self.clients(2)
        busy.query("begin")
        self.stop_by(signal.SIGINT)
        self.assertEqual(raw.tags(busy.query("select 1")), "TDCZ")
        self.assertTrue(self.pooler.is_alive())
        busy.query("commit")
        self.assert_stopped()
        self.assertIn(raw.tags(idle.read_to_end()), ("", "E"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
