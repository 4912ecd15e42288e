"""The program's own interface: options, and what happens when the configuration is wrong."""

import os
import pathlib
import subprocess
import unittest

import harness
from harness import PROGRAM

REQUIRED = {"pool_mode": "transaction", "default_pool_size": 5, "max_client_conn": 100, "query_wait_timeout": 30,
            "query_timeout": 60, "idle_transaction_timeout": 60, "server_connect_timeout": 10,
            "server_tls_sslmode": "disable", "on_exhausted": "queue", "leak_warning": 0, "auth_type": "trust", "on_residue": "pin",
            "max_pinned_fraction": 0.5}


class Options(unittest.TestCase):
    def setUp(self):
        self.directory = harness.scratch_directory()
        (self.directory / "userlist.txt").write_text('"app" "secret"\n')

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_SECONDS, **harness.RUN_AS)

    def ini(self, without=(), databases="test = host=127.0.0.1\n", **settings):
        values = {"listen_addr": "127.0.0.1", "listen_port": 6432, "auth_file": self.directory / "userlist.txt",
                  "unix_socket_dir": ""} | REQUIRED | settings
        path = self.directory / "test.ini"
        path.write_text(f"[databases]\n{databases}[pgproxy]\n"
                        + "".join(f"{key} = {value}\n" for key, value in values.items()
                                  if key not in without and key not in harness.OTHER_SECTIONS)
                        + harness.other_sections(settings))
        return path

    def assert_rejected(self, path, *words):
        for arguments in (["--check", path], [path]):
            result = self.run_program(*arguments)
            text = result.stdout + result.stderr
            self.assertEqual(result.returncode, 1, text)
            for word in words:
                self.assertIn(str(word), text)

    def test_version_and_help(self):
        version = self.run_program("--version")
        self.assertEqual((version.returncode, version.stdout.split()[0].lower()), (0, "pgproxy"))
        self.assertIn("--check", self.run_program("--help").stdout)

    def test_a_good_file_passes_the_check(self):
        result = self.run_program("--check", self.ini())
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_an_imported_pgbouncer_ini_passes_the_check(self):
        source = self.directory / "pgbouncer.ini"
        source.write_text("[databases]\nshop = host=127.0.0.1 dbname=test pool_size=7\n[pgbouncer]\nlisten_port = 6543\n"
                          f"auth_file = {self.directory / 'userlist.txt'}\npkt_buf = 8192\n")
        imported = self.run_program("--import", source, "--offline")
        self.assertEqual((imported.returncode, imported.stderr), (0, ""))
        path = self.directory / "imported.ini"
        path.write_text(imported.stdout)
        checked = self.run_program("--check", path)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        for line in ("listen_port = 6543  # given", "pool_mode = session  # given", "server_tls_sslmode = prefer  # given"):
            self.assertIn(line, checked.stdout)

    def test_an_import_says_what_it_cannot_keep(self):
        source = self.directory / "pgbouncer.ini"
        source.write_text("[pgbouncer]\nauth_type = any\npeer_id = 3\n")
        imported = self.run_program("--import", source)
        self.assertEqual(imported.returncode, 1)
        self.assertIn(f"{source}:3: peer_id", imported.stderr)
        self.assertIn("\n;peer_id = 3\n", imported.stdout)

    def test_every_required_setting_is_asked_for_with_its_name(self):
        for name in set(REQUIRED) - {"auth_type"}:
            with self.subTest(name):
                self.assert_rejected(self.ini(without=[name]), name)
        self.assert_rejected(self.ini(without=REQUIRED), *(set(REQUIRED) - {"auth_type"}))

    def test_all_errors_come_together_with_their_lines(self):
        path = self.ini(defualt_pool_size=3, listen_port=70000, pool_mode="sometimes", verbose="x")
        self.assert_rejected(path, "defualt_pool_size", "default_pool_size", "70000", "sometimes",
                             *(f"{path}:{number}" for number, line in enumerate(path.read_text().splitlines(), 1)
                               if line.startswith(("defualt", "listen_port", "pool_mode", "verbose"))))

    def test_settings_of_a_later_version_are_not_ignored(self):
        self.assert_rejected(self.ini(client_tls_protocols="tlsv1.0"), "client_tls_protocols", "not in this version")

    def test_a_missing_file_is_named(self):
        self.assert_rejected(self.directory / "no_such.ini", "no_such.ini")

    def test_the_printed_example_is_the_shipped_one(self):
        example = self.run_program("--print-example")
        self.assertEqual(example.returncode, 0)
        shipped = pathlib.Path(__file__).parents[2] / "pgproxy.ini.example"
        self.assertEqual(example.stdout, shipped.read_text())

    def test_root_is_refused(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        result = subprocess.run([PROGRAM, self.ini()], capture_output=True, text=True, check=False,
                                timeout=harness.PATIENCE_SECONDS)
        self.assertEqual(result.returncode, 1)
        self.assertIn("root", result.stdout + result.stderr)


class Files(harness.PoolerTest):
    auto_start = False

    def test_pgbouncers_section_and_an_indented_file_with_long_lines(self):
        self.pooler = self.start_pooler(databases={
            "padded": f"host=127.0.0.1{' ' * 3000}port={self.cluster.port} dbname=test",
            "quoted": f"host=127.0.0.1 port={self.cluster.port} dbname='test' application_name='a ; b'"})
        self.assertEqual(self.client(database="padded").value("select 1"), "1")
        self.assertEqual(self.client(database="quoted").value("select 1"), "1")
        lines = self.pooler.ini.read_text().replace("[pgproxy]", "[pgbouncer]").splitlines()
        self.pooler.ini.write_text("".join(f"   {line}\n" for line in lines))
        result = subprocess.run([PROGRAM, "--check", self.pooler.ini], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_a_port_in_use_is_a_clear_error(self):
        first = self.start_pooler()
        with self.assertRaises(AssertionError) as caught:
            self.start_pooler({"listen_port": first.port, "unix_socket_dir": ""})
        self.assertIn(str(first.port), str(caught.exception))

    def test_every_setting_that_pgbouncer_gives_a_pool_is_taken(self):
        self.users = {"app": "pool_mode=session query_timeout=30 client_idle_timeout=100"}
        self.databases = {"test": f"host=127.0.0.1 port={self.cluster.port} pool_size=2 min_pool_size=1"
                                  " reserve_pool_size=1 max_db_connections=5 connect_query='select 1'"}
        self.pooler = self.start_pooler()
        client = self.client()
        self.assertEqual(client.value("select pg_backend_pid()"), client.value("select pg_backend_pid()"))
        self.assertEqual(self.pooler.pool()["pool_mode"], "session")


if __name__ == "__main__":
    unittest.main(verbosity=2)
