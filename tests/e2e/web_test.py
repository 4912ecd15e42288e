"""The HTTP endpoints, asked by urllib, promtool and a real Prometheus."""

import json
import shutil
import socket
import subprocess
import unittest

import harness
import psycopg
from endpoints import HttpTest
from harness import PATIENCE_SECONDS, eventually


class Web(HttpTest):
    def test_what_clients_do_is_counted(self):
        pooler = self.start()
        with pooler.connect() as client, pooler.connect() as other:
            client.execute("select 1")
            with self.assertRaises(Exception):
                client.execute("select 1 / 0")
            with other.transaction():
                other.execute("select 1")
                mine = 'database="test",user="app"'
                self.assertEqual(self.samples("pgproxy_client_connections")[f'{mine},state="active"'], 1)
                self.assertEqual(self.samples("pgproxy_client_connections")[f'{mine},state="idle"'], 1)
                self.assertEqual(self.samples("pgproxy_server_connections")[f'{mine},state="active"'], 1)
        self.assertGreaterEqual(self.samples("pgproxy_queries_total")[mine], 4)
        self.assertGreaterEqual(self.samples("pgproxy_query_duration_seconds_count")[mine], 4)
        self.assertEqual(self.samples("pgproxy_errors_total")[f'{mine},sqlstate_class="22"'], 1)
        pool = next(pool for pool in self.json("/pool-stats")["pools"] if pool["user"] == "app")
        self.assertEqual((pool["database"], pool["max_size"], pool["connections_active"], pool["connections_failed"]),
                         ("test", 3, 0, 0))
        self.assertGreaterEqual(pool["free_size"], 1)
        self.assertEqual(self.samples("process_open_fds").keys(), {""})

    def test_promtool_has_nothing_to_say(self):
        self.assertTrue(shutil.which("promtool"), "promtool is missing: scripts/test installs it")
        pooler = self.start()
        with pooler.connect() as client:
            client.execute("create temp table t ()")
            check = subprocess.run(["promtool", "check", "metrics"], input=self.get("/metrics")[1], text=True,
                                   capture_output=True, check=False, timeout=PATIENCE_SECONDS)
        self.assertEqual((check.returncode, check.stdout + check.stderr), (0, ""))

    def test_prometheus_scrapes_it(self):
        self.assertTrue(shutil.which("prometheus"), "prometheus is missing: scripts/test installs it")
        pooler = self.start(http_token="hush")
        with pooler.connect() as client:
            client.execute("select 1")
        prometheus = self.start_prometheus(token="hush")
        eventually(lambda: prometheus.values("up") == [1], "Prometheus scrapes pgproxy")
        eventually(lambda: sum(prometheus.values("pgproxy_queries_total")) >= 1, "Prometheus has the queries")

    def test_a_token_is_needed_where_one_is_set(self):
        self.start(http_token="hush")
        for token in (None, "", "hus", "Hush"):
            self.assertEqual(self.get("/metrics", token)[0], 401)
        self.assertEqual(self.get("/metrics", "hush")[0], 200)
        self.assertNotIn("hush", self.get("/config", "hush")[1])

    def test_the_configuration_shows_no_secret(self):
        pooler = self.start()
        rows = {row["name"]: row for row in self.json("/config")["settings"]}
        self.assertEqual((rows["default_pool_size"]["value"], rows["default_pool_size"]["origin"]), ("3", "given"))
        self.assertEqual(rows["server_lifetime"]["origin"], "default")
        self.assertNotIn(harness.PASSWORD, self.get("/config")[1])
        self.assertTrue(pooler.is_alive())

    def test_requests_that_are_none(self):
        pooler = self.start()
        for request in (b"\x16\x03\x01\x00\xa5\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000,
                        b"POST /config HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                        b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b""):
            with socket.create_connection(("127.0.0.1", self.http_port), timeout=PATIENCE_SECONDS) as client:
                try:
                    client.sendall(request)
                    client.shutdown(socket.SHUT_WR)
                    answer = client.recv(1 << 16)
                except OSError:
                    answer = b""
                self.assertNotIn(b" 200 ", answer[:20])
        for path in ("/status.html", "/../../etc/passwd", "/metrics/", "/%00", "/metric%73", "/metrics%00", "/nothing"):
            self.assertEqual(self.get(path)[0], 404, path)
        self.assertEqual(self.get("/config", method="POST")[0], 405)
        self.assertEqual(self.get("/config", method="HEAD"), (200, ""))
        self.assertEqual(self.get("/health")[0], 200)
        self.assertTrue(pooler.is_alive())

    def test_visitors_who_say_nothing_do_not_keep_others_out_for_ever(self):
        self.start()
        silent = [socket.create_connection(("127.0.0.1", self.http_port)) for _ in range(10)]
        try:
            self.assertEqual(self.get("/health")[0], 200)
        finally:
            for client in silent:
                client.close()

    def test_ready_until_it_drains(self):
        pooler = self.start()
        self.assertEqual(self.get("/ready")[0], 200)
        with pooler.connect() as client:
            client.execute("begin")
            pooler.process.terminate()
            eventually(lambda: self.get("/ready")[0] == 503, "not ready any more")
            self.assertEqual(self.samples("pgproxy_draining"), {"": 1})
            client.execute("commit")

    def test_ready_with_a_server_only(self):
        port = harness.free_port()
        pooler = self.start({"databases": {"test": f"host=127.0.0.1 port={port}"}}, while_recovering="reject")
        self.assertEqual(self.get("/ready")[0], 200)  # nobody has asked for it yet
        with self.assertRaises(psycopg.OperationalError):
            pooler.connect()
        status, body = self.get("/ready")
        self.assertEqual((status, json.loads(body)["reason"]), (503, "no primary"))
        self.assertEqual(self.get("/health")[0], 200)

    def test_an_address_that_cannot_be_had(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with self.assertRaises(AssertionError) as caught:
                self.start_pooler({"http_listen": f"127.0.0.1:{taken.getsockname()[1]}"})
        self.assertIn("http_listen: cannot listen on 127.0.0.1:", str(caught.exception))
        self.assertIn("hint: ", str(caught.exception))


if __name__ == "__main__":
    unittest.main(verbosity=2)
