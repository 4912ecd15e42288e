"""RELOAD, SIGHUP and SET: another configuration in place of the running one, as a whole or not at all."""

import os
import re
import shutil
import signal
import ssl
import threading
import unittest

import harness
import psycopg
import raw
from certificates import Certificates, own
from harness import PASSWORD, eventually
from tls_clients_test import RawTls


class Reloading(harness.PoolerTest):
    def rewrite(self, settings=None, databases=None, users=None, secrets=None):
        """Another configuration file; an entry that is None is left out."""
        self.pooler.settings |= settings or {}
        self.pooler.databases |= databases or {}
        self.pooler.databases = {name: text for name, text in self.pooler.databases.items() if text is not None}
        self.pooler.users |= users or {}
        self.pooler.secrets |= secrets or {}
        self.pooler.write_ini()

    def command(self, text):
        """The notices of a console command; its error, if it fails."""
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", harness.SECTION, PASSWORD)
            reply = client.query(text)
        notices = [message.fields()["M"] for message in reply if message.tag == "N"]
        errors = [message.fields() for message in reply if message.tag == "E"]
        return errors[0] if errors else notices

    def reload(self, *args, **options):
        self.rewrite(*args, **options)
        return self.command("reload")

    def config(self, name):
        return next(row for row in self.pooler.console("show config") if row["key"] == name)

    def database_row(self, name="test"):
        return next(row for row in self.pooler.console("show databases") if row["name"] == name)


class Settings(Reloading):
    def test_what_changed_is_reported_and_holds(self):
        self.assertEqual(self.command("reload"), ["nothing has changed"])
        lines = self.reload({"default_pool_size": 7, "query_wait_timeout": 50})
        self.assertEqual(sorted(lines), ["default_pool_size: 3 -> 7", "query_wait_timeout: 60 -> 50"])
        self.assertEqual((self.config("default_pool_size")["value"], self.database_row()["pool_size"]), ("7", "7"))
        self.assertIn("RELOAD: default_pool_size: 3 -> 7", self.pooler.log_text())
        clients = self.fill_pool(size=7)
        self.assertEqual(self.pooler.pool()["sv_active"], 7)
        self.assertEqual(self.reload({"default_pool_size": 2}), ["default_pool_size: 7 -> 2"])
        self.assertEqual(self.pooler.pool()["sv_active"], 7)  # those at work go on
        for client in clients:
            client.query("rollback")
        eventually(lambda: len(self.pooler.console("show servers")) == 2, "the pool has shrunk")

    def test_sighup_is_reload(self):
        self.rewrite({"default_pool_size": 5})
        self.pooler.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.config("default_pool_size")["value"] == "5", "it is in place")

    def test_who_asks_while_one_is_under_way_gets_what_the_file_has_then(self):
        gate = self.pooler.directory / "gate.ini"
        os.mkfifo(gate)
        own(gate)
        self.pooler.ini.write_text(f"%include {gate}\n" + self.pooler.ini.read_text())
        self.pooler.process.send_signal(signal.SIGHUP)

        def open_gate():
            try:
                return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return None  # nobody reads yet

        opened = eventually(open_gate, "the first one reads")
        self.rewrite({"default_pool_size": 5})
        self.pooler.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.pooler.log_text().count("RELOAD command issued by SIGHUP") == 2, "both are there")
        os.close(opened)
        eventually(lambda: self.config("default_pool_size")["value"] == "5", "the second one is in place")

    def test_a_mistake_changes_nothing(self):
        before = self.pooler.console("show config")
        error = self.reload({"default_pool_size": "many", "query_wait_timeout": 50})
        self.assertEqual(error["C"], "F0000")
        self.assertRegex(error["M"], r"pgproxy\.ini:\d+: default_pool_size: ")
        self.assertEqual(self.pooler.console("show config"), before)
        self.assertEqual(self.client().value("select 1"), "1")
        self.pooler.ini.unlink()
        self.assertEqual(self.command("reload")["C"], "F0000")
        self.assertEqual(self.client().value("select 1"), "1")

    def test_what_needs_a_restart_is_said_and_stays(self):
        lines = self.reload({"max_client_conn": 150, "listen_backlog": 77})
        self.assertEqual(sorted(lines), ["listen_backlog: 128 -> 77 (not before a restart)", "max_client_conn: 200 -> 150"])
        self.assertEqual((self.config("listen_backlog")["value"], self.config("max_client_conn")["value"]), ("128", "150"))
        self.assertEqual(self.command("reload"), ["listen_backlog: 128 -> 77 (not before a restart)"])

    def test_timeouts_hold_from_the_next_transaction_on(self):
        client = self.client()
        client.query("select 1")
        self.reload({"idle_transaction_timeout": 1})
        client.query("begin")
        self.assertEqual(raw.error(client.read_until("E"))["C"], "25P03")

    def test_users(self):
        self.assertEqual(self.reload({"auth_type": "scram-sha-256"}, secrets={"late": "first"}),
                         ["auth_type: trust -> scram-sha-256", "auth_file: 1 user(s) added"])
        self.cluster.execute("drop role if exists late; create role late login password 'first'")
        self.assertEqual(self.connect(user="late", password="first").execute("select 1").fetchone(), (1,))
        self.cluster.execute("alter role late password 'second'")
        self.assertEqual(self.reload(secrets={"late": "second"}), ["auth_file: 1 secret(s) changed"])
        self.assert_refused("28P01", user="late", password="first")
        self.assertEqual(self.connect(user="late", password="second").execute("select 1").fetchone(), (1,))

    def test_another_password_is_tried_at_once(self):
        self.reload({"attempt_interval": 60}, secrets={"by_scram": "wrong"})
        self.assert_refused("28P01", user="by_scram")
        self.reload(secrets={"by_scram": PASSWORD})
        self.assertEqual(self.connect(user="by_scram").execute("select 1").fetchone(), (1,))

    def test_idle_server_connections_hear_of_their_timeout(self):
        self.client().query("select 1")
        self.assertEqual(len(self.pooler.console("show servers")), 1)
        self.reload({"server_idle_timeout": 1})
        eventually(lambda: not self.pooler.console("show servers"), "the idle one is closed")

    def test_prepared_statements_of_clients_outlive_the_setting(self):
        for before, after in ((200, 0), (0, 200)):
            with self.subTest(before=before, after=after):
                self.reload({"max_prepared_statements": before})
                client = self.client()
                client.send(raw.parse("select 17", name="s") + raw.SYNC)
                client.read_until("Z")
                self.reload({"max_prepared_statements": after})
                for _ in range(2):
                    client.send(raw.bind(name="s") + raw.execute() + raw.SYNC)
                    self.assertEqual(raw.rows(client.read_until("Z")), [("17",)])
                client.send(raw.parse("select 18", name="t") + raw.bind(name="t") + raw.execute() + raw.SYNC)
                self.assertEqual(raw.rows(client.read_until("Z")), [("18",)])

    def test_the_log_file_is_opened_anew(self):
        log = self.pooler.directory / "own.log"
        self.reload({"logfile": log})
        moved = log.rename(self.pooler.directory / "moved.log")
        self.command("reload")
        eventually(lambda: log.exists() and "RELOAD: the configuration is in place" in log.read_text(),
                   "the new file has the lines")
        self.assertEqual(moved.read_text().count("RELOAD: the configuration is in place"), 1)

    def test_stats_users_may_not(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("stats", harness.SECTION, PASSWORD)
            for command in ("reload", "set default_pool_size = 9"):
                self.assertEqual(raw.error(client.query(command))["C"], "42501")


class Entries(Reloading):
    def other(self, **more):
        text = f"host=127.0.0.1 port={self.cluster.port} dbname=test"
        return text + "".join(f" {name}={value}" for name, value in more.items())

    def test_added_and_removed(self):
        self.assertEqual(self.reload(databases={"late": self.other()}), ['database "late": added'])
        idle, busy = self.client(database="late"), self.client(database="late")
        busy.query("begin")
        self.assertEqual(self.reload(databases={"late": None}), ['database "late": removed'])
        error = raw.error(idle.read_until("E"))
        self.assertEqual((error["C"], error["M"]), ("57P01", "terminating connection: database removed"))
        self.assertEqual(raw.rows(busy.query("select 1")), [("1",)])
        busy.send(raw.query("commit"))
        reply = busy.read_until("E")
        self.assertIn("C", raw.tags(reply))
        self.assertEqual(raw.error(reply)["C"], "57P01")
        self.assert_refused("3D000", database="late")
        eventually(lambda: not [row for row in self.pooler.console("show servers") if row["database"] == "late"],
                   "its connections are closed")
        self.assertEqual(self.reload(databases={"late": self.other()}), ['database "late": added'])
        self.assertEqual(self.client(database="late").value("select 1"), "1")

    def test_another_server_is_used_and_no_client_hears_of_it(self):
        client = self.client()
        held = self.client()
        held.query("begin")
        old = held.value("select pg_backend_pid()")
        application = "set by reload"
        lines = self.reload(databases={"test": self.other(application_name=f"'{application}'")})
        self.assertEqual(lines, ['database "test": dbname (none) -> test',
                                 f'database "test": application_name (none) -> {application}'])
        self.assertEqual(held.value("select pg_backend_pid()"), old)
        held.query("commit")
        name = "select application_name from pg_stat_activity where pid = pg_backend_pid()"
        eventually(lambda: old not in [row["remote_pid"] for row in self.pooler.console("show servers")], "it is replaced")
        self.assertNotEqual(client.value("select pg_backend_pid()"), old)
        with self.connect() as fresh:
            self.assertEqual(fresh.execute(name).fetchone(), (application,))

    def test_another_mode_and_another_user_want_new_clients(self):
        for change, message in (({"pool_mode": "session"}, "pool_mode has changed"),
                                ({"pool_mode": "session", "user": "app2"}, "the entry's user= has changed")):
            with self.subTest(change):
                idle, busy = self.client(), self.client()
                busy.query("begin")
                self.reload(databases={"test": self.other(**change)})
                error = raw.error(idle.read_until("E"))
                self.assertEqual((error["C"], error["M"]), ("57P01", f"terminating connection: {message}"))
                busy.send(raw.query("commit"))
                self.assertEqual(raw.error(busy.read_until("E"))["C"], "57P01")
                self.assertEqual(self.client().value("select 1"), "1")
        self.assertEqual(self.client().value("select current_user"), "app2")
        self.assertEqual(self.pooler.pool("app2")["pool_mode"], "session")

    def test_counters_go_on(self):
        self.client().query("select 1")
        counted = lambda: next(int(row["total_query_count"]) for row in self.pooler.console("show stats")
                               if row["database"] == "test")
        before = counted()
        self.reload({"pool_mode": "session"})
        self.assertGreaterEqual(counted(), before)
        self.reload(databases={"test": self.other(user="app2")})
        self.assertGreaterEqual(counted(), before)

    def test_an_entry_that_comes_back_counts_from_zero(self):
        self.reload({"stats_period": 86400}, databases={"late": self.other()})
        client = self.client(database="late")
        for _ in range(20):
            client.query("select 1")
        lines = lambda: re.findall(r"stats: .*", self.pooler.log_text())
        known = len(lines())
        self.reload({"stats_period": 1})
        eventually(lambda: len(lines()) > known, "the new period has begun at once")
        self.reload(databases={"late": None})
        self.reload(databases={"late": self.other()})
        known = len(lines())
        eventually(lambda: len(lines()) > known + 1, "both periods are over")
        for line in lines():
            self.assertLess(max(map(int, re.findall(r"\d+", line))), 10**9, line)

    def test_paused_stays_paused(self):
        self.command("pause test")
        self.reload({"default_pool_size": 4}, databases={"test": self.other()})
        self.assertEqual(self.database_row()["paused"], "1")
        self.command("resume test")
        self.assertEqual(self.client().value("select 1"), "1")

    def test_clients_at_work_notice_nothing(self):
        ends, failures = threading.Event(), []

        def work():
            try:
                with self.pooler.connect() as connection:
                    while not ends.is_set():
                        with connection.transaction():
                            connection.execute("create temp table here on commit drop as select 1")
                        connection.execute("select 1").fetchone()
            except psycopg.Error as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(12):
                self.assertIsInstance(self.reload({"default_pool_size": 2 + turn % 3, "max_client_conn": 100 + turn},
                                                  databases={"test": self.other(application_name=f"'{turn % 2}'")}), list)
        finally:
            ends.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertNotIn("contradict", self.pooler.log_text())


class Capacity(Reloading):
    auto_start = False

    def test_the_check_needs_who_asks(self):
        self.pooler = self.start_pooler()
        error = self.reload({"check": "report", "control_user": "postgres", "control_dbname": "postgres"})
        self.assertIn("control_user", error["M"])
        self.assertEqual(self.config("check")["value"], "off")

    def test_what_the_servers_have_no_room_for_is_refused(self):
        self.pooler = self.start_pooler({"check": "enforce", "control_user": "postgres", "control_dbname": "postgres",
                                         "max_db_connections": 10})
        allowed = int(self.cluster.connect().execute("show max_connections").fetchone()[0])
        error = self.reload({"default_pool_size": allowed + 1, "max_db_connections": allowed + 1})
        self.assertIn("127.0.0.1", error["M"])
        self.assertTrue(error["H"])
        self.assertEqual(self.config("default_pool_size")["value"], "3")
        self.assertEqual(self.reload({"default_pool_size": 4, "max_db_connections": 11}),
                         ["default_pool_size: 3 -> 4", "max_db_connections: 10 -> 11"])
        row = next(row for row in self.pooler.console("show capacity") if row["kind"] == "server")
        self.assertIn("11", row["arithmetic"])
        self.assertEqual(self.command(f"set max_db_connections = {allowed + 1}")["C"], error["C"])


class Set(Reloading):
    def test_one_setting_until_the_next_reload(self):
        self.assertEqual(self.command("set default_pool_size = 5"), ["default_pool_size: 3 -> 5"])
        self.assertEqual(self.command("SET query_wait_timeout TO '45'"), ["query_wait_timeout: 60 -> 45"])
        row = self.config("default_pool_size")
        self.assertEqual((row["value"], row["source"]), ("5", "SET"))
        self.assertEqual(self.database_row()["pool_size"], "5")
        self.assertEqual(sorted(self.command("reload")), ["default_pool_size: 5 -> 3", "query_wait_timeout: 45 -> 60"])
        self.assertEqual(self.config("default_pool_size")["source"], "given")

    def test_the_answer_is_pgbouncers(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", harness.SECTION, PASSWORD)
            reply = client.query("set default_pool_size = 5")
            self.assertEqual(reply[-2].body, b"SET default_pool_size=5\0")
            self.assertEqual(client.query("reload")[-2].body, b"RELOAD\0")

    def test_mistakes(self):
        for command, text in (("set default_pool_size = many", "default_pool_size"), ("set no_such_thing = 1", "unknown setting"),
                              ("set listen_port = 1", "cannot be changed while pgproxy runs"),
                              ("set auth_file = /nowhere", "auth_file"), ("set default_pool_size", "invalid command"),
                              ("set query_wait_timeout = 100000", "query_wait_timeout")):
            with self.subTest(command):
                error = self.command(command)
                self.assertIsInstance(error, dict, error)
                self.assertIn(text, error["M"])
        self.assertEqual(self.command("set client_encoding = utf8"), ["SET ignored"])
        self.assertEqual(self.command("reload"), ["nothing has changed"])


class Tls(Reloading):
    auto_start = False

    def serial(self):
        with RawTls(self.pooler.address()) as client:
            client.send(raw.SSL_REQUEST)
            self.assertEqual(client.read_bytes(1), b"S")
            client.start_tls()
            return ssl.DER_cert_to_PEM_cert(client.socket.getpeercert(True))

    def test_new_certificates_reach_new_clients_and_the_others_stay(self):
        certificates = Certificates.shared()
        self.pooler = self.start_pooler(certificates.for_clients("allow"))
        certificate, key = (self.pooler.directory / name for name in ("own.crt", "own.key"))

        def place(pair):
            for source, target in zip(pair, (certificate, key)):
                shutil.copy(source, target)
                own(target)

        first = (self.pooler.settings["client_tls_cert_file"], self.pooler.settings["client_tls_key_file"])
        second = certificates.authority.sign("reloaded", "localhost", "DNS:localhost,IP:127.0.0.1")
        place(first)
        self.reload({"client_tls_cert_file": certificate, "client_tls_key_file": key})
        client = self.connect(sslmode="require")
        before = self.serial()
        place(second)
        self.assertEqual(self.command("reload"), ["nothing has changed"])
        self.assertNotEqual(self.serial(), before)
        self.assertEqual(client.execute("select 1").fetchone(), (1,))
        key.write_text("no key")
        self.assertIn("client_tls_key_file", self.command("reload")["M"])
        self.assertNotEqual(self.serial(), before)


if __name__ == "__main__":
    unittest.main()
