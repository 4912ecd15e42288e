"""auth_type = hba: who gets in by which line, compared with PostgreSQL where both read the same file."""

import itertools
import os
import pwd
import subprocess
import unittest

import harness
import psycopg
import raw
from harness import PASSWORD, PROGRAM

SYSTEM_USER = pwd.getpwuid(os.geteuid()).pw_name  # whom a client of this program runs as
CLEARTEXT, MD5, SASL, OK = 3, 5, 10, 0


class HbaTest(harness.PoolerTest):
    auto_start = False

    def start_with(self, hba, ident=None, databases=("test",), files=None, **settings):
        """A pgproxy with these files. by_trust logs in to the server, so only the client's login matters."""
        self.files = harness.scratch_directory()
        for name, text in ({"pg_hba.conf": hba} | (files or {})).items():
            (self.files / name).parent.mkdir(exist_ok=True)
            (self.files / name).write_text(text)
        names = {"auth_type": "hba", "auth_hba_file": self.files / "pg_hba.conf"} | settings
        if ident is not None:
            (self.files / "pg_ident.conf").write_text(ident)
            names["auth_ident_file"] = self.files / "pg_ident.conf"
        server = f"host=127.0.0.1 port={self.cluster.port} dbname=test user=by_trust"
        self.pooler = self.start_pooler(names, databases={name: server for name in databases})
        return self.pooler

    def login(self, user, database="test", password=PASSWORD, by="tcp", **options):
        """What refusal() says of a login here."""
        host = "127.0.0.1" if by == "tcp" else str(self.pooler.directory)
        return refusal(host, self.pooler.port, user, database, password, **options)

    def first_request(self, user="app", database="test", by="tcp"):
        """Code of the first Authentication message; None when an error comes instead."""
        path = f"{self.pooler.directory}/.s.PGSQL.{self.pooler.port}"
        with raw.RawClient(self.pooler.address() if by == "tcp" else path) as client:
            message = client.send(raw.startup_packet(user=user, database=database)).read()
            return int.from_bytes(message.body[:4], "big") if message.tag == "R" else None


def refusal(host, port, user, database, password, **options):
    """"" when libpq gets in, else what the server says, or "TLS" when they did not come to talk."""
    try:
        psycopg.connect(host=host, port=port, user=user, dbname=database, password=password,
                        **({"sslmode": "disable", "connect_timeout": harness.PATIENCE_SECONDS} | options)).close()
    except psycopg.OperationalError as error:
        return str(error).split("FATAL:")[-1].strip() if "FATAL:" in str(error) else "TLS"
    return ""


class Methods(HbaTest):
    METHODS = ("trust", "reject", "password", "md5", "scram-sha-256")

    def setUp(self):
        super().setUp()
        lines = [f"{kind} {method} all {address} {method}\n" for method in self.METHODS
                 for kind, address in (("local", ""), ("host", "127.0.0.1/32"))]
        self.start_with("".join(lines), databases=self.METHODS)

    def test_each_method_takes_the_right_password_and_refuses_a_wrong_one(self):
        wrong = 'password authentication failed for user "app"'
        for by, method in itertools.product(("tcp", "unix"), self.METHODS):
            host = "127.0.0.1" if by == "tcp" else "[local]"
            rejected = (f'pg_hba.conf rejects connection for host "{host}", user "app", database "reject",'
                        " no encryption")
            with self.subTest(by=by, method=method):
                self.assertEqual(self.login("app", method, by=by), rejected if method == "reject" else "")
                expected = {"reject": rejected, "trust": ""}.get(method, wrong)
                self.assertEqual(self.login("app", method, "wrong", by=by), expected)

    def test_each_method_asks_as_postgresql_does(self):
        asked = dict(zip(self.METHODS, (OK, None, CLEARTEXT, MD5, SASL)))
        for by, method in itertools.product(("tcp", "unix"), self.METHODS):
            with self.subTest(by=by, method=method):
                self.assertEqual(self.first_request(database=method, by=by), asked[method])

    def test_nothing_tells_an_unknown_user_from_a_wrong_password(self):
        for method in ("password", "md5", "scram-sha-256"):
            with self.subTest(method=method):
                self.assertEqual(self.first_request("nobody", method), self.first_request("app", method))
                self.assertEqual(self.login("nobody", method),
                                 self.login("app", method, "wrong").replace("app", "nobody"))

    def test_a_refusal_is_28000_and_ends_the_connection(self):
        self.assert_refused("28000", database="reject")
        fields = self.assert_refused("28000", database="elsewhere")
        self.assertEqual(fields["M"], 'no pg_hba.conf entry for host "127.0.0.1", user "app", database "elsewhere",'
                                      " no encryption")

    def test_the_log_has_the_line_and_the_client_has_not(self):
        fields = self.assert_refused("28000", database="reject")
        self.assertNotIn(str(self.files), "".join(fields.values()))
        self.assertIn(f"login failed: rejected by {self.files}/pg_hba.conf:4", self.pooler.log_text())

    def test_psql_gets_in(self):
        for host in ("127.0.0.1", self.pooler.directory):
            result = subprocess.run(
                ["psql", "-X", "-A", "-t", "-h", str(host), "-p", str(self.pooler.port), "-U", "app", "-c", "select 7",
                 "scram-sha-256"], capture_output=True, text=True, check=False, timeout=harness.PATIENCE_SECONDS,
                env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD}, **harness.RUN_AS)
            self.assertEqual((result.stdout, result.stderr), ("7\n", ""))


class Lines(HbaTest):
    def test_the_first_line_that_matches_counts(self):
        self.start_with("host all app 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 md5\nhost all app all trust\n")
        self.assertIn("rejects connection", self.login("app"))
        self.assertEqual(self.login("app2"), "")
        self.assertNotEqual(self.login("app2", password="wrong"), "")

    def test_an_unknown_database_shows_only_after_the_right_password(self):
        self.start_with("host all all 127.0.0.1/32 scram-sha-256\n")
        self.assert_refused("28P01", database="no_such", password="wrong")
        self.assert_refused("3D000", database="no_such")

    def test_patterns_includes_and_continuations_of_newer_servers(self):
        self.start_with("include more/first.conf\ninclude_if_exists none\ninclude_dir rules\n",
                        databases=("db12", "dbx"), files={
                            "more/first.conf": 'host "/^db\\d{2,4}$" \\\n  app2 127.0.0.1/32 trust\n',
                            "rules/b.conf": "host dbx all 127.0.0.1/32 trust\n",
                            "rules/a.conf": "host dbx /^app2?$ 127.0.0.1/32 reject\n"})
        self.assertEqual(self.login("app2", "db12", password=None), "")
        self.assertIn("no pg_hba.conf entry", self.login("app", "db12"))
        self.assertIn("no pg_hba.conf entry", self.login("app2", "db123456"))
        self.assertIn("no pg_hba.conf entry", self.login("app2", "dbd"))
        self.assertIn("rejects", self.login("app2", "dbx"))
        self.assertEqual(self.login("by_md5", "dbx", password=None), "")
        self.assertIn(f"{self.files}/pg_hba.conf:2: there is no ", self.pooler.log_text())

    def test_the_console_is_one_database_under_both_names(self):
        self.start_with("host pgbouncer stats all reject\nhost all all 127.0.0.1/32 trust\n")
        for name in ("pgproxy", "pgbouncer"):
            self.assertIn("rejects", self.login("stats", name))
            with raw.RawClient(self.pooler.address()) as client:
                self.assertEqual(client.login("admin", name)[-1].tag, "Z")


class Peer(HbaTest):
    def test_the_system_user_is_the_database_user(self):
        self.secrets = {SYSTEM_USER: PASSWORD}
        self.start_with("local all all peer\n")
        self.assertEqual(self.login(SYSTEM_USER, by="unix", password=None), "")
        self.assertEqual(self.login("app", by="unix"), 'Peer authentication failed for user "app"')
        self.assertEqual(self.login("nobody_at_all", by="unix"),
                         'Peer authentication failed for user "nobody_at_all"')
        self.assertIn("no pg_hba.conf entry", self.login(SYSTEM_USER))

    def test_a_right_system_user_that_auth_file_has_not_is_refused_alike(self):
        self.start_with("local all all peer\n")
        self.assertEqual(self.login(SYSTEM_USER, by="unix"), f'Peer authentication failed for user "{SYSTEM_USER}"')

    def test_a_map_says_who_may_log_in_as_whom(self):
        self.start_with("local all all ident map=m\n",
                        f"m {SYSTEM_USER} app\nm nobody_at_all app2\nother {SYSTEM_USER} by_md5\n")
        self.assertEqual(self.login("app", by="unix", password=None), "")
        for user in ("app2", "by_md5", SYSTEM_USER):
            self.assertEqual(self.login(user, by="unix"), f'Peer authentication failed for user "{user}"')

    def test_a_part_of_the_system_user_may_be_part_of_the_name(self):
        self.secrets = {f"{SYSTEM_USER[0]}_app": ""}
        self.start_with("local all all peer map=m\n", f"m /^(.){SYSTEM_USER[1:]}$ \\1_app\n")
        self.assertEqual(self.login(f"{SYSTEM_USER[0]}_app", by="unix", password=None), "")
        self.assertIn("Peer authentication failed", self.login("app", by="unix"))

    @unittest.skipUnless(harness.RUN_AS, "needs to start a client as another user")
    def test_psql_of_another_system_user_is_told_apart(self):
        self.secrets = {"postgres": PASSWORD}
        self.start_with("local all all peer\n")
        command = ["psql", "-X", "-A", "-t", "-h", str(self.pooler.directory), "-p", str(self.pooler.port), "-U", "postgres",
                   "-c", "select 7", "test"]
        theirs = subprocess.run(command, capture_output=True, text=True, check=False, **harness.RUN_AS)
        self.assertEqual(theirs.stdout, "7\n", theirs.stderr)
        ours = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertIn('Peer authentication failed for user "postgres"', ours.stderr)


class AsPostgresql(HbaTest):
    """The same file, the same logins: straight to a PostgreSQL that reads it, and through pgproxy."""

    USERS = ("app", "app2", "by_trust", "by_md5", "by_password")
    DATABASES = ("test", "app", "app2", "postgres")
    RULES = """
# One field of several words, with and without blanks; a comment at the end.
local all postgres trust
local test app ident
local test,   "app" by_trust reject # not by_md5
local sameuser app2 scram-sha-256
local "sameuser" app2 trust
local all,replication by_md5, by_password peer
local all all md5
host app,postgres "app" 127.0.0.1/32 reject
host test app,"app2" 127.0.0.0 255.0.0.0 scram-sha-256
host app2 app2 128.0.0.0/1 trust
host all by_trust samehost \\
  trust
host sameuser all 127.9.9.9/8 password
host test @names samenet md5
host all by_md5 10.0.0.0/8 trust
hostssl all all all trust
hostnossl postgres by_md5 0.0.0.0/0 md5
host replication all all trust
"""

    def setUp(self):
        super().setUp()
        self.server = harness.Cluster()
        self.addCleanup(self.server.stop)
        self.server.execute(f"alter role by_trust password '{PASSWORD}'")
        for database in ("app", "app2"):
            self.server.execute(f"create database {database}")

    def test_every_login_ends_alike(self):
        names = 'by_password # and\n"by_md5"\n'
        self.start_with(self.RULES, databases=self.DATABASES, files={"names": names})
        (self.server.data / "names").write_text(names)
        (self.server.data / "pg_hba.conf").write_text(self.RULES)
        self.assertEqual(self.server.execute("select line_number, error from pg_hba_file_rules where error is not null"
                                             " and error not like 'hostssl record cannot match%'"), [])
        self.server.execute("select pg_reload_conf()")
        harness.eventually(lambda: "no pg_hba.conf entry" in refusal("127.0.0.1", self.server.port, "x", "y", ""),
                           "PostgreSQL has read the file")
        outcomes = set()
        for by, user, database, password in itertools.product(("tcp", "unix"), self.USERS, self.DATABASES,
                                                              (PASSWORD, "wrong")):
            with self.subTest(by=by, user=user, database=database, password=password):
                host = "127.0.0.1" if by == "tcp" else str(self.server.directory)
                direct = refusal(host, self.server.port, user, database, password)
                self.assertEqual(self.login(user, database, password, by=by), direct)
                outcomes.add(direct.split(" ")[0])
        # The rules above bring about every kind of end.
        self.assertEqual(outcomes, {"", "no", "pg_hba.conf", "password", "Peer"})


class Reloaded(HbaTest):
    GOOD = "host all app 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"

    def reload(self, **files):
        """Writes the files; what RELOAD on the console says of them: its notices, or the only error."""
        for name, text in files.items():
            (self.files / name).with_suffix(".conf").write_text(text)
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy", PASSWORD)
            return [message.fields()["M"] for message in client.query("reload") if message.tag in "NE"]

    def test_other_lines_count_for_the_next_login(self):
        self.start_with(self.GOOD)
        self.assertEqual(self.login("app"), "")
        client = self.client("app")
        said = self.reload(pg_hba=self.GOOD.replace("scram-sha-256", "reject"))
        self.assertEqual(said, ["auth_hba_file: its lines have changed"])
        self.assertIn("rejects", self.login("app"))
        self.assertEqual(self.login("app2", password=None), "")
        self.assertEqual(client.value("select 1"), "1")
        said = self.reload(pg_hba="# moved\n" + self.GOOD.replace("scram-sha-256", "reject"))
        self.assertEqual(said, ["nothing has changed"])

    def test_another_pattern_or_map_is_a_change(self):
        rules = 'host "/^a" all 127.0.0.1/32 trust\nlocal all all peer map=m\n' + self.GOOD
        self.start_with(rules, f"m {SYSTEM_USER} app\n")
        self.assertEqual(self.reload(pg_hba=rules.replace("/^a", "/^b")), ["auth_hba_file: its lines have changed"])
        self.assertEqual(self.reload(pg_ident=f"m {SYSTEM_USER} app2\n"), ["auth_ident_file: its lines have changed"])
        self.assertEqual(self.login("app2", by="unix", password=None), "")
        self.assertIn("Peer authentication failed", self.login("app", by="unix"))

    def test_bad_lines_are_errors_and_the_lines_from_before_stay(self):
        self.start_with(self.GOOD)
        said = self.reload(pg_hba="host all app 127.0.0.1/32 reject\nhost all all 300.0.0.1/8 trust\nhost all +staff all md5\n")
        self.assertEqual(len(said), 1)
        self.assertIn(f"{self.files}/pg_hba.conf:2: ", said[0])
        for number in (2, 3):
            self.assertIn(f"{self.files}/pg_hba.conf:{number}: ", self.pooler.log_text())
        self.assertEqual(self.login("app"), "")
        self.assertIn("password authentication failed", self.login("app", password="wrong"))


class BadFiles(HbaTest):
    def assert_refused_at_start(self):
        """A start and --check with the files as they are now both fail; returns what is said."""
        for arguments in ([PROGRAM, "--check"], [PROGRAM]):
            result = subprocess.run([*arguments, str(self.pooler.ini)], capture_output=True, text=True, check=False,
                                    timeout=harness.PATIENCE_SECONDS, **harness.RUN_AS)
            self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        return result.stderr

    def test_all_bad_lines_are_errors_at_start_with_their_places(self):
        self.start_with("local all all trust\n")
        (self.files / "pg_hba.conf").write_text("local all all trust\nhost all all 300.0.0.1/8 md5\n\nhost all +staff all md5\n"
                             "host all all all ldap\ninclude none.conf\nlocal all all\nlocal all all peer map=m\n")
        text = self.assert_refused_at_start()
        for number in (2, 4, 5, 6, 7, 8):
            self.assertIn(f"{self.files}/pg_hba.conf:{number}: ", text)
        self.assertNotIn("pg_hba.conf:1:", text)
        self.assertIn("6 problem(s)", text)

    def test_a_bad_ident_file_is_an_error_too(self):
        self.start_with("local all all peer map=m\n", f"m {SYSTEM_USER} app\n")
        (self.files / "pg_ident.conf").write_text("m joe\nm /( app\n")
        text = self.assert_refused_at_start()
        for number in (1, 2):
            self.assertIn(f"{self.files}/pg_ident.conf:{number}: ", text)

    def test_cert_wants_verified_clients(self):
        self.pooler = self.start_pooler()
        self.pooler.settings["auth_type"] = "cert"
        self.pooler.write_ini()
        self.assertIn("client_tls_sslmode = verify-full", self.assert_refused_at_start())


if __name__ == "__main__":
    unittest.main(verbosity=2)
