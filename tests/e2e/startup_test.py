"""The packets before login: encryption requests, versions, parameters, and hostile bytes."""

import struct
import unittest

import harness
import raw

USER = {"user": "app", "database": "test"}


def packet(body):
    return struct.pack("!i", len(body) + 4) + body


class EncryptionRequests(harness.PoolerTest):
    def open(self):
        client = raw.RawClient(self.pooler.address())
        self.addCleanup(client.close)
        return client

    def test_ssl_and_gss_requests_are_declined_in_either_order(self):
        for first, second in ((raw.SSL_REQUEST, raw.GSSENC_REQUEST), (raw.GSSENC_REQUEST, raw.SSL_REQUEST)):
            client = self.open()
            self.assertEqual(client.send(first).read_bytes(1), b"N")
            self.assertEqual(client.send(second).read_bytes(1), b"N")
            client.login("app", "test")
            self.assertEqual(client.value("select 1"), "1")

    def test_plaintext_glued_behind_an_encryption_request_is_refused(self):
        for request in (raw.SSL_REQUEST, raw.GSSENC_REQUEST):
            for glued in (raw.startup_packet(**USER), b"\0", raw.GSSENC_REQUEST):
                with self.subTest(request=request, glued=glued):
                    client = self.open().send(request + glued)
                    self.assert_never_logged_in(client)

    def test_a_request_repeated_for_ever_ends_the_connection(self):
        client = self.open()
        answers = [client.send(raw.SSL_REQUEST).read_bytes(1)]
        while answers[-1] == b"N" and len(answers) < 10:
            answers.append(client.send(raw.SSL_REQUEST).read_bytes(1))
        self.assertEqual(answers[-1], b"E")

    def assert_never_logged_in(self, client):
        received = b""
        try:
            while True:
                received += client.read_bytes(1)
        except (raw.Closed, ConnectionError):
            self.assertNotIn(struct.pack("!cii", b"R", 8, 0), received)


class Parameters(harness.PoolerTest):
    def test_any_setting_given_at_startup_holds(self):
        client = self.client(statement_timeout="7777", client_min_messages="error", extra_float_digits="2",
                             **{"app.tenant": "blue", "search_path": '"$user", pg_catalog'})
        for name, value in (("statement_timeout", "7777ms"), ("client_min_messages", "error"),
                            ("extra_float_digits", "2"), ("app.tenant", "blue"),
                            ("search_path", '"$user", pg_catalog')):
            self.assertEqual(client.value(f"show {name}"), value)

    def test_options_are_taken_apart_as_postgresql_does(self):
        options = r"-c statement_timeout=6000 --application_name=a\ b\\c -clock_timeout=9s --work-mem=5MB"
        direct, pooled = self.cluster.raw(options=options), self.client(options=options)
        for name in ("statement_timeout", "application_name", "lock_timeout", "work_mem"):
            self.assertEqual(pooled.value(f"show {name}"), direct.value(f"show {name}"), name)
        direct.close()

    def test_reported_settings_come_back_in_the_servers_spelling(self):
        settings = {"client_encoding": "utf-8", "DateStyle": "sql, dmy", "TimeZone": "europe/berlin",
                    "application_name": "tëst", "IntervalStyle": "ISO_8601", "standard_conforming_strings": "0"}
        direct, pooled = self.cluster.raw(**settings), self.client(**settings)
        self.assertEqual(pooled.parameters, direct.parameters)
        direct.close()

    def test_a_setting_the_server_refuses_is_an_error_with_its_words(self):
        for settings in ({"work_mem": "many"}, {"no_such_setting": "1"}, {"TimeZone": "Nowhere/None"}):
            with self.subTest(settings=settings):
                direct = raw.RawClient(self.cluster.socket)
                wanted = raw.error(direct.login("app", "test", **settings))
                direct.close()
                with raw.RawClient(self.pooler.address()) as client:
                    reply = client.login("app", "test", **settings)
                    if reply[-1].tag == "Z":
                        reply = client.send(raw.query("select 1")).read_until("EZ")
                    got = raw.error(reply)
                    self.assertEqual((got["C"], got["M"]), (wanted["C"], wanted["M"]))
        self.assertEqual(self.client().value("select 1"), "1")

    def test_the_database_is_the_user_when_none_is_given(self):
        self.pooler = self.start_pooler(
            databases={"app": f"host=127.0.0.1 port={self.cluster.port} dbname=test"})
        with raw.RawClient(self.pooler.address()) as client:
            client.send(raw.startup_packet(user="app"))
            self.assertEqual(client.authenticate("app", None)[-1].tag, "Z")
            self.assertEqual(client.value("select current_database()"), "test")

    def test_a_newer_minor_version_is_negotiated_exactly_once(self):
        for code, extra, unknown in ((0x00030002, {}, []), (0x00030000, {"_pq_.magic": "1"}, ["_pq_.magic"]),
                                     (0x00030009, {"_pq_.a": "1", "_pq_.b": "2"}, ["_pq_.a", "_pq_.b"])):
            with raw.RawClient(self.pooler.address()) as client:
                client.send(raw.startup_packet(code, **USER, **extra))
                greeting = client.read_until("ZE")
                versions = [message.body for message in greeting if message.tag == "v"]
                self.assertEqual(len(versions), 1, raw.tags(greeting))
                self.assertEqual(struct.unpack_from("!ii", versions[0]), (0x00030000, len(unknown)))
                self.assertEqual([name.decode() for name in versions[0][8:].split(b"\0") if name], unknown)
                self.assertEqual(client.value("select 1"), "1")


class HostilePackets(harness.PoolerTest):
    """Each is refused, and the next client is served as if nothing had happened."""

    def test_malformed_startup_packets(self):
        version = struct.pack("!i", 0x00030000)
        hostile = {
            "no final terminator": packet(version + b"user\0app\0database\0test\0"),
            "junk after the terminator": packet(version + b"user\0app\0database\0test\0\0junk"),
            "two terminators": packet(version + b"user\0app\0database\0test\0\0\0"),
            "name without value": packet(version + b"user\0app\0database\0\0"),
            "no user": packet(version + b"database\0test\0\0"),
            "empty user": packet(version + b"user\0\0database\0test\0\0"),
            "nothing": packet(version),
            "length 0": struct.pack("!i", 0) + version,
            "length 4": struct.pack("!i", 4),
            "negative length": struct.pack("!ii", -1, 0x00030000),
            "length of 2 GB": struct.pack("!ii", 0x7FFFFFFF, 0x00030000),
            "protocol 2": packet(struct.pack("!i", 0x00020000) + b"x" * 288),
            "protocol 4": packet(struct.pack("!i", 0x00040000) + b"user\0app\0\0"),
            "64 KiB user": packet(version + b"user\0" + b"u" * 65536 + b"\0\0"),
            "64 KiB database": packet(version + b"user\0app\0database\0" + b"d" * 65536 + b"\0\0"),
            "password first": raw.frame("p", raw.text("secret")),
            "query first": raw.query("select 1"),
            "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "tls hello": bytes.fromhex("1603010200010001fc0303") + bytes(64),
            "short cancel": struct.pack("!iii", 12, 80877102, 1),
            "long cancel": raw.cancel_packet(1, b"k" * 400),
        }
        for name, data in hostile.items():
            with self.subTest(name):
                with raw.RawClient(self.pooler.address()) as client:
                    client.send(data).half_close()
                    reply = client.read_to_end()
                    self.assertIn(raw.tags(reply), ("", "E"))
                    if reply:
                        self.assertEqual(reply[0].fields()["S"], "FATAL")
                        self.assertIn(reply[0].fields()["C"], ("08P01", "0A000", "28000", "28P01"))
                self.assertEqual(self.client().value("select 1"), "1")

    def test_long_names_of_legal_packets_are_unknown_names(self):
        for user, database in (("u" * 5000, "test"), ("app", "d" * 5000), ("app", "d" * 64)):
            with raw.RawClient(self.pooler.address()) as client:
                reply = client.login(user, database)
                self.assertIn(raw.error(reply)["C"], ("28P01", "3D000"))
        self.assertEqual(self.client().value("select 1"), "1")

    def test_a_startup_packet_byte_by_byte(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.send_bytewise(raw.startup_packet(**USER, application_name="slow"))
            self.assertEqual(client.authenticate("app", None)[-1].tag, "Z")
            client.send_bytewise(raw.query("show application_name"))
            self.assertEqual(raw.rows(client.read_until("Z")), [("slow",)])

    def test_a_query_glued_to_the_startup_packet_is_answered(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.send(raw.startup_packet(**USER) + raw.query("select 5"))
            client.authenticate("app", None)
            self.assertEqual(raw.rows(client.read_until("Z")), [("5",)])

    def test_a_second_startup_packet_ends_the_connection(self):
        client = self.client()
        client.send(raw.startup_packet(**USER)).half_close()
        self.assertIn(raw.tags(client.read_to_end()), ("", "E"))
        self.assertEqual(self.client().value("select 1"), "1")

    def test_password_messages_out_of_order(self):
        pooler = self.pooler = self.start_pooler({"auth_type": "scram-sha-256"})
        first = raw.Scram("x").initial_response()
        absurd = raw.frame("p", raw.text("SCRAM-SHA-256") + struct.pack("!I", 0xFFFFFFFF) + b"n,,n=,r=x")
        hostile = {
            "query instead": [raw.query("select 1")],
            "initial response of absurd length": [absurd],
            "initial response twice": [first, first],
            "unknown mechanism": [raw.frame("p", raw.text("PLAIN") + struct.pack("!i", 0))],
            "channel binding": [raw.frame("p", raw.text("SCRAM-SHA-256-PLUS") + struct.pack("!i", 3) + b"p=x")],
            "final message first": [raw.frame("p", b"c=biws,r=x,p=AAAA")],
            "final message with a foreign nonce": [first, raw.frame("p", b"c=biws,r=foreign,p=" + b"A" * 44)],
            "empty": [raw.frame("p")],
            "huge": [raw.frame("p", b"x" * 3_000_000)],
            "negative length": [b"p" + struct.pack("!i", -5)],
        }
        for name, messages in hostile.items():
            with self.subTest(name), raw.RawClient(pooler.address()) as client:
                client.send(raw.startup_packet(**USER)).read()
                try:
                    client.send(*messages).half_close()
                except ConnectionError:
                    continue
                reply = client.read_to_end()
                self.assertIn(raw.tags(reply).lstrip("R"), ("E", ""))
                self.assertFalse([m for m in reply if m.tag == "R" and m.body == bytes(4)])


class HostileMessages(harness.PoolerTest):
    """After login: malformed messages end that client, with an error, and nobody else."""

    def test_malformed_messages(self):
        hostile = {
            "length 3": b"Q" + struct.pack("!i", 3),
            "length 0": b"Q" + struct.pack("!i", 0),
            "negative length": b"Q" + struct.pack("!i", -1),
            "unknown tag": raw.frame("!", b"x"),
            "a server's tag": raw.frame("Z", b"I"),
            "password now": raw.frame("p", raw.text("x")),
        }
        bystander = self.client()
        for name, data in hostile.items():
            with self.subTest(name):
                reply = self.client().send(data).read_to_end()
                self.assertEqual(raw.error(reply)["C"], "08P01")
                self.assertEqual(bystander.value("select 1"), "1")
        eventually_idle = {"cl_active": 1, "cl_waiting": 0, "sv_active": 0}
        self.pooler.wait_for_pool("only the bystander is left", **eventually_idle)

    def test_malformed_bodies_are_errors_not_crashes(self):
        bodies = {
            "parse": raw.frame("P", b"no terminator"),
            "bind": raw.frame("B", b"\0\0" + struct.pack("!hhi", 0, 1, 0x7FFFFFFF) + b"x"),
            "bind with a negative count": raw.frame("B", b"\0\0" + struct.pack("!hh", 0, -1)),
            "describe": raw.frame("D", b"?\0"),
            "execute": raw.frame("E", b"\0"),
            "close": raw.frame("C", b""),
            "query": raw.frame("Q", b"select 1"),
            "function call": raw.frame("F", b"\0"),
        }
        for name, data in bodies.items():
            with self.subTest(name):
                reply = self.client().send(data, raw.SYNC).read_until("E")
                self.assertIn(raw.error(reply)["C"], ("08P01", "26000"))
                self.assertEqual(self.client().value("select 1"), "1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
