"""What /metrics counts of server connections that fail, of logins, of handshakes and of prepared statements."""

import contextlib
import socket
import unittest

import harness
import psycopg
from certificates import Certificates
from endpoints import HttpTest
from harness import eventually


class Metrics(HttpTest):
    def reasons(self, database):
        """Failed server connections of a database's pools, by reason."""
        found = {}
        for labels, value in self.samples("pgproxy_server_connect_failures_total").items():
            values = dict(label.split("=", 1) for label in labels.split(","))
            if values["database"] == f'"{database}"':
                found[values["reason"].strip('"')] = value
        return found

    def fail_to_connect(self, pooler, database, **options):
        with self.assertRaises(psycopg.OperationalError):
            pooler.connect(database=database, **options)

    def test_server_connections_that_fail_have_a_reason(self):
        here = f"host=127.0.0.1 port={self.cluster.port}"
        pooler = self.start({"databases": {
            "nobody": f"host=127.0.0.1 port={harness.free_port()}",
            "nowhere": "host=no-such-name.invalid port=5432",
            "stranger": f"{here} dbname=test user=app password=wrong",
            "odd": f"{here} dbname=test init_statements='select 1/0'",
            "missing": f"{here} dbname=no_such_database",
        }}, while_recovering="reject")
        for database, reason in [("nobody", "refused"), ("nowhere", "name"), ("stranger", "authentication"),
                                 ("odd", "settings"), ("missing", "other")]:
            self.fail_to_connect(pooler, database)
            self.assertEqual(list(self.reasons(database)), [reason])
            pools = [pool for pool in self.json("/pool-stats")["pools"] if pool["database"] == database]
            self.assertEqual(sum(pool["connections_failed"] for pool in pools), sum(self.reasons(database).values()))

    def test_a_server_that_is_full_one_without_tls_and_one_that_is_silent(self):
        self.cluster.execute("alter role app2 connection limit 0")
        self.addCleanup(self.cluster.execute, "alter role app2 connection limit -1")
        pooler = self.start(query_wait_timeout=1)
        self.fail_to_connect(pooler, "test", user="app2")
        self.assertEqual(list(self.reasons("test")), ["full"])
        pooler = self.start(server_tls_sslmode="require", while_recovering="reject")
        self.fail_to_connect(pooler, "test")
        self.assertEqual(list(self.reasons("test")), ["tls"])
        with socket.create_server(("127.0.0.1", 0)) as silent:
            pooler = self.start({"port": silent.getsockname()[1]}, server_connect_timeout=0.2, while_recovering="reject")
            self.fail_to_connect(pooler, "test")
            self.assertEqual(list(self.reasons("test")), ["timeout"])

    def test_attempts_of_a_recovery_are_counted_for_the_server(self):
        server = f"127.0.0.1:{harness.free_port()}"
        host, port = server.split(":")
        pooler = self.start({"databases": {"nobody": f"host={host} port={port}"}}, while_recovering="reject",
                            attempt_interval=0.05, max_attempts=3)
        self.fail_to_connect(pooler, "nobody")
        attempts = f'server="{server}"'
        eventually(lambda: self.samples("pgproxy_server_recovery_attempts_total")[attempts] == 3, "three attempts")
        self.assertGreaterEqual(self.samples("pgproxy_server_failures_total")[attempts], 4)
        self.assertIn(f'kind="server",name="{server}",state="failed"', self.samples("pgproxy_health"))

    def test_a_server_tells_its_role(self):
        pooler = self.start()
        with pooler.connect() as client:
            client.execute("select 1")
            here = f'server="127.0.0.1:{self.cluster.port}"'
            self.assertEqual(self.samples("pgproxy_server_info"), {f'{here},role="primary"': 1})
            self.assertGreaterEqual(self.samples("pgproxy_server_open_connections")[here], 1)

    def test_prepared_statements_are_hits_or_misses(self):
        pooler = self.start(default_pool_size=1)
        mine = 'database="test",user="app"'

        def counts():
            return [self.samples(f"pgproxy_statement_cache_{kind}_total").get(mine, 0) for kind in ("hits", "misses")]
        with pooler.connect(prepare_threshold=0) as client, pooler.connect(prepare_threshold=0) as other:
            client.execute("select %s::int", [1])
            hits, misses = counts()
            self.assertEqual(misses, 1)
            client.execute("select %s::int", [2])
            other.execute("select %s::int", [3])  # the same text: parsed there already
            self.assertGreaterEqual(counts()[0], hits + 2)
            self.assertEqual(counts()[1], 1)

    def test_logins_and_handshakes_take_time(self):
        pooler = self.start(**Certificates.shared().for_clients("prefer"))
        with pooler.connect(sslmode="require"), pooler.connect():
            self.assertEqual(self.samples("pgproxy_client_login_duration_seconds_count")['database="test",user="app"'], 2)
            self.assertEqual(self.samples("pgproxy_client_tls_handshake_duration_seconds_count"), {"": 1})
            self.assertGreater(self.samples("pgproxy_client_tls_handshake_duration_seconds_sum")[""], 0)
        with socket.create_connection(pooler.address()) as client:
            client.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
            self.assertEqual(client.recv(1), b"S")
            client.sendall(b"this is no handshake")
            with contextlib.suppress(OSError):
                client.recv(100)
            eventually(lambda: self.samples("pgproxy_client_tls_handshake_failures_total") == {"": 1}, "a failed handshake")
        self.assertEqual(self.samples("pgproxy_client_tls_handshake_duration_seconds_count"), {"": 1})


if __name__ == "__main__":
    unittest.main(verbosity=2)
