"""Moving in: --import asks the servers of a pgbouncer.ini, --check agrees with what it writes, and that starts."""

import contextlib
import re
import signal
import socket
import subprocess
import unittest

import psycopg

import harness
from harness import PASSWORD, PROGRAM


class Import(unittest.TestCase):
    """A server of max_connections = 100, 3 of them reserved; app may see the connections of others."""

    maxDiff = None

    def setUp(self):
        self.cluster = harness.Cluster.shared()
        self.cluster.execute("grant pg_monitor to app")
        self.addCleanup(self.cluster.execute, "revoke pg_monitor from app; alter role app connection limit -1;"
                                              " alter database test connection limit -1")
        self.directory = harness.scratch_directory()
        self.port = harness.free_port()

    def source(self, databases, secrets=(("app", PASSWORD),), **settings):
        """A pgbouncer.ini; `databases` in its words, without the server."""
        settings = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": self.directory, "auth_type": "trust",
                    "auth_file": self.directory / "userlist.txt"} | settings
        entries = {name: f"host=127.0.0.1 {'' if 'port=' in words else f'port={self.cluster.port} '}{words}"
                   for name, words in databases.items()}
        (self.directory / "userlist.txt").write_text("".join(f'"{user}" "{secret}"\n' for user, secret in secrets))
        path = self.directory / "pgbouncer.ini"
        path.write_text(harness.ini_section("databases", entries) + harness.ini_section("pgbouncer", settings))
        return path

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_SECONDS, **harness.RUN_AS)

    def imported(self, *arguments):
        """What it prints, and the same in one line without the comments' margins."""
        result = self.run_program("--import", *arguments)
        # With PgBouncer's own server_tls_sslmode, prefer, and a server without TLS it warns, once for each.
        said = [line for line in result.stderr.splitlines() if "offers no TLS: its answers to pgproxy's own" not in line]
        self.assertEqual((result.returncode, said), (0, []))
        self.result = self.directory / "pgproxy.ini"
        self.result.write_text(result.stdout)
        return result.stdout, re.sub(r"\n# ", " ", result.stdout)

    def checked(self):
        result = self.run_program("--check", self.result)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def assert_starts(self, user="app"):
        log = self.directory / "log"
        with open(log, "wb") as file:
            process = harness.start([PROGRAM, self.result], stdout=file, stderr=file)
        try:
            harness.eventually(lambda: harness.accepts(self.port) or process.poll() is not None, "pgproxy accepts connections")
            self.assertIsNone(process.poll(), log.read_text())
            with psycopg.connect(host="127.0.0.1", port=self.port, user=user, password=PASSWORD, dbname="test") as client:
                self.assertEqual(client.execute("select current_user").fetchone(), ("app",))
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(harness.PATIENCE_SECONDS)

    def second_server(self, hba):
        """Another PostgreSQL, which lets in whom `hba` says."""
        cluster = harness.Cluster()
        self.addCleanup(cluster.stop)
        (cluster.data / "pg_hba.conf").write_text("local all all trust\n" + hba)
        cluster.execute("select pg_reload_conf()")
        # A new connection that is refused tells that it was read.
        harness.eventually(lambda: not self.lets_in(cluster), "the server refuses")
        return cluster

    @staticmethod
    def lets_in(cluster):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=cluster.port, user="app", password=PASSWORD, dbname="test").close()
            return True
        return False


class Answered(Import):
    def test_the_login_of_an_entry_asks_and_enforce_is_what_check_agrees_to(self):
        self.cluster.execute("alter role app connection limit 60; alter database test connection limit 50")
        text, words = self.imported(self.source({"test": f"user=app password={PASSWORD} pool_size=30"},
                                                [("app2", PASSWORD)]))
        for line in ("check = enforce", "control_user = app", f"control_password = {PASSWORD}", "control_dbname = postgres"):
            self.assertIn(f"\n{line}\n", text)
        self.assertIn("max_connections 100, superuser_reserved_connections 3", words)
        self.assertIn("connection limit 60 of role app, connection limit 50 of database test", words)
        self.assertRegex(words, r"role app at \S+: fits: 30 \[.*\* safety_margin 0.8 = 48")
        self.assertIn("GRANT pg_monitor TO pgproxy", words)
        self.assertIn("ADDED. The servers were asked as app", words)
        self.assertRegex(self.checked(), r"server 127.0.0.1:\d+: fits: ")
        self.assert_starts("app2")

    def test_who_stands_in_auth_file_asks_and_entries_get_the_bound_that_fits(self):
        secrets = (("app", PASSWORD), ("app2", PASSWORD))
        self.cluster.execute("alter database test connection limit 30")
        text, words = self.imported(self.source({"test": ""}, secrets, default_pool_size=20))
        self.assertRegex(text, r"\ntest = .* max_db_connections=20\n")
        self.assertIn("auth_file knows 2 users, and there is no room for a pool for each", words)
        self.assertIn("\ncheck = enforce\n", text)
        self.assertNotIn("control_password =", text)
        self.assertRegex(self.checked(), r"database test at \S+: fits: 20 ")
        self.assert_starts()
        self.cluster.execute("alter database test connection limit -1")
        text, _ = self.imported(self.source({"test": ""}, secrets, default_pool_size=20))
        self.assertRegex(text, r"\ntest = .* max_db_connections=40\n")
        self.checked()

    def test_all_databases_of_a_server_may_have_what_it_allows(self):
        text, _ = self.imported(self.source({"*": ""}))
        self.assertIn("\nmax_host_connections = 77\n", text)
        self.assertIn("\ncheck = enforce\n", text)
        self.checked()
        self.assert_starts()

    def test_what_does_not_fit_is_reported_with_what_would(self):
        self.cluster.execute("alter role app connection limit 10")
        text, words = self.imported(self.source({"test": f"user=app password={PASSWORD} pool_size=30"}))
        self.assertIn("\ncheck = report\n", text)
        self.assertRegex(words, r"NOTE. role app at \S+ has no room for the pools: 30 \[.*What would fit: .*"
                                r"or ALTER ROLE app CONNECTION LIMIT \d+")
        self.checked()
        self.assert_starts()

    def test_a_second_login_is_tried_when_the_first_is_refused(self):
        text, _ = self.imported(self.source({"test": "user=app2 password=wrong"}))
        self.assertIn("\ncontrol_user = app\n", text)
        self.checked()


class Unanswered(Import):
    def assert_off(self, text):
        self.assertIn("\ncheck = off\n", text)
        self.assertNotIn("\ncontrol_user = ", text)
        self.checked()

    def test_a_role_that_does_not_see_the_others(self):
        self.cluster.execute("revoke pg_monitor from app; alter role app connection limit 17")
        text, words = self.imported(self.source({"test": "user=app"}))
        self.assertRegex(words, r"QUESTION. \S+: max_connections 100, .*connection limit 17 of role app; .*permission denied"
                                r".*GRANT pg_monitor TO app")
        self.assert_off(text)

    def test_one_server_of_two_refuses(self):
        other = self.second_server("host all all 127.0.0.1/32 reject\n")
        text, words = self.imported(self.source({"test": "", "other": f"port={other.port} dbname=test"}))
        self.assertRegex(words, rf"QUESTION. 127.0.0.1:{other.port} could not be asked: .*pg_hba.conf rejects")
        self.assertIn(f"Answered has 127.0.0.1:{self.cluster.port}: max_connections 100", words)
        self.assert_off(text)
        self.assert_starts()

    def test_a_server_that_lets_its_users_into_their_database_only(self):
        other = self.second_server("host test app 127.0.0.1/32 reject\nhost shop app 127.0.0.1/32 scram-sha-256\n")
        other.execute("create database shop owner app")
        other.execute("grant pg_monitor to app")
        text, _ = self.imported(self.source({"shop": f"port={other.port} user=app"}))
        self.assertIn("\ncontrol_dbname = shop\n", text)
        self.checked()

    def test_a_server_that_says_nothing_and_offline_does_not_even_ask(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            source = self.source({"test": f"port={silent.getsockname()[1]}"}, server_connect_timeout=0.2)
            silent.setblocking(False)
            text, _ = self.imported(source, "--offline")
            self.assertRaises(BlockingIOError, silent.accept)
            self.assertIn("QUESTION. Which role may ask", text)
            self.assertNotIn("could not be asked", text)
            text, words = self.imported(source)
            silent.accept()[0].close()
            self.assertIn("the server did not answer in time", words)
            self.assertIn("\ncheck = off\n", text)

    def test_a_hash_is_no_password(self):
        source = self.source({"test": ""}, secrets=[("app", self.cluster.secret_of("app"))])
        text, words = self.imported(source)
        self.assertIn("no line of auth_file but with a hash", words)
        self.assert_off(text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
