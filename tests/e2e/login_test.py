"""Logging in: client methods, stored secrets, server methods, and what a stranger may learn."""

import base64
import hashlib
import hmac
import itertools
import unittest

import harness
import psycopg
import raw
from harness import PASSWORD


def md5_secret(user):
    return "md5" + hashlib.md5((PASSWORD + user).encode()).hexdigest()


def scram_secret(password, like, iterations=None):
    """What PostgreSQL would store for a password, with salt and iterations of another secret."""
    known_iterations, salt = like.split("$")[1].split(":")
    iterations = iterations or int(known_iterations)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), iterations)
    client_key, server_key = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    keys = [base64.b64encode(key).decode() for key in (hashlib.sha256(client_key).digest(), server_key)]
    return f"SCRAM-SHA-256${iterations}:{salt}${keys[0]}:{keys[1]}"


class ClientAuthentication(harness.PoolerTest):
    """The forced user by_trust needs no password, so only the client's own login matters."""

    auto_start = False

    def setUp(self):
        super().setUp()
        self.databases = {"test": f"host=127.0.0.1 port={self.cluster.port} user=by_trust"}
        self.secrets = {"has_plain": PASSWORD, "has_md5": md5_secret("has_md5"),
                        "has_scram": self.cluster.secret_of("by_scram"), "has_none": ""}

    def login(self, user, password):
        with raw.RawClient(self.pooler.address()) as client:
            return client.login(user, "test", password)[-1]

    def test_every_method_takes_the_secrets_it_can_check(self):
        accepted = {"trust": ("has_plain", "has_md5", "has_scram"),
                    "plain": ("has_plain", "has_md5", "has_scram"),
                    "md5": ("has_plain", "has_md5", "has_scram"),
                    "scram-sha-256": ("has_plain", "has_scram")}
        for method, users in accepted.items():
            self.pooler = self.start_pooler({"auth_type": method})
            for user in ("has_plain", "has_md5", "has_scram"):
                with self.subTest(method=method, user=user):
                    last = self.login(user, PASSWORD)
                    self.assertEqual(last.tag, "Z" if user in users else "E", last)

    def test_a_wrong_an_empty_or_an_unset_password_is_28P01(self):
        for method in ("plain", "md5", "scram-sha-256"):
            self.pooler = self.start_pooler({"auth_type": method})
            attempts = itertools.product(("has_plain", "has_md5", "has_scram", "has_none"), ("wrong", ""))
            for user, password in attempts:
                with self.subTest(method=method, user=user, password=password):
                    self.assert_refused("28P01", user=user, password=password)

    def test_an_unknown_user_sees_what_a_wrong_password_sees(self):
        for method in ("plain", "md5", "scram-sha-256"):
            self.pooler = self.start_pooler({"auth_type": method})
            with self.subTest(method=method):
                known = self.transcript("has_plain", "test")
                unknown = self.transcript("has_nobody", "test")
                self.assertEqual([self.shape(m) for m in known], [self.shape(m) for m in unknown])
                known_error, unknown_error = known[-1].fields(), unknown[-1].fields()
                self.assertEqual(known_error["M"].replace("has_plain", ""),
                                 unknown_error["M"].replace("has_nobody", ""))

    def test_an_unknown_database_shows_only_after_the_right_password(self):
        for method in ("plain", "md5", "scram-sha-256"):
            self.pooler = self.start_pooler({"auth_type": method})
            with self.subTest(method=method):
                self.assert_refused("28P01", user="has_plain", database="no_such", password="wrong")
                self.assert_refused("3D000", user="has_plain", database="no_such")
        self.pooler = self.start_pooler({"auth_type": "trust"})
        self.assert_refused("3D000", user="has_plain", database="no_such")

    def test_the_scram_salt_of_an_unknown_user_does_not_change(self):
        self.pooler = self.start_pooler({"auth_type": "scram-sha-256"})
        salts = set()
        for _ in range(3):
            with raw.RawClient(self.pooler.address()) as client:
                client.send(raw.startup_packet(user="has_nobody", database="test")).read()
                client.send(raw.Scram("x").initial_response())
                salts.add(client.read().body.split(b",s=")[1])
        self.assertEqual(len(salts), 1)

    def test_trust_still_wants_a_known_user_and_any_does_not(self):
        self.pooler = self.start_pooler({"auth_type": "trust"})
        self.assert_refused("28P01", user="has_nobody")
        self.pooler = self.start_pooler({"auth_type": "any"})
        self.assertEqual(self.login("has_nobody", None).tag, "Z")

    def transcript(self, user, database):
        with raw.RawClient(self.pooler.address()) as client:
            return client.login(user, database, "wrong")

    @staticmethod
    def shape(message):
        return message.tag, message.body[:4] if message.tag == "R" else b""


class ServerAuthentication(harness.PoolerTest):
    def test_plain_secrets_log_in_by_every_server_method(self):
        for user in ("by_trust", "by_password", "by_md5", "by_scram"):
            with self.subTest(user=user):
                self.assertEqual(self.client(user).value("select current_user"), user)

    def test_an_md5_secret_logs_in_where_the_server_asks_for_md5(self):
        self.secrets = {"by_md5": md5_secret("by_md5")}
        self.pooler = self.start_pooler()
        self.assertEqual(self.client("by_md5").value("select current_user"), "by_md5")

    def test_libpq_logs_in_with_scram_on_both_sides(self):
        self.pooler = self.start_pooler({"auth_type": "scram-sha-256"})
        connection = self.connect("by_scram")
        self.assertEqual(connection.execute("select current_user").fetchone(), ("by_scram",))

    def test_a_server_that_refuses_us_reaches_the_client_in_its_own_words(self):
        self.secrets = {"by_scram": "not the password of the server", "missing_there": PASSWORD}
        self.pooler = self.start_pooler({"server_login_retry": 1})
        direct = self.first_error_of_postgresql("missing_there")
        fields = self.refusal("missing_there")
        self.assertEqual(fields["C"], "28P01")
        self.assertIn(direct, fields["M"])
        self.assertEqual(self.refusal("by_scram")["C"], "28P01")

    def first_error_of_postgresql(self, user):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(host="127.0.0.1", port=self.cluster.port, user=user, dbname="test",
                            password=PASSWORD, sslmode="disable")
        return str(caught.exception).split("FATAL:")[-1].strip()

    def refusal(self, user):
        """The error at login, or at the first query where logging in needs no server."""
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login(user, "test", PASSWORD)
            if reply[-1].tag == "Z":
                reply = client.send(raw.query("select 1")).read_until("E")
            return raw.error(reply)

    def test_a_database_that_only_the_configuration_knows_is_3D000(self):
        self.databases = {"ghost": f"host=127.0.0.1 port={self.cluster.port} dbname=not_there"}
        self.pooler = self.start_pooler({"server_login_retry": 1})
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login("app", "ghost", PASSWORD)
            if reply[-1].tag == "Z":
                reply = client.send(raw.query("select 1")).read_until("E")
            fields = self.assert_sqlstate(reply, "3D000")
            self.assertIn('database "not_there" does not exist', fields["M"])

    def test_the_star_database_passes_the_name_on(self):
        self.databases = {"*": f"host=127.0.0.1 port={self.cluster.port}"}
        self.pooler = self.start_pooler()
        client = self.client("by_scram", database="postgres")
        self.assertEqual(client.value("select current_database()"), "postgres")


class ScramPassThrough(harness.PoolerTest):
    """auth_file has the server's SCRAM secret, and no password is known to pgproxy."""

    auto_start = False
    settings = {"auth_type": "scram-sha-256", "server_login_retry": 0.1}

    def begin(self, secret, **settings):
        self.secrets = {"by_scram": secret}
        self.pooler = self.start_pooler(settings)

    def refusal(self, password=PASSWORD):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.pooler.connect("by_scram", password=password).execute("select 1")
        return str(caught.exception)

    def test_what_the_client_proves_logs_in_to_the_server(self):
        for method in ("scram-sha-256", "md5", "plain"):
            with self.subTest(method=method):
                self.begin(self.cluster.secret_of("by_scram"), auth_type=method)
                connections = [self.connect("by_scram") for _ in range(3)]
                for connection in connections:
                    connection.execute("begin")
                    self.assertEqual(connection.execute("select current_user").fetchone(), ("by_scram",))

    def test_a_wrong_password_gets_nowhere(self):
        self.begin(self.cluster.secret_of("by_scram"))
        self.assert_refused("28P01", user="by_scram", password="wrong")
        self.assertEqual(self.cluster.server_pids(), [])

    def test_without_a_proof_the_error_says_what_is_missing(self):
        self.begin(self.cluster.secret_of("by_scram"), auth_type="trust")
        refusal = self.refusal()
        self.assertIn("no client has logged in with its password", refusal)
        self.assertIn("auth_file", refusal)

    def test_a_secret_that_is_not_the_servers_is_told_by_what_differs(self):
        theirs = self.cluster.secret_of("by_scram")
        self.begin(self.cluster.secret_of("app"))  # the same password, set on its own
        self.assertIn("the salt differs", self.refusal())
        self.begin(scram_secret(PASSWORD, theirs, iterations=5000))
        self.assertIn("the iteration count differs", self.refusal())
        self.begin(scram_secret("another", theirs))
        self.assertIn("the stored key differs", self.refusal(password="another"))


class Passwords(harness.PoolerTest):
    """SCRAM hashes a password as SASLprep (RFC 4013) leaves it; libpq and PostgreSQL do so as well."""

    auto_start = False
    PASSWORDS = ("plain", "two\u00a0words", "10\u00b2", "soft\u00adhyphen", "pa\u0308ss", "p\u00e4ss", "\ufb01sh", "\U0001f600\u00b2")

    def test_outside_of_ascii_a_password_is_the_same_on_all_sides(self):
        self.cluster.execute("create role typed login")
        self.addCleanup(self.cluster.execute, "drop role typed")
        for password in self.PASSWORDS:
            self.cluster.execute(f"alter role typed password '{password}'")
            for auth_type, secret in (("scram-sha-256", password), ("scram-sha-256", self.cluster.secret_of("typed")),
                                      ("plain", self.cluster.secret_of("typed"))):
                with self.subTest(password=password, auth_type=auth_type, secret=secret):
                    self.secrets = {"typed": secret}
                    self.pooler = self.start_pooler({"auth_type": auth_type})
                    connection = self.connect("typed", password=password)
                    self.assertEqual(connection.execute("select current_user").fetchone(), ("typed",))
                    connection.close()
                    self.finish(self.pooler)


class Greeting(harness.PoolerTest):
    def test_the_greeting_is_postgresqls(self):
        direct, pooled = self.cluster.raw(), self.client()
        self.assertEqual(pooled.parameters, direct.parameters)
        direct.close()

    def test_cancel_keys_differ_between_clients(self):
        keys = {(client.pid, client.secret) for client in self.clients(10)}
        self.assertEqual(len(keys), 10)

    def test_a_unix_socket_serves_as_well(self):
        path = f"{self.pooler.directory}/.s.PGSQL.{self.pooler.port}"
        with raw.RawClient(path) as client:
            client.login("app", "test", PASSWORD)
            self.assertEqual(client.value("select 7"), "7")


if __name__ == "__main__":
    unittest.main(verbosity=2)
