"""The end: who is asked to leave when, and what goes on meanwhile."""

import contextlib
import signal
import socket
import threading
import time
import unittest
import urllib.error
import urllib.request

import harness
import raw


class DrainTest(harness.PoolerTest):
    auto_start = False

    def begin(self, how=signal.SIGTERM, pooler=None, **settings):
        """A pooler whose end the test judges itself; the signal is sent by end()."""
        self.pooler = pooler or self.start_pooler(settings)
        self.how = how

    def end(self):
        self.forget(self.pooler)
        self.pooler.process.send_signal(self.how)
        harness.eventually(lambda: not harness.accepts(self.pooler.port), "TCP is closed")

    def unix_client(self, user, database):
        """A raw client on the unix socket, and the answer to its login."""
        client = raw.RawClient(f"{self.pooler.directory}/.s.PGSQL.{self.pooler.port}")
        self.addCleanup(client.close)
        return client, client.login(user, database, harness.PASSWORD)

    def assert_told_to_go(self, client):
        fields = client.read_to_end()[-1].fields()
        self.assertEqual((fields["S"], fields["C"]), ("FATAL", "57P01"))
        return fields["M"]

    def assert_ended(self):
        self.assertEqual(self.pooler.process.wait(harness.PATIENCE_SECONDS), 0, self.pooler.log_text())
        for sign in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "ssertion"):
            self.assertNotIn(sign, self.pooler.log_text())
        harness.eventually(lambda: not self.cluster.server_pids(), "no server connection is left")


class Start(DrainTest):
    """A server that says nothing holds the start, for as long as server_connect_timeout allows."""

    settings = {"server_connect_timeout": 3600, "query_wait_timeout": 3600, "client_login_timeout": 3700, "check_interval": 0}
    waits = {"check": {"check": "enforce", "control_user": "control", "control_password": harness.PASSWORD,
                       "control_dbname": "postgres"},
             "verify_acquire": {"verify_acquire": 1}}

    def start(self, silent, **settings):
        port = silent.getsockname()[1]
        self.pooler = self.start_pooler(settings, databases={"test": f"host=127.0.0.1 port={port} user=app"}, wait_until_up=False)
        self.forget(self.pooler)
        silent.settimeout(harness.PATIENCE_SECONDS)
        connection, _ = silent.accept()
        self.addCleanup(connection.close)

    def test_a_signal_ends_it(self):
        for how in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            for what, settings in self.waits.items():
                with self.subTest(how=how, what=what), socket.create_server(("127.0.0.1", 0)) as silent:
                    self.start(silent, **settings)
                    self.pooler.process.send_signal(how)
                    self.assert_ended()
                    self.assertIn(f"got {how.name} while starting", self.pooler.log_text())
                    self.assertNotIn("listening on", self.pooler.log_text())

    def test_the_signals_of_pause_do_not(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.start(silent, verify_acquire=1)
            for how in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                self.pooler.process.send_signal(how)
                harness.eventually(lambda how=how: f"got {how.name}" in self.pooler.log_text(), f"{how.name} is heard")
            self.pooler.process.send_signal(signal.SIGTERM)
            self.assert_ended()


class Sigterm(DrainTest):
    def test_clients_leave_in_turn_each_behind_its_transaction(self):
        self.begin(drain_timeout=8)
        busy = self.client()
        busy.query("begin")
        idle = self.clients(10)
        self.end()
        for client in idle:
            self.assert_told_to_go(client)
        self.assertEqual(raw.tags(busy.query("select 1")), "TDCZ")
        self.assertEqual(raw.tags(busy.query("commit")), "CZ")
        self.assert_told_to_go(busy)
        self.assert_ended()
        self.assertRegex(self.pooler.log_text(), r"got SIGTERM, shutting down: \d+ clients are connected")
        self.assertNotIn("drain_timeout: ", self.pooler.log_text())

    def test_what_is_still_in_a_transaction_at_the_end_is_closed(self):
        self.begin(drain_timeout=0.3)
        busy = self.client()
        busy.query("begin")
        self.end()
        self.assertIn("drain_timeout", self.assert_told_to_go(busy))
        self.assert_ended()
        log = self.pooler.log_text()
        self.assertRegex(log, r"C-0x\w+: test/app@\S+ closing because: drain_timeout: ")
        self.assertIn("drain_timeout: 1 clients were closed though", log)

    def test_without_a_limit_a_transaction_has_its_time(self):
        self.begin(drain_timeout=0)
        busy, idle = self.clients(2)
        busy.query("begin")
        self.end()
        self.assert_told_to_go(idle)
        self.assertEqual(raw.tags(busy.query("select 1")), "TDCZ")
        self.assertEqual(raw.tags(busy.query("commit")), "CZ")
        self.assert_told_to_go(busy)
        self.assert_ended()

    def test_console_and_metrics_stay_to_the_end(self):
        http = harness.free_port()
        self.begin(drain_timeout=0, http_listen=f"127.0.0.1:{http}")
        busy = self.client()
        busy.query("begin")
        console = raw.RawClient(self.pooler.address())
        self.addCleanup(console.close)
        console.login("admin", harness.SECTION, harness.PASSWORD)
        self.end()
        states = {row[0]: row[2] for row in raw.rows(console.query("show health"))}
        self.assertEqual(states["process"], "draining")
        _, refused = self.unix_client("app", "test")
        self.assertEqual(raw.error(refused)["C"], "57P01")
        newcomer, answer = self.unix_client("admin", harness.SECTION)
        self.assertEqual(answer[-1].tag, "Z")
        self.assertEqual(raw.error(newcomer.query("PAUSE"))["M"], "pooler is shutting down")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{http}/ready", timeout=harness.PATIENCE_SECONDS)
        self.assertEqual(caught.exception.code, 503)
        caught.exception.close()
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=harness.PATIENCE_SECONDS) as answer:
            self.assertIn("pgproxy_draining 1", answer.read().decode())
        busy.query("commit")
        self.assert_ended()

    def test_who_waits_in_a_paused_pool_is_not_kept(self):
        self.begin(drain_timeout=0)
        waiting = self.client()
        self.pooler.console("show version")
        with raw.RawClient(self.pooler.address()) as console:
            console.login("admin", harness.SECTION, harness.PASSWORD)
            console.query("PAUSE")
        waiting.send(raw.query("select 1"))
        self.pooler.wait_for_pool("one waits", cl_waiting=1)
        self.end()
        self.assert_told_to_go(waiting)
        self.assert_ended()


class Shutdown(DrainTest):
    def console(self, command):
        client = raw.RawClient(self.pooler.address())
        self.addCleanup(client.close)
        client.login("admin", harness.SECTION, harness.PASSWORD)
        self.forget(self.pooler)
        return raw.tags(client.query(command))

    def test_at_once(self):
        self.begin()
        client = self.client()
        client.query("begin")
        self.assertEqual(self.console("SHUTDOWN"), "CZ")
        self.assert_told_to_go(client)
        self.assert_ended()

    def test_wait_for_servers_drops_who_waits_for_one(self):
        self.begin(default_pool_size=1)
        busy, waiting, idle = self.clients(3)
        busy.query("begin")
        waiting.send(raw.query("select 1"))
        self.pooler.wait_for_pool("one waits", cl_waiting=1)
        self.assertEqual(self.console("SHUTDOWN WAIT_FOR_SERVERS"), "CZ")
        for client in (waiting, idle):
            self.assert_told_to_go(client)
        self.assertEqual(raw.tags(busy.query("commit")), "CZ")
        self.assert_told_to_go(busy)
        self.assert_ended()

    def test_wait_for_clients_asks_nobody_to_leave(self):
        self.begin()
        client = self.client()
        self.assertEqual(self.console("SHUTDOWN WAIT_FOR_CLIENTS"), "CZ")
        self.assertFalse(harness.accepts(self.pooler.port))
        for _ in range(3):
            self.assertEqual(raw.tags(client.query("select 1")), "TDCZ")
        client.close()
        self.assert_ended()

    def test_sigterm_hastens_wait_for_clients(self):
        self.begin()
        client = self.client()
        self.assertEqual(self.console("SHUTDOWN WAIT_FOR_CLIENTS"), "CZ")
        self.pooler.process.send_signal(signal.SIGTERM)
        self.assert_told_to_go(client)
        self.assert_ended()


class Worker(threading.Thread):
    """Commits one numbered row after the other, as pgbench does. Told 57P01 where a transaction would begin, it connects
    again; anything else is an error."""

    def __init__(self, port, number):
        super().__init__()
        self.port, self.number = port, number
        self.rows, self.reconnects = 0, 0
        self.is_over, self.error = threading.Event(), None

    def run(self):
        try:
            while not self.is_over.is_set():
                self.work(self.connect())
        except Exception as error:  # the test reports it
            self.error = error

    def connect(self):
        deadline = time.monotonic() + harness.PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, raw.Closed):  # nobody listened, or no longer
                client = raw.RawClient(("127.0.0.1", self.port))
                answer = client.login("app", "test", harness.PASSWORD)
                if answer[-1].tag == "Z":
                    return client
                client.close()
                if raw.error(answer)["C"] != "57P01":
                    raise AssertionError(raw.error(answer))
        raise AssertionError("nobody lets me in")

    def work(self, client):
        with client:
            while not self.is_over.is_set():
                answer = client.send(raw.query("begin")).read_until("ZE")
                if answer[-1].tag == "E":
                    if raw.error(answer)["C"] != "57P01":
                        raise AssertionError(raw.error(answer))
                    self.reconnects += 1
                    return
                for sql in (f"insert into ledger values ({self.number}, {self.rows})", "commit"):
                    answer = client.query(sql)
                    if raw.tags(answer) != "CZ":
                        raise AssertionError(f"{sql}: {answer}")
                self.rows += 1


class RollingRestart(DrainTest):
    def test_no_transaction_is_lost_when_the_next_instance_takes_over_the_port(self):
        self.cluster.execute("create table ledger (worker int, number int, primary key (worker, number));"
                             "grant all on ledger to app", database="test")
        self.addCleanup(self.cluster.execute, "drop table ledger", database="test")
        settings = {"so_reuseport": 1, "drain_timeout": 8}
        instances = [self.start_pooler(settings)]
        workers = [Worker(instances[0].port, number) for number in range(8)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(2):
                self.wait_for_progress(workers)
                instances.append(self.start_pooler(settings, own_port=instances[0].port))
                self.wait_for_progress(workers)
                self.forget(instances[-2])
                instances[-2].process.send_signal(signal.SIGTERM)
                self.assertEqual(instances[-2].process.wait(harness.PATIENCE_SECONDS), 0)
                self.assertNotIn("drain_timeout: ", instances[-2].log_text())
            self.wait_for_progress(workers)
        finally:
            for worker in workers:
                worker.is_over.set()
            for worker in workers:
                worker.join()
        self.assertEqual([worker.error for worker in workers], [None] * len(workers))
        self.assertGreater(sum(worker.reconnects for worker in workers), 0)
        stored = dict(self.cluster.execute("select worker, count(*) from ledger group by 1", database="test"))
        self.assertEqual(stored, {worker.number: worker.rows for worker in workers})

    def wait_for_progress(self, workers):
        before = [worker.rows for worker in workers]
        harness.eventually(lambda: all(worker.error or worker.rows > rows + 20 for worker, rows in zip(workers, before)),
                           "every client gets on")

    def test_without_so_reuseport_a_second_instance_is_an_error(self):
        pooler = self.start_pooler()
        with self.assertRaisesRegex(AssertionError, "cannot listen on .*\n.*so_reuseport = 1"):
            self.start_pooler(own_port=pooler.port)


if __name__ == "__main__":
    unittest.main(verbosity=2)
