"""TLS between pgproxy and PostgreSQL."""

import contextlib
import signal
import socket
import ssl
import threading
import unittest

import harness
import psycopg
import raw
from certificates import Certificates
from harness import PASSWORD

HBA = """
local all all trust
hostssl all app 127.0.0.1/32 scram-sha-256
hostnossl all app2 127.0.0.1/32 trust
hostssl all by_scram 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl all by_trust 127.0.0.1/32 cert map=both
host all looker 127.0.0.1/32 scram-sha-256
hostssl all looked_up 127.0.0.1/32 scram-sha-256
"""
IS_ENCRYPTED = "select ssl, version, cipher, client_dn from pg_stat_ssl where pid = pg_backend_pid()"


class TlsCluster(harness.Cluster):
    """PostgreSQL with ssl = on; use(pair) changes its certificate."""

    _shared = None

    def __init__(self):
        super().__init__()
        self.certificates = Certificates.shared()
        (self.data / "pg_hba.conf").write_text(HBA)
        self.execute(f"create role looker superuser login password '{PASSWORD}'; "
                     f"create role looked_up login password '{PASSWORD}'")
        (self.data / "pg_ident.conf").write_text("both app by_trust\n")
        self.configure(self.certificates.server)

    def configure(self, pair, **settings):
        certificate, key = pair
        values = {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key,
                  "ssl_ca_file": self.certificates.root, "ssl_min_protocol_version": "TLSv1.2",
                  "ssl_max_protocol_version": ""} | settings
        (self.data / "postgresql.auto.conf").write_text(
            "".join(f"{name} = '{value}'\n" for name, value in values.items()))
        self.stop(signal.SIGINT)
        self.start()


class Listener:
    """Serves each connection to `port` by serve(), on a thread of its own."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve_quietly, args=(connection,), daemon=True).start()

    def serve_quietly(self, connection):
        with contextlib.suppress(OSError):
            self.serve(connection)

    def close(self):
        self.listener.close()


class Relay(Listener):
    """Between pgproxy and PostgreSQL; remembers how each connection began. From the moment on that `declines` is set it
    answers requests for TLS itself, with a no, and keeps what is said then."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.openings = []
        self.declines = False
        self.said = []
        super().__init__()

    def serve(self, near):
        first = near.recv(8, socket.MSG_WAITALL)
        self.openings.append(first)
        if self.declines:
            near.sendall(b"N")
            self.said.append(near.recv(65536))
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self.target_port))
        far.sendall(first)
        self.join(near, far)

    def join(self, near, far):
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError), source:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)


class FalseServer(Listener):
    """Answers the first bytes of each connection with `answer`, and closes when told."""

    def __init__(self, answer, closes=False, tls=None):
        self.answer, self.closes, self.tls = answer, closes, tls
        self.received = []
        self.ended = threading.Event()
        super().__init__()

    def serve(self, connection):
        with contextlib.ExitStack() as stack:
            stack.callback(self.ended.set)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            stack.enter_context(connection)
            self.received.append(connection.recv(8, 0 if self.tls else socket.MSG_WAITALL))
            connection.sendall(self.answer)
            while not self.closes and (data := connection.recv(65536)):
                self.received.append(data)


class ServerTest(harness.PoolerTest):
    auto_start = False

    def setUp(self):
        super().setUp()
        self.cluster = TlsCluster.shared()
        self.certificates = self.cluster.certificates

    def start(self, sslmode, host="localhost", port=None, pair=None, ca=None, settings=None):
        certificate, key = pair or (None, None)
        self.pooler = self.start_pooler(
            {"server_tls_sslmode": sslmode, "server_tls_ca_file": ca, "server_tls_cert_file": certificate,
             "server_tls_key_file": key, "server_login_retry": 1, "while_recovering": "reject"}
            | (settings or {}),
            databases={"test": f"host={host} port={port or self.cluster.port}"})

    def serve(self, *args, **options):
        server = FalseServer(*args, **options)
        self.addCleanup(server.close)
        return server

    def encryption(self, user="app"):
        """(ssl, version, cipher, client_dn) of a server connection."""
        return self.client(user).rows(IS_ENCRYPTED)[0]

    def refusal(self, user="app"):
        """What a client is told when no server connection can be made."""
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login(user, "test", PASSWORD)
            if reply[-1].tag == "Z":
                reply = client.send(raw.query("select 1")).read_until("E")
            return raw.error(reply)


class Modes(ServerTest):
    def test_every_mode_but_disable_encrypts_where_the_server_can(self):
        for mode in ("allow", "prefer", "require", "verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.root)
            ssl, version, cipher, _ = self.encryption()
            self.assertEqual((ssl, version), ("t", "TLSv1.3"))
            row, = self.pooler.console("show servers")
            self.assertEqual(row["tls"], f"{version}/{cipher}")

    def test_disable_does_not_ask(self):
        self.start("disable")
        self.assertEqual(self.encryption("app2")[0], "f")

    def test_large_messages_both_ways(self):
        self.start("require")
        client = self.client()
        self.assertEqual(client.value(f"select length('{'x' * 3_000_000}')"), "3000000")
        self.assertEqual(len(client.value("select repeat('y', 3000000)")), 3_000_000)

    def test_a_unix_socket_is_never_encrypted(self):
        self.start("verify-full", host=self.cluster.directory, ca=self.certificates.root)
        self.assertIsNone(self.client().rows(IS_ENCRYPTED)[0][1])

    def test_prefer_that_ends_in_the_clear_is_logged_once_and_counted(self):
        self.cluster.configure(self.certificates.server, ssl="off")
        self.addCleanup(self.cluster.configure, self.certificates.server)
        for mode in ("allow", "prefer"):
            self.start(mode)
            for holder in self.fill_pool("app2"):
                self.assertEqual(holder.rows(IS_ENCRYPTED)[0][0], "f")
            self.assertEqual(self.pooler.log_text().count("offers no TLS"), 1)
            self.assertEqual(self.pooler.pool("app2")["sv_unencrypted"], 3)
        for mode in ("require", "verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.root)
            fields = self.refusal()
            self.assertEqual(fields["C"], "08004")
            self.assertIn("does not support TLS", fields["M"])
            self.assertIn("server_tls_sslmode = prefer", fields["H"])


class Verification(ServerTest):
    def use(self, pair):
        self.cluster.configure(pair)
        self.addCleanup(self.cluster.configure, self.certificates.server)

    def test_a_name_and_an_address_of_the_subject_alternative_name_match(self):
        for host in ("localhost", "127.0.0.1"):
            self.start("verify-full", host=host, ca=self.certificates.root)
            self.assertEqual(self.encryption()[0], "t")

    def test_an_unknown_authority(self):
        for mode in ("verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.false_root)
            fields = self.refusal()
            self.assertIn("certificate verify failed", fields["M"])
            self.assertIn("server_tls_ca_file", fields["H"])
        for mode in ("prefer", "require"):
            self.start(mode)
            self.assertEqual(self.encryption()[0], "t")

    def test_another_host_name(self):
        self.use(self.certificates.elsewhere)
        self.start("verify-full", ca=self.certificates.root)
        fields = self.refusal()
        self.assertIn('does not match host name "localhost"; it names "elsewhere.example"', fields["M"])
        self.assertIn("server_tls_sslmode = verify-ca", fields["H"])
        self.start("verify-ca", ca=self.certificates.root)
        self.assertEqual(self.encryption()[0], "t")

    def test_the_common_name_counts_where_there_is_no_other(self):
        self.use(self.certificates.by_name_only)
        self.start("verify-full", ca=self.certificates.root)
        self.assertEqual(self.encryption()[0], "t")
        self.start("verify-full", host="127.0.0.1", ca=self.certificates.root)
        self.assertIn("does not match host name", self.refusal()["M"])

    def test_a_revoked_certificate(self):
        lists = {"server_tls_crl_file": self.certificates.revocations}
        for mode in ("verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.root, settings=lists)
            self.assertEqual(self.encryption()[0], "t")
        self.use(self.certificates.lost_server)
        for mode in ("verify-ca", "verify-full"):
            self.start(mode, ca=self.certificates.root, settings=lists)
            fields = self.refusal()
            self.assertIn('certificate revoked (subject "CN=pooler", serial number', fields["M"])
            self.assertIn("server_tls_crl_file", fields["H"])
            self.start(mode, ca=self.certificates.root)
            self.assertEqual(self.encryption()[0], "t")

    def test_without_a_current_list_of_the_authority_no_server_is_trusted(self):
        for list_, reason in ((self.certificates.old_revocations, "CRL has expired"),
                              (self.certificates.strangers_revocations, "unable to get certificate CRL")):
            self.start("verify-ca", ca=self.certificates.root, settings={"server_tls_crl_file": list_})
            fields = self.refusal()
            self.assertIn(reason, fields["M"])
            self.assertIn("a current list", fields["H"])

    def test_an_expired_certificate(self):
        self.use(self.certificates.expired)
        self.start("verify-ca", ca=self.certificates.root)
        self.assertIn("certificate has expired", self.refusal()["M"])


class AuthQuery(ServerTest):
    def start_looking(self, sslmode, settings=None, **options):
        self.secrets = {"looker": PASSWORD}
        self.start(sslmode, settings={"auth_type": "scram-sha-256", "auth_user": "looker"} | (settings or {}), **options)

    def test_it_asks_over_tls_and_what_the_client_proves_logs_in_over_tls(self):
        for mode, ca in (("require", None), ("verify-full", self.certificates.root)):
            self.start_looking(mode, ca=ca)
            self.assertEqual(self.encryption("looked_up")[0], "t")
            self.assertEqual(self.ways(), [(True,)])
            self.finish(self.pooler)

    def ways(self):
        """Whether connections of auth_query are encrypted."""
        return self.cluster.execute("select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'looker'")

    def test_it_is_encrypted_and_verified_where_the_pools_are(self):
        for mode, ca in (("allow", None), ("prefer", None), ("allow", self.certificates.false_root),
                         ("prefer", self.certificates.false_root), ("require", self.certificates.false_root)):
            with self.subTest(mode=mode, ca=ca):
                self.start_looking(mode, ca=ca)
                self.assertEqual(self.encryption("looked_up")[0], "t")
                self.assertEqual(self.ways(), [(True,)])
                self.finish(self.pooler)

    def test_a_handshake_that_fails_does_not_end_in_the_clear(self):
        self.cluster.configure(self.certificates.server, ssl_min_protocol_version="TLSv1.3")
        self.addCleanup(self.cluster.configure, self.certificates.server)
        self.start_looking("prefer", {"server_tls_protocols": "tlsv1.2"})
        self.assertIn("could not be looked up", self.refusal("looked_up")["M"])
        self.assertEqual(self.ways(), [])

    def test_a_question_in_the_clear_is_logged_once(self):
        self.cluster.configure(self.certificates.server, ssl="off")
        self.addCleanup(self.cluster.configure, self.certificates.server)
        for mode in ("allow", "prefer"):
            self.start_looking(mode)
            for user in ("nobody_there", "looked_up"):
                self.assertIn("looked_up" if user == "looked_up" else "password", self.refusal(user)["M"])
                self.cluster.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'looker'")
            self.assertEqual(self.pooler.log_text().count("its answers to pgproxy's own questions are not encrypted"), 1)
            self.finish(self.pooler)
        self.start_looking("require")
        self.assertIn("could not be looked up", self.refusal("looked_up")["M"])

    def test_it_trusts_no_stranger(self):
        self.start_looking("verify-full", ca=self.certificates.false_root)
        self.assertIn("could not be looked up", self.refusal("looked_up")["M"])
        self.assertIn("certificate verify failed", self.pooler.log_text())

    def test_it_trusts_no_revoked_certificate(self):
        self.cluster.configure(self.certificates.lost_server)
        self.addCleanup(self.cluster.configure, self.certificates.server)
        self.start_looking("verify-full", {"server_tls_crl_file": self.certificates.revocations},
                           ca=self.certificates.root)
        self.assertIn("could not be looked up", self.refusal("looked_up")["M"])
        self.assertIn("certificate verify failed", self.pooler.log_text())  # libpq says no more


class ClientCertificates(ServerTest):
    def test_ours_is_shown_where_the_server_wants_one(self):
        self.start("require", pair=self.certificates.app)
        self.assertEqual(self.encryption("by_scram")[3], "/CN=app")
        self.assertEqual(self.encryption("by_trust")[3], "/CN=app")  # by cert

    def test_none_or_a_strangers_is_the_servers_error(self):
        self.start("require")
        self.assertIn("certificate", self.refusal("by_scram")["M"])
        self.start("require", pair=self.certificates.false_app)
        fields = self.refusal("by_scram")
        self.assertIn(fields["C"], ("08004", "57P03"))  # an alert, or a reset that overtook it
        self.assertIn("server_tls_cert_file", fields["H"])


class Protocol(ServerTest):
    def test_versions_and_ciphers_are_those_of_the_settings(self):
        self.start("require", settings={"server_tls_protocols": "tlsv1.2",
                                        "server_tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256"})
        self.assertEqual(self.encryption()[1:3], ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"))
        self.start("require", settings={"server_tls13_ciphers": "TLS_CHACHA20_POLY1305_SHA256"})
        self.assertEqual(self.encryption()[1:3], ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"))

    def test_a_version_that_the_server_does_not_speak(self):
        self.cluster.configure(self.certificates.server, ssl_min_protocol_version="TLSv1.3")
        self.addCleanup(self.cluster.configure, self.certificates.server)
        self.start("require", settings={"server_tls_protocols": "tlsv1.2"})
        fields = self.refusal()
        self.assertIn("TLS handshake failed", fields["M"])

    def test_cancel_connections_are_encrypted_as_well(self):
        relay = Relay(self.cluster.port)
        self.addCleanup(relay.close)
        self.start("verify-full", port=relay.port, ca=self.certificates.root)
        client = self.client()
        self.begin_to_sleep(client)
        self.cancel(client)
        self.assert_sqlstate(client.read_until("Z"), "57014")
        self.assertEqual(relay.openings, [raw.SSL_REQUEST] * 2)

    def begin_to_sleep(self, client):
        client.send(raw.query("select pg_sleep(600)"))
        harness.eventually(lambda: self.cluster.server_pids("state = 'active' and query like '%pg_sleep(600)%'"),
                           "the query runs")

    def cancel(self, client):
        with raw.RawClient(self.pooler.address()) as canceller:
            canceller.send(raw.cancel_packet(client.pid, client.secret))
            self.assertEqual(canceller.read_to_end(), [])

    def test_a_cancel_request_goes_to_a_server_of_the_same_name(self):
        """And to the same address, which the certificate need not name."""
        self.cluster.configure(self.certificates.by_name_only)
        self.addCleanup(self.cluster.configure, self.certificates.server)
        self.start("verify-full", ca=self.certificates.root)
        client = self.client()
        self.begin_to_sleep(client)
        self.cancel(client)
        self.assert_sqlstate(client.read_until("Z"), "57014")

    def test_the_key_of_an_encrypted_session_is_not_sent_in_the_clear(self):
        relay = Relay(self.cluster.port)
        self.addCleanup(relay.close)
        self.start("prefer", port=relay.port)
        client = self.client()
        self.begin_to_sleep(client)
        relay.declines = True
        self.cancel(client)
        harness.eventually(lambda: "cancel request failed" in self.pooler.log_text(), "the log tells")
        harness.eventually(lambda: relay.said, "the connection of the request was closed")
        self.assertEqual(relay.said, [b""])
        self.assertNotIn("offers no TLS", self.pooler.log_text())
        self.cluster.execute("select pg_cancel_backend(pid) from pg_stat_activity where usename = 'app'")
        self.assert_sqlstate(client.read_until("Z"), "57014")

    def test_a_cancel_request_in_the_clear_is_no_news(self):
        self.cluster.configure(self.certificates.server, ssl="off")
        self.addCleanup(self.cluster.configure, self.certificates.server)
        self.start("prefer")
        client = self.client("app2")
        self.begin_to_sleep(client)
        self.cancel(client)
        self.assert_sqlstate(client.read_until("Z"), "57014")
        self.assertEqual(self.pooler.log_text().count("offers no TLS"), 1)
        self.assertEqual(self.pooler.pool("app2")["sv_unencrypted"], 1)

    def test_bytes_behind_the_servers_answer_are_refused(self):
        for answer in (b"S" + raw.frame("R", b"\0\0\0\0"), b"Sx", b"N" + raw.frame("R", b"\0\0\0\0")):
            server = self.serve(answer)
            self.start("prefer", port=server.port)
            self.assertIn("received unencrypted data after SSL response", self.refusal()["M"])
            self.assertEqual(server.received, [raw.SSL_REQUEST])

    def test_an_error_in_the_clear_is_not_passed_on(self):
        error = raw.frame("E", b"SFATAL\0C28P01\0Mcall this number\0\0")
        self.start("require", port=self.serve(error).port)
        fields = self.refusal()
        self.assertEqual(fields["C"], "08004")
        self.assertNotIn("call this number", str(fields))

    def test_a_server_that_hangs_up_or_talks_nonsense(self):
        self.start("require", port=self.serve(b"", closes=True).port)
        self.assertIn("closed the connection when asked for TLS", self.refusal()["M"])
        self.start("require", port=self.serve(b"S", closes=True).port)
        self.assertIn("TLS handshake not finished", self.refusal()["M"])
        self.start("require", port=self.serve(b"H").port)
        self.assertIn("is not PostgreSQL's", self.refusal()["M"])
        self.assertTrue(self.pooler.is_alive())

    def test_a_server_that_never_answers_meets_server_connect_timeout(self):
        self.start("require", port=self.serve(b"S").port, settings={"server_connect_timeout": 1})
        self.assertIn("server_connect_timeout", self.refusal()["M"])


class Direct(ServerTest):
    """server_tls_sslnegotiation = direct; a second pgproxy is the server that can do it."""

    def start_direct(self, sslmode="verify-full", port=None, settings=None, **options):
        self.start(sslmode, port=port, settings={"server_tls_sslnegotiation": "direct"} | (settings or {}), **options)

    def start_server(self):
        """A pgproxy in front of PostgreSQL, and a relay that sees how connections to it begin."""
        server = self.start_pooler(self.certificates.for_clients("require"),
                                   databases={"test": f"host=127.0.0.1 port={self.cluster.port} user=app2"})
        relay = Relay(server.port)
        self.addCleanup(relay.close)
        return relay

    def test_tls_begins_at_once_for_sessions_and_cancel_requests(self):
        relay = self.start_server()
        self.start_direct(port=relay.port, ca=self.certificates.root)
        client = self.client()
        self.assertEqual(client.value("select 7"), "7")
        row, = self.pooler.console("show servers")
        self.assertTrue(row["tls"].startswith("TLSv1.3/"))
        client.send(raw.query("select pg_sleep(600)"))
        harness.eventually(lambda: self.cluster.server_pids("state = 'active' and query like '%pg_sleep(600)%'"),
                           "the query runs")
        with raw.RawClient(self.pooler.address()) as canceller:
            canceller.send(raw.cancel_packet(client.pid, client.secret))
            self.assertEqual(canceller.read_to_end(), [])
        self.assert_sqlstate(client.read_until("Z"), "57014")
        self.assertEqual([opening[:3] for opening in relay.openings], [b"\x16\x03\x01"] * 2)

    def test_the_certificate_is_verified_all_the_same(self):
        relay = self.start_server()
        self.start_direct(port=relay.port, ca=self.certificates.false_root)
        fields = self.refusal()
        self.assertIn("certificate verify failed", fields["M"])
        self.assertIn("server_tls_ca_file", fields["H"])

    def test_postgresql_15_cannot_do_it_and_the_hint_says_what_to_do(self):
        self.start_direct("require")
        fields = self.refusal()
        self.assertEqual(fields["C"], "08004")
        self.assertIn("TLS handshake not finished", fields["M"])
        self.assertIn("server_tls_sslnegotiation = postgres", fields["H"])

    def test_a_server_of_another_protocol_is_refused(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificates.server)
        server = self.serve(b"", tls=context)
        self.start_direct("require", port=server.port)
        fields = self.refusal()
        self.assertIn("(ALPN)", fields["M"])
        self.assertIn("server_tls_sslnegotiation = postgres", fields["H"])
        # The end of the connection may come as a reset: what TLS says behind the handshake goes unread.
        self.assertTrue(server.ended.wait(harness.PATIENCE_SECONDS))
        self.assertEqual(b"".join(server.received), b"")

    def test_auth_query_over_an_older_libpq_says_that_it_asks(self):
        relay = self.start_server()
        self.secrets = {"looker": PASSWORD}
        self.start_direct("require", port=relay.port, settings={"auth_type": "scram-sha-256", "auth_user": "looker"})
        self.refusal("looked_up")
        if psycopg.pq.version() < 170000:
            self.assertIn("ask for TLS with a request, in spite of server_tls_sslnegotiation = direct", self.pooler.log_text())
            self.assertEqual(relay.openings[0], raw.SSL_REQUEST)
        else:
            self.assertEqual(relay.openings[0][:3], b"\x16\x03\x01")


if __name__ == "__main__":
    unittest.main(verbosity=2)
