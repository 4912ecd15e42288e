"""TLS between clients and pgproxy."""

import os
import pathlib
import signal
import ssl
import struct
import subprocess
import threading
import unittest

import harness
import psycopg
import raw
from certificates import Certificates
from harness import PASSWORD
from jdbc_test import DRIVER


def as_who_runs_the_test(file):
    """libpq wants a key that is its user's own."""
    copy = harness.scratch_directory() / file.name
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o600)
    return copy


class TlsTest(harness.PoolerTest):
    auto_start = False

    def setUp(self):
        super().setUp()
        self.certificates = Certificates.shared()

    def start(self, sslmode="require", settings=None, **options):
        self.pooler = self.start_pooler(self.certificates.for_clients(sslmode, **options) | (settings or {}))

    def refusal(self, **options):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.connect(**options)
        return str(caught.exception)

    def tls_of(self, connection):
        """What SHOW CLIENTS says of the only client that is not the console's."""
        connection.execute("select 1")
        rows = [row for row in self.pooler.console("show clients") if row["database"] == "test"]
        self.assertEqual(len(rows), 1)
        return rows[0]["tls"]


class RawTls(raw.RawClient):
    """A raw client whose bytes go through TLS."""

    def start_tls(self, context=None, **options):
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost", **options)
        return self

    def ask_for_tls(self, context=None):
        if self.send(raw.SSL_REQUEST).read_bytes(1) != b"S":
            raise AssertionError("TLS was declined")
        return self.start_tls(context)


def trusting(*protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


class Modes(TlsTest):
    def test_a_client_that_asks_gets_tls_and_large_results_through_it(self):
        for mode in ("allow", "prefer", "require"):
            self.start(mode)
            with self.connect(sslmode="require") as connection:
                self.assertEqual(connection.execute("select 1").fetchone(), (1,))
                size = 3_000_000
                value, = connection.execute("select repeat('x', %s)", [size]).fetchone()
                self.assertEqual(len(value), size)
                length, = connection.execute("select length(%s)", ["y" * size]).fetchone()
                self.assertEqual(length, size)
                rows = connection.execute("select repeat('z', 100) from generate_series(1, 20000)").fetchall()
                self.assertEqual(len(rows), 20000)

    def test_who_does_not_ask_is_refused_only_from_require_on(self):
        for mode in ("allow", "prefer"):
            self.start(mode)
            self.assertEqual(self.client().value("select 1"), "1")
        for mode in ("require", "verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.root)
            fields = self.assert_refused("28000")
            self.assertIn("SSL required", fields["M"])
            self.assertIn("client_tls_sslmode", fields["H"])

    def test_a_unix_socket_needs_no_tls_and_declines_it(self):
        self.start("require")
        path = f"{self.pooler.directory}/.s.PGSQL.{self.pooler.port}"
        with raw.RawClient(path) as client:
            self.assertEqual(client.send(raw.SSL_REQUEST).read_bytes(1), b"N")
            client.login("app", "test", PASSWORD)
            self.assertEqual(client.value("select 7"), "7")

    def test_libpq_verifies_the_host_name(self):
        self.start()
        for host in ("localhost", "127.0.0.1"):
            connection = self.connect(host=host, hostaddr="127.0.0.1", sslmode="verify-full",
                                      sslrootcert=str(self.certificates.root))
            self.assertEqual(connection.execute("select 1").fetchone(), (1,))
            connection.close()
        self.assertIn("certificate verify failed",
                      self.refusal(sslmode="verify-full", sslrootcert=str(self.certificates.false_root)))
        self.assertIn("does not match host name",
                      self.refusal(host="db.example", hostaddr="127.0.0.1", sslmode="verify-full",
                                   sslrootcert=str(self.certificates.root)))

    def test_psql_with_verify_full(self):
        self.start("require", {"auth_type": "scram-sha-256"})
        address = f"host=localhost hostaddr=127.0.0.1 port={self.pooler.port} user=app dbname=test " \
                  f"sslmode=verify-full sslrootcert={self.certificates.root} password={PASSWORD}"
        shown = subprocess.run(["psql", "-X", "-At", address, "-c", r"\conninfo", "-c", "select 7"], check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        self.assertIn("SSL connection (protocol: TLSv1.3", shown)
        self.assertTrue(shown.endswith("7\n"), shown)

    def test_jdbc_with_verify_full(self):
        classes = harness.scratch_directory()
        subprocess.run(["javac", "-d", classes, pathlib.Path(__file__).parent / "jdbc" / "Encrypted.java"], check=True)
        self.start("require", {"auth_type": "scram-sha-256"})
        for root, status in ((self.certificates.root, 0), (self.certificates.false_root, 1)):
            run = subprocess.run(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{DRIVER}",
                                  "Encrypted", PASSWORD, str(self.pooler.port), root], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((run.returncode, run.stdout), (status, "" if status else "100000\n"), run.stderr)

    def test_show_clients_and_the_log_name_version_and_cipher(self):
        self.start("prefer")
        with self.connect(sslmode="require") as connection:
            self.assertRegex(self.tls_of(connection), r"^TLSv1\.3/TLS_\w+$")
        with self.connect() as connection:
            self.assertEqual(self.tls_of(connection), "")
        self.assertRegex(self.pooler.log_text(), r"login attempt: db=test user=app tls=TLSv1\.3/TLS_\w+ ")
        self.assertIn("login attempt: db=test user=app tls=no ", self.pooler.log_text())

    def test_scram_over_tls(self):
        self.start("require", {"auth_type": "scram-sha-256"})
        with self.connect(sslmode="require") as connection:
            self.assertEqual(connection.execute("select current_user").fetchone(), ("app",))
        self.assertIn("password authentication failed", self.refusal(sslmode="require", password="wrong"))

    def test_scram_is_bound_to_the_channel(self):
        self.start("prefer", {"auth_type": "scram-sha-256"})
        for sslmode in ("require", "verify-full"):
            options = {"sslmode": sslmode, "sslrootcert": str(self.certificates.root), "host": "localhost"}
            with self.connect(channel_binding="require", **options) as connection:
                self.assertEqual(connection.execute("select current_user").fetchone(), ("app",))
        refusal = self.refusal(sslmode="disable", channel_binding="require")
        self.assertIn("channel binding", refusal)

    def test_a_cancel_request_works_over_tls_and_without(self):
        self.start("require")
        with self.connect(sslmode="require") as connection:
            connection.execute("select 1")
            with self.assertRaises(psycopg.errors.QueryCanceled):
                self.cancel_when_it_runs(connection)
        with RawTls(self.pooler.address()).ask_for_tls() as client:
            client.login("app", "test", PASSWORD)
            client.send(raw.query("select pg_sleep(600)"))
            self.wait_for_sleep()
            with RawTls(self.pooler.address()).ask_for_tls() as canceller:
                canceller.send(raw.cancel_packet(client.pid, client.secret))
                self.assertEqual(canceller.read_to_end(), [])
            self.assert_sqlstate(client.read_until("Z"), "57014")

    def wait_for_sleep(self):
        harness.eventually(lambda: self.cluster.server_pids("state = 'active' and query like '%pg_sleep(600)%'"),
                           "the query runs")

    def cancel_when_it_runs(self, connection):
        def cancel():
            self.wait_for_sleep()
            connection.cancel()
        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            connection.execute("select pg_sleep(600)")
        finally:
            thread.join()


class Certified(TlsTest):
    """Clients that show certificates."""

    def client_options(self, pair):
        certificate, key = pair
        return {"sslmode": "require", "sslcert": str(as_who_runs_the_test(certificate)),
                "sslkey": str(as_who_runs_the_test(key))}

    def test_verify_ca_wants_a_certificate_of_our_authority(self):
        for mode in ("verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.root)
            with self.connect(**self.client_options(self.certificates.app)) as connection:
                self.assertEqual(connection.execute("select 1").fetchone(), (1,))
            self.assertIn("certificate required", self.refusal(sslmode="require", sslcert="/nowhere"))
            self.assertIn("unknown ca", self.refusal(**self.client_options(self.certificates.false_app)))
        harness.eventually(lambda: "certificate verify failed" in self.pooler.log_text(), "the reason is logged")

    def test_a_certificate_of_a_stranger_is_refused_also_where_none_is_needed(self):
        self.start("require", ca=self.certificates.root)
        with self.connect(sslmode="require", sslcert="/nowhere") as connection:
            self.assertEqual(connection.execute("select 1").fetchone(), (1,))
        self.assertIn("unknown ca", self.refusal(**self.client_options(self.certificates.false_app)))

    def test_a_revoked_certificate_is_refused_and_named_in_the_log(self):
        for mode in ("require", "verify-full"):
            self.start(mode, {"client_tls_crl_file": self.certificates.revocations}, ca=self.certificates.root)
            with self.connect(**self.client_options(self.certificates.app)) as connection:
                self.assertEqual(connection.execute("select 1").fetchone(), (1,))
            self.assertIn("certificate revoked", self.refusal(**self.client_options(self.certificates.lost_app)))
            harness.eventually(lambda: 'certificate verify failed: certificate revoked (subject "CN=app", serial number '
                               in self.pooler.log_text(), "the log tells which")
            self.assertIn('issuer "CN=root"', self.pooler.log_text())

    def test_without_a_current_list_of_the_authority_every_certificate_is_refused(self):
        for list_, reason in ((self.certificates.old_revocations, "CRL has expired"),
                              (self.certificates.strangers_revocations, "unable to get certificate CRL")):
            self.start("require", {"client_tls_crl_file": list_}, ca=self.certificates.root)
            self.refusal(**self.client_options(self.certificates.app))
            harness.eventually(lambda reason=reason: reason in self.pooler.log_text(), "the log tells why")


class Protocol(TlsTest):
    def test_direct_tls_with_alpn(self):
        self.start()
        with RawTls(self.pooler.address()).start_tls(trusting("postgresql")) as client:
            self.assertEqual(client.socket.selected_alpn_protocol(), "postgresql")
            client.login("app", "test", PASSWORD)
            self.assertEqual(client.value("select 1"), "1")

    def test_direct_tls_without_alpn_is_refused(self):
        self.start()
        with RawTls(self.pooler.address()).start_tls(trusting()) as client:
            reply = client.login("app", "test", PASSWORD)
            self.assert_sqlstate(reply, "08P01")
            self.assertEqual(client.read_to_end(), [])

    def test_a_foreign_protocol_is_refused_in_the_handshake(self):
        self.start()
        with self.assertRaises(ssl.SSLError) as caught:
            RawTls(self.pooler.address()).start_tls(trusting("http/1.1"))
        self.assertIn("no application protocol", str(caught.exception))

    def test_direct_tls_where_there_is_no_tls_ends_the_connection(self):
        self.pooler = self.start_pooler()
        with raw.RawClient(self.pooler.address()) as client:
            client.send(bytes.fromhex("1603010200010001fc0303") + bytes(505))
            self.assertIn(raw.tags(client.read_to_end()), ("", "E"))
        self.assertEqual(self.client().value("select 1"), "1")

    def test_plaintext_glued_behind_the_request_is_refused(self):
        self.start("prefer")
        startup = raw.startup_packet(user="app", database="test")
        for glued in (startup, b"\x16", b"\0"):
            with raw.RawClient(self.pooler.address()) as client:
                reply = client.send(raw.SSL_REQUEST + glued).read_to_end()
                self.assertEqual([message.fields()["C"] for message in reply], ["08P01"])

    def test_a_second_request_inside_tls_ends_the_connection(self):
        self.start()
        for request in (raw.SSL_REQUEST, raw.GSSENC_REQUEST):
            with RawTls(self.pooler.address()).ask_for_tls() as client:
                reply = client.send(request).read_to_end()
                self.assertEqual([message.fields()["C"] for message in reply], ["08P01"])

    def test_plaintext_after_the_answer_is_no_handshake(self):
        self.start("prefer", {"log_disconnections": 0})
        with raw.RawClient(self.pooler.address()) as client:
            self.assertEqual(client.send(raw.SSL_REQUEST).read_bytes(1), b"S")
            client.send(raw.startup_packet(user="app", database="test"))
            received = b""
            try:
                while True:
                    received += client.read_bytes(1)
            except raw.Closed:
                pass
            self.assertNotIn(struct.pack("!cii", b"R", 8, 0), received)
        harness.eventually(lambda: "TLS handshake failed" in self.pooler.log_text(), "it is logged")
        self.assertEqual(self.client().value("select 1"), "1")

    def test_gssenc_first_then_tls(self):
        self.start()
        client = RawTls(self.pooler.address())
        self.addCleanup(client.close)
        self.assertEqual(client.send(raw.GSSENC_REQUEST).read_bytes(1), b"N")
        client.ask_for_tls().login("app", "test", PASSWORD)
        self.assertEqual(client.value("select 1"), "1")

    def test_versions_outside_client_tls_protocols_are_refused(self):
        for protocols, version in (("tlsv1.2", "TLSv1.2"), ("tlsv1.3", "TLSv1.3"), ("secure", "TLSv1.3")):
            self.start("prefer", {"client_tls_protocols": protocols})
            with self.connect(sslmode="require") as connection:
                self.assertTrue(self.tls_of(connection).startswith(version + "/"))
        self.start("require", {"client_tls_protocols": "tlsv1.3"})
        self.assertIn("version", self.refusal(sslmode="require", ssl_max_protocol_version="TLSv1.2"))

    def test_ciphers_and_curves_are_those_of_the_settings(self):
        self.start("prefer", {"client_tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256", "client_tls_protocols": "tlsv1.2",
                              "client_tls_ecdhcurve": "prime256v1", "client_tls_dheparams": "none"})
        with self.connect(sslmode="require") as connection:
            self.assertEqual(self.tls_of(connection), "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256")
        self.start("prefer", {"client_tls13_ciphers": "TLS_CHACHA20_POLY1305_SHA256"})
        with self.connect(sslmode="require") as connection:
            self.assertEqual(self.tls_of(connection), "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256")

    def test_sessions_are_resumed_by_tickets(self):
        self.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting()
            context.maximum_version = version
            with RawTls(self.pooler.address()).ask_for_tls(context) as client:
                client.login("app", "test", PASSWORD)
                session = client.socket.session
                self.assertFalse(client.socket.session_reused)
            with RawTls(self.pooler.address()) as client:
                client.send(raw.SSL_REQUEST).read_bytes(1)
                client.start_tls(context, session=session)
                client.login("app", "test", PASSWORD)
                self.assertTrue(client.socket.session_reused)

    def test_a_connection_cut_without_close_notify_is_told_from_an_end(self):
        self.start()
        with RawTls(self.pooler.address()).ask_for_tls() as client:
            client.login("app", "test", PASSWORD)
        harness.eventually(lambda: "EOF without TLS close_notify" in self.pooler.log_text(), "the log tells")
        with self.connect(sslmode="require") as connection:
            connection.execute("select 1")
        harness.eventually(lambda: "client close request" in self.pooler.log_text(), "the log tells")

    def test_the_end_of_ours_is_announced(self):
        """Python's ssl would raise an error for an end without close_notify."""
        self.start()
        with RawTls(self.pooler.address()).ask_for_tls() as client:
            client.socket.suppress_ragged_eofs = False
            client.login("app", "test", PASSWORD)
            client.send(raw.TERMINATE)
            self.assertEqual(client.read_to_end(), [])

    def test_handshakes_that_never_end_hold_up_nobody(self):
        self.start()
        idle = [raw.RawClient(self.pooler.address()).send(raw.SSL_REQUEST) for _ in range(100)]
        for client in idle:
            self.addCleanup(client.close)
            self.assertEqual(client.read_bytes(1), b"S")
            client.send(bytes.fromhex("16030102000100"))
        for _ in range(10):
            with self.connect(sslmode="require") as connection:
                self.assertEqual(connection.execute("select 1").fetchone(), (1,))

    def begin_handshakes(self, count):
        """Clients that have sent the first message of theirs."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with self.assertRaises(ssl.SSLWantReadError):
            trusting("postgresql").wrap_bio(incoming, outgoing).do_handshake()
        hello = outgoing.read()
        clients = [raw.RawClient(self.pooler.address()).send(hello) for _ in range(count)]
        for client in clients:
            self.addCleanup(client.close)
        return clients

    def test_clients_that_vanish_in_their_handshakes_are_forgotten(self):
        self.start("prefer")
        for client in self.begin_handshakes(100):
            client.close()
        with self.connect(sslmode="require") as connection:
            self.assertEqual(connection.execute("select 1").fetchone(), (1,))
        harness.eventually(lambda: len(self.pooler.console("show clients")) == 1, "only the console is left")

    def test_a_stop_amid_handshakes_is_a_clean_one(self):
        for how in (signal.SIGQUIT, signal.SIGTERM):
            self.start()
            self.begin_handshakes(100)
            self.assertEqual(self.pooler.stop(how), 0)
            self.forget(self.pooler)

    def test_a_handshake_that_is_never_begun_ends_at_client_login_timeout(self):
        """Without a word: the error is for encrypted eyes only."""
        self.start("require", {"client_login_timeout": 1})
        with raw.RawClient(self.pooler.address()) as client:
            self.assertEqual(client.send(raw.SSL_REQUEST).read_bytes(1), b"S")
            with self.assertRaises(raw.Closed) as closed:
                client.read_bytes(1)
            self.assertEqual(closed.exception.args, (b"",))
        harness.eventually(lambda: "client_login_timeout" in self.pooler.log_text(), "the log tells why")

    def test_errors_at_login_arrive_whole(self):
        self.start()
        for _ in range(20):
            self.assertIn('database "nowhere" does not exist', self.refusal(sslmode="require", database="nowhere"))

    def test_a_slow_reader_and_a_stop_in_the_middle_lose_nothing(self):
        self.start()
        with RawTls(self.pooler.address(), receive_buffer_bytes=8192).ask_for_tls() as client:
            client.login("app", "test", PASSWORD)
            before = self.pooler.peak_resident_kib()
            client.send(raw.query("select repeat('x', 1000) from generate_series(1, 30000)"))
            harness.eventually(lambda: self.cluster.server_pids("wait_event = 'ClientWrite'"), "the server waits for us")
            self.assertEqual(len(raw.rows(client.read_until("Z"))), 30000)
        if not os.environ.get("PGPROXY_SANITIZED"):
            self.assertLess(self.pooler.peak_resident_kib() - before, 8 * 1024)

    def test_login_and_query_in_pieces_of_one_byte(self):
        self.start()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting().wrap_bio(incoming, outgoing)
        with raw.RawClient(self.pooler.address()) as client:
            self.assertEqual(client.send_bytewise(raw.SSL_REQUEST).read_bytes(1), b"S")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.send_bytewise(outgoing.read())
                    incoming.write(client.socket.recv(65536))
            tls.write(raw.startup_packet(user="app", database="test"))
            client.send_bytewise(outgoing.read())
            received = b""
            while not received.endswith(b"Z\0\0\0\5I"):
                try:
                    received += tls.read(65536)
                except ssl.SSLWantReadError:
                    incoming.write(client.socket.recv(65536))


class Files(TlsTest):
    """Keys and certificates that cannot be used are errors at start, each with its line."""

    def problem(self, settings):
        ini = harness.scratch_directory() / "pgproxy.ini"
        lines = {"listen_addr": "127.0.0.1", "listen_port": 1, "auth_type": "any", "pool_mode": "transaction",
                 "default_pool_size": 1, "max_client_conn": 1, "query_wait_timeout": 1, "query_timeout": 1, "on_exhausted": "queue",
                 "idle_transaction_timeout": 1, "server_connect_timeout": 1, "server_tls_sslmode": "disable",
                 "leak_warning": 0, "on_residue": "pin", "max_pinned_fraction": 1} | settings
        lines = {name: value for name, value in lines.items() if value is not None}
        ini.write_text("[pgproxy]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
                       + harness.other_sections({}))
        run = subprocess.run([harness.PROGRAM, "--check", ini], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, check=False)
        self.assertEqual(run.returncode, 1)
        name = list(lines).index
        return run.stderr, lambda setting: f"{ini}:{name(setting) + 2}: {setting}: "

    def test_a_missing_file(self):
        for setting in ("client_tls_cert_file", "client_tls_key_file", "client_tls_ca_file"):
            text, at = self.problem(self.certificates.for_clients("verify-ca", ca=self.certificates.root)
                                    | {setting: "/nowhere/file"})
            self.assertIn(at(setting) + '"/nowhere/file": No such file or directory', text)

    def test_a_file_that_is_something_else(self):
        text, at = self.problem(self.certificates.for_clients("require") | {"client_tls_cert_file": "/etc/passwd"})
        self.assertIn(at("client_tls_cert_file"), text)
        self.assertIn("no start line", text)

    def test_revocation_lists(self):
        half = harness.scratch_directory() / "half.crl"
        half.write_text(self.certificates.revocations.read_text() + "-----BEGIN X509 CRL-----\nhalf a list\n")
        for file, reason in (("/nowhere/file", "No such file or directory"), (self.certificates.root, "no start line"),
                             (half, "")):
            text, at = self.problem(self.certificates.for_clients("require", ca=self.certificates.root)
                                    | {"client_tls_crl_file": file})
            self.assertIn(at("client_tls_crl_file") + f'"{file}": {reason}', text)
        text, _ = self.problem(self.certificates.for_clients("require")
                               | {"client_tls_crl_file": self.certificates.revocations})
        self.assertIn("client_tls_ca_file must be given", text)

    def test_a_key_of_another_certificate(self):
        pair = self.certificates.server[0], self.certificates.expired[1]
        text, at = self.problem(self.certificates.for_clients("require", pair))
        self.assertIn(at("client_tls_key_file"), text)
        self.assertIn("key values mismatch", text)

    def test_a_key_with_a_passphrase(self):
        locked = harness.scratch_directory() / "locked.key"
        subprocess.run(["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", self.certificates.server[1],
                        "-out", locked], check=True, stderr=subprocess.DEVNULL)
        text, at = self.problem(self.certificates.for_clients("require", (self.certificates.server[0], locked)))
        self.assertIn(at("client_tls_key_file"), text)
        self.assertIn("without a passphrase", text)

    def test_ciphers_that_openssl_does_not_know(self):
        for setting in ("client_tls_ciphers", "client_tls13_ciphers", "client_tls_ecdhcurve"):
            text, at = self.problem(self.certificates.for_clients("require") | {setting: "rot13"})
            self.assertIn(at(setting) + '"rot13"', text)

    def test_files_that_a_mode_needs(self):
        text, _ = self.problem({"client_tls_sslmode": "verify-ca"})
        for setting in ("client_tls_cert_file", "client_tls_key_file", "client_tls_ca_file"):
            self.assertIn(f"{setting} must be given", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
