"""Cancel requests reach the query they were meant for, wherever it is, and nothing else."""

import select
import threading
import unittest

import harness
import raw
from raw import query

SLEEP = "select pg_sleep(60)"


class Cancel(harness.PoolerTest):
    def cancel(self, pid, secret):
        """Sends a cancel request; returns when it is through, having said nothing."""
        with raw.RawClient(self.pooler.address()) as client:
            client.send(raw.cancel_packet(pid, secret))
            self.assertEqual(client.read_to_end(), [])

    def running(self):
        return self.cluster.server_pids("state = 'active' and query like '%pg_sleep%'")

    def start_sleeping(self, client):
        client.send(query(SLEEP))
        harness.eventually(self.running, "the query runs")

    def test_a_running_query_ends_with_57014(self):
        client = self.client()
        self.start_sleeping(client)
        self.cancel(client.pid, client.secret)
        reply = client.read_until("Z")
        self.assert_sqlstate(reply, "57014")
        self.assertEqual(raw.error(reply)["S"], "ERROR")
        self.assertEqual(reply[-1].body, b"I")
        self.assertEqual(client.value("select 1"), "1")

    def test_in_a_transaction_only_the_transaction_fails(self):
        client = self.client()
        client.query("begin")
        self.start_sleeping(client)
        self.cancel(client.pid, client.secret)
        self.assertEqual(client.read_until("Z")[-1].body, b"E")
        self.assertEqual(raw.tags(client.query("rollback")), "CZ")

    def test_every_query_of_a_client_that_cancels_all_of_them_ends(self):
        """The answer to one cancelled query may be faster than the end of its cancel request; the next query is cancelled too."""
        running = "select count(*) from pg_stat_activity where state = 'active' and query like %s"
        client = self.client()
        client.query("begin")  # keeps the server connection
        client.query("savepoint s")
        with self.cluster.connect() as observer:
            for turn in range(50):
                client.send(query(f"{SLEEP} /* turn {turn} */"))
                # PostgreSQL may deliver an earlier request late: then this query is over already.
                harness.eventually(
                    lambda: observer.execute(running, [f"select pg_sleep%turn {turn} %"]).fetchone()[0]
                    or select.select([client.socket], [], [], 0)[0], "it runs, or is over")
                with raw.RawClient(self.pooler.address()) as canceller:
                    canceller.send(raw.cancel_packet(client.pid, client.secret))
                    self.assert_sqlstate(client.read_until("Z"), "57014")
                # It signals the process and then its group: what comes next may be cancelled, too.
                while raw.tags(reply := client.query("rollback to s")) != "CZ":
                    self.assert_sqlstate(reply, "57014")

    def test_a_queued_query_leaves_the_queue_with_57014(self):
        holders = self.fill_pool()
        queued, behind = self.clients(2)
        queued.send(query("select 'never'"))
        self.pooler.wait_for_pool("queued", cl_waiting=1)
        behind.send(query("select 'behind'"))
        self.pooler.wait_for_pool("both queued", cl_waiting=2)
        self.cancel(queued.pid, queued.secret)
        reply = queued.read_until("Z")
        self.assert_sqlstate(reply, "57014")
        self.assertEqual(reply[-1].body, b"I")
        self.pooler.wait_for_pool("only the other one waits", cl_waiting=1)
        holders[0].query("commit")
        self.assertEqual(raw.rows(behind.read_until("Z")), [("behind",)])
        self.assertEqual(queued.value("select 'alive'"), "alive")

    def test_a_queued_extended_batch_is_answered_up_to_its_sync(self):
        self.fill_pool()
        queued = self.client()
        queued.send(raw.statement("select 1") + raw.statement("select 2") + raw.SYNC)
        self.pooler.wait_for_pool("queued", cl_waiting=1)
        self.cancel(queued.pid, queued.secret)
        reply = queued.read_until("Z")
        self.assertEqual(raw.tags(reply), "EZ")
        self.assert_sqlstate(reply, "57014")

    def test_an_idle_client_notices_nothing(self):
        client, other = self.clients(2)
        other.query("select 1")
        self.cancel(client.pid, client.secret)
        for _ in range(5):
            self.assertEqual(client.value("select 1"), "1")
            self.assertEqual(other.value("select 1"), "1")

    def test_wrong_keys_do_nothing(self):
        client = self.client()
        self.start_sleeping(client)
        flipped = bytes([client.secret[0] ^ 1]) + client.secret[1:]
        for pid, secret in ((client.pid, flipped), (client.pid, bytes(len(client.secret))), (client.pid ^ 1, client.secret),
                            (client.pid, client.secret + b"\0"), (client.pid, client.secret[:-1]), (client.pid, b""),
                            (0, bytes(4)), (client.pid, client.secret * 8)):
            self.cancel(pid, secret)
        self.assertTrue(self.running())
        self.cancel(client.pid, client.secret)
        self.assert_sqlstate(client.read_until("Z"), "57014")

    def test_postgresqls_own_key_is_not_ours(self):
        client = self.client()
        self.start_sleeping(client)
        self.assertNotEqual(client.pid, self.running()[0])
        self.cancel(client.pid, client.secret)
        client.read_until("Z")

    def test_fifty_cancels_at_once_hit_no_stranger(self):
        """Half of the clients sleep and are cancelled again and again; the other half must not feel it."""
        self.pooler = self.start_pooler({"default_pool_size": 5})
        sleepers, bystanders = self.clients(25), self.clients(25)
        failures = []

        def be_cancelled(client):
            for _ in range(6):
                client.send(query(SLEEP))
                answered = threading.Event()
                canceller = threading.Thread(target=self.cancel_until, args=(client, answered))
                canceller.start()
                reply = client.read_until("Z")
                answered.set()
                canceller.join()
                if "57014" not in [message.fields().get("C") for message in reply if message.tag == "E"]:
                    failures.append(reply)

        def go_on(client, number):
            for turn in range(40):
                rows = client.rows(f"select {number}, {turn}, pg_sleep(0.002)")
                if [row[:2] for row in rows] != [(str(number), str(turn))]:
                    failures.append((number, turn, rows))

        threads = [threading.Thread(target=be_cancelled, args=(client,)) for client in sleepers]
        threads += [threading.Thread(target=go_on, args=(client, n)) for n, client in enumerate(bystanders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.pooler.wait_for_pool("all is quiet", cl_waiting=0, sv_active=0)

    def cancel_until(self, client, answered):
        while not answered.is_set():
            self.cancel(client.pid, client.secret)
            answered.wait(0.05)

    def test_cancels_work_while_the_pool_is_full(self):
        sleepers = self.clients(3)
        for client in sleepers:
            client.send(query(SLEEP))
        harness.eventually(lambda: len(self.running()) == 3, "the pool is full of sleepers")
        for client in sleepers:
            self.cancel(client.pid, client.secret)
            self.assert_sqlstate(client.read_until("Z"), "57014")

    def test_libpq_cancels(self):
        connection = self.connect()
        errors = []

        def sleep():
            try:
                connection.execute(SLEEP)
            except Exception as error:  # noqa: BLE001: whatever it is, the assertion below judges it
                errors.append(error)

        thread = threading.Thread(target=sleep)
        thread.start()
        harness.eventually(self.running, "the query runs")
        connection.cancel()
        thread.join()
        self.assertEqual([error.sqlstate for error in errors], ["57014"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
