"""Servers that are none, or mean harm, at the login: what their clients see, and that nothing else suffers."""

import base64
import socket
import ssl
import struct
import unittest

import harness
import psycopg
import raw
from harness import PASSWORD
from tls_clients_test import trusting
from tls_servers_test import Listener, Relay, ServerTest

SALT = base64.b64encode(b"0123456789abcdef")


def authentication(code, data=b""):
    return raw.frame("R", struct.pack("!i", code) + data)


OK, READY = authentication(0), raw.frame("Z", b"I")


class HostileServer(Listener):
    """Answers each startup packet with script(connection); keeps what scripts return."""

    def __init__(self, script):
        self.script = script
        self.answers = []
        super().__init__()

    def serve(self, connection):
        with connection:
            length, = struct.unpack("!i", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(length - 4, socket.MSG_WAITALL)
            self.answers.append(self.script(connection))
            while connection.recv(65536):
                pass


def saying(data):
    return lambda connection: connection.sendall(data)


def in_scram(continued, then=b""):
    """Asks for SCRAM, and answers with what continued(the client's nonce) makes; returns what comes back."""

    def script(connection):
        connection.sendall(authentication(10, b"SCRAM-SHA-256\0\0"))
        nonce = connection.recv(65536).split(b"r=")[1]
        connection.sendall(continued(nonce) + then)
        return connection.recv(65536)
    return script


def challenge(salt=SALT, iterations=b"4096", more=b"abc"):
    return lambda nonce: authentication(11, b"r=" + nonce + more + b",s=" + salt + b",i=" + iterations)


class HostileServers(harness.PoolerTest):
    auto_start = False
    unexpected = "unexpected message from server during login"
    CASES = {
        "an iteration count of 2^31": (in_scram(challenge(iterations=b"2147483648")), "malformed SCRAM message"),
        "a negative iteration count": (in_scram(challenge(iterations=b"-1")), "malformed SCRAM message"),
        "a huge nonce": (in_scram(challenge(more=b"n" * 60000)), "too long"),
        "a huge salt": (in_scram(challenge(salt=base64.b64encode(b"s" * 40000))), "too long"),
        "a nonce that is not ours": (in_scram(lambda _: challenge()(b"theirs")), "malformed SCRAM message"),
        "AuthenticationOk instead of a challenge": (in_scram(lambda _: OK + READY), "before it proved"),
        "AuthenticationOk instead of a signature": (in_scram(challenge(), OK + READY), "before it proved"),
        "another signature": (in_scram(challenge(), authentication(12, b"v=" + base64.b64encode(b"z" * 32)) + OK + READY),
                              "incorrect SCRAM server signature"),
        "an error in SCRAM's own words": (in_scram(challenge(), authentication(12, b"e=other-error")), "malformed SCRAM"),
        "an ErrorResponse without fields": (saying(raw.frame("E", b"\0")), unexpected),
        "an ErrorResponse without anything": (saying(raw.frame("E")), unexpected),
        "a parameter before AuthenticationOk": (saying(raw.frame("S", b"a\0b\0") + OK + READY), unexpected),
        "ReadyForQuery before AuthenticationOk": (saying(READY), unexpected),
        "a row before AuthenticationOk": (saying(raw.frame("D", b"\0\0") + OK + READY), unexpected),
        "a length of 2 GB": (saying(b"R" + struct.pack("!i", 0x7FFFFFFF) + b"x" * 100_000), unexpected),
        "a negative length": (saying(b"R" + struct.pack("!i", -1)), unexpected),
        "a request without a code": (saying(raw.frame("R", b"\0")), "malformed authentication message"),
        "mechanisms without an end": (saying(authentication(10, b"SCRAM-SHA-256")), "malformed SASL request"),
        "GSSAPI": (saying(authentication(7)), "GSSAPI, which is not supported"),
    }

    def test_each_is_an_error_for_its_clients_and_nobody_else_notices(self):
        servers = {name: HostileServer(script) for name, (script, _) in self.CASES.items()}
        for server in servers.values():
            self.addCleanup(server.close)
        entries = {f"case{number}": f"host=127.0.0.1 port={server.port}" for number, server in enumerate(servers.values())}
        self.pooler = self.start_pooler({"while_recovering": "reject", "max_attempts": 1}, databases=entries)
        bystander = self.client()
        for entry, (name, (_, words)) in zip(entries, self.CASES.items()):
            with self.subTest(name), raw.RawClient(self.pooler.address()) as client:
                reply = client.login("app", entry, PASSWORD)
                if reply[-1].tag == "Z":
                    reply = client.send(raw.query("select 1")).read_until("E")
                self.assertIn(words, raw.error(reply)["M"])
                self.assertEqual(bystander.value("select 1"), "1")
                self.assertEqual(self.pooler.pool("app", entry)["sv_idle"], 0)
        for name in ("an iteration count of 2^31", "a huge nonce", "a huge salt", "a nonce that is not ours"):
            harness.eventually(lambda: servers[name].answers, "its connection was closed")
            self.assertEqual(set(servers[name].answers), {b""}, name)  # no proof was given away


class InBetween(Relay):
    """Ends TLS on both sides, with a certificate of its own."""

    def __init__(self, target_port, pair):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*pair)
        super().__init__(target_port)

    def serve(self, connection):
        connection.recv(8, socket.MSG_WAITALL)
        connection.sendall(b"S")
        near = self.context.wrap_socket(connection, server_side=True)
        far = socket.create_connection(("127.0.0.1", self.target_port))
        far.sendall(raw.SSL_REQUEST)
        far.recv(1)
        self.join(near, trusting().wrap_socket(far))


class SomebodyInBetween(ServerTest):
    """Without verification of certificates it is channel binding that finds him out."""

    def between(self, port):
        between = InBetween(port, self.certificates.lost_server)
        self.addCleanup(between.close)
        return between

    def test_pgproxy_and_its_server(self):
        self.start("require", port=self.between(self.cluster.port).port)
        self.assertIn("SCRAM channel binding check failed", self.refusal()["M"])  # PostgreSQL's words
        self.assertEqual(self.cluster.server_pids(), [])

    def test_a_client_and_pgproxy(self):
        self.start("require", settings=self.certificates.for_clients("require") | {"auth_type": "scram-sha-256"})
        port = self.between(self.pooler.port).port
        for channel_binding in ("prefer", "require"):
            with self.assertRaises(psycopg.OperationalError) as caught:
                self.connect(port=port, sslmode="require", channel_binding=channel_binding)
            self.assertIn("channel binding is not that of this connection", str(caught.exception))
        connection = self.connect(sslmode="require", channel_binding="require")
        self.assertEqual(connection.execute("select 1").fetchone(), (1,))


if __name__ == "__main__":
    unittest.main(verbosity=2)
