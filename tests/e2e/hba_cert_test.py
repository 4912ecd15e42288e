"""Lines of auth_hba_file that ask for a certificate, and auth_type = cert; PostgreSQL beside it."""

import itertools
import ssl
import unittest

import harness
import raw
from certificates import Certificates
from harness import PASSWORD
from hba_test import HbaTest, refusal
from tls_clients_test import RawTls, as_who_runs_the_test, trusting


class CertificateTest(HbaTest):
    @classmethod
    def setUpClass(cls):
        cls.certificates = Certificates.shared()
        authority = cls.certificates.authority
        cls.pairs = {"app": cls.certificates.app, "false_app": cls.certificates.false_app,
                     "mail": authority.sign("mail", "app2@example.com"),
                     "by_san": authority.sign("by_san", "somebody", "DNS:app2,DNS:*,DNS:app.example"),
                     "stranger": authority.sign("unlisted", "unlisted")}
        cls.client_files = {name: {"sslcert": str(as_who_runs_the_test(certificate)),
                                   "sslkey": str(as_who_runs_the_test(key))}
                            for name, (certificate, key) in cls.pairs.items()}

    def start_with(self, hba, ident=None, sslmode="allow", **options):
        tls = self.certificates.for_clients(sslmode, ca=self.certificates.root)
        return super().start_with(hba, ident, **(tls | options))

    def with_certificate(self, name, sslmode="require"):
        """Options for libpq."""
        none = {"sslcert": "/nonexistent", "sslkey": "/nonexistent"}
        return {"sslmode": sslmode} | self.client_files.get(name, none)


class Cert(CertificateTest):
    RULES = "hostssl strict all all cert clientname=CN\nhostssl all all all cert\nhost all all all scram-sha-256\n"

    def test_the_name_in_the_certificate_is_the_user(self):
        self.start_with(self.RULES)
        for password in (None, "wrong"):
            self.assertEqual(self.login("app", password=password, **self.with_certificate("app")), "")
        for user in ("app2", "nobody_at_all"):
            self.assertEqual(self.login(user, **self.with_certificate("app")),
                             f'certificate authentication failed for user "{user}"')
        self.assertEqual(self.login("app", **self.with_certificate(None)), "connection requires a valid client certificate")
        self.assertEqual(self.login("app", **self.with_certificate("false_app")), "TLS")
        self.assertEqual(self.login("app"), "")  # the line behind: no TLS, a password

    def test_a_name_of_the_subject_alternative_names_counts_as_a_whole(self):
        self.start_with(self.RULES, databases=("test", "strict"))
        self.assertEqual(self.login("app2", password=None, **self.with_certificate("by_san")), "")
        self.assertIn("certificate authentication failed", self.login("app", **self.with_certificate("by_san")))
        self.assertIn("certificate authentication failed", self.login("app2", "strict", **self.with_certificate("by_san")))

    def test_a_certificate_of_a_user_that_auth_file_has_not_is_refused_as_a_wrong_one(self):
        self.start_with(self.RULES)
        self.assertEqual(self.login("unlisted", **self.with_certificate("stranger")),
                         'certificate authentication failed for user "unlisted"')

    def test_auth_type_cert_does_the_same_without_a_file(self):
        self.start_with("", sslmode="verify-full", auth_type="cert", auth_hba_file=None)
        self.assertEqual(self.login("app", password=None, **self.with_certificate("app")), "")
        self.assertIn("certificate authentication failed", self.login("app2", **self.with_certificate("app")))
        self.assertEqual(self.login("app", **self.with_certificate(None)), "TLS")
        self.assertEqual(self.login("app", by="unix"), "connection requires a valid client certificate")


class Revoked(CertificateTest):
    def resume(self, context, session):
        """Logs in with a ticket; whether the session was resumed."""
        with RawTls(self.pooler.address()) as client:
            client.send(raw.SSL_REQUEST).read_bytes(1)
            client.start_tls(context, session=session)
            self.assertEqual(client.login("app", "test")[-1].tag, "Z")
            return client.socket.session_reused

    def test_a_ticket_from_before_does_not_let_a_revoked_certificate_in(self):
        certificate, key = self.pairs["app"]
        revocations = self.certificates.authority.revoke(self.pairs["app"])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.start_with("hostssl all all all cert\nlocal all all trust\n")
            context = trusting()
            context.maximum_version = version
            context.load_cert_chain(as_who_runs_the_test(certificate), as_who_runs_the_test(key))
            with RawTls(self.pooler.address()).ask_for_tls(context) as client:
                self.assertEqual(client.login("app", "test")[-1].tag, "Z")
                session = client.socket.session
            self.assertTrue(self.resume(context, session))
            self.pooler.settings["client_tls_crl_file"] = revocations
            self.pooler.write_ini()
            with raw.RawClient(f"{self.pooler.directory}/.s.PGSQL.{self.pooler.port}") as console:
                console.login("admin", "pgproxy")
                console.query("reload")
            with self.assertRaises((ssl.SSLError, ConnectionError, raw.Closed)):
                self.resume(context, session)
            harness.eventually(lambda: "certificate revoked" in self.pooler.log_text(), "the log tells why")


class AsPostgresql(CertificateTest):
    """The same rules and certificates: straight to PostgreSQL with TLS, and through pgproxy."""

    DATABASES = ("test", "mapped", "full", "verified", "open")
    RULES = """
local all postgres trust
hostssl test all 127.0.0.1/32 cert
hostssl mapped all 127.0.0.1/32 cert map=m clientname=CN
hostssl full all all scram-sha-256 clientcert=verify-full
hostssl verified all all md5 clientcert=verify-ca
hostnossl open app2 all reject
host open all all scram-sha-256
"""
    IDENT = """
m /^(.*)@example\\.com$ \\1 # mail
m "app" app2
other app app
"""

    def start_postgresql(self):
        server = harness.Cluster()
        self.addCleanup(server.stop)
        for database in self.DATABASES[1:]:
            server.execute(f'create database "{database}"')
        certificate, key = self.certificates.server
        (server.data / "pg_hba.conf").write_text(self.RULES)
        (server.data / "pg_ident.conf").write_text(self.IDENT)
        for name, value in (("ssl_cert_file", certificate), ("ssl_key_file", key),
                            ("ssl_ca_file", self.certificates.root), ("ssl", "on")):
            server.execute(f"alter system set {name} = '{value}'")
        server.execute("select pg_reload_conf()")
        harness.eventually(lambda: "no pg_hba.conf entry" in refusal("127.0.0.1", server.port, "x", "y", ""),
                           "PostgreSQL has read the files")
        return server

    def test_every_login_ends_alike(self):
        server = self.start_postgresql()
        self.start_with(self.RULES, self.IDENT, databases=self.DATABASES)
        outcomes = set()
        logins = itertools.product(self.DATABASES, ("app", "app2"), (None, "app", "mail", "false_app"),
                                   ("disable", "require"), (PASSWORD, "wrong"))
        for database, user, name, sslmode, password in logins:
            with self.subTest(database=database, user=user, certificate=name, sslmode=sslmode, password=password):
                options = self.with_certificate(name, sslmode)
                direct = refusal("127.0.0.1", server.port, user, database, password, **options)
                self.assertEqual(self.login(user, database, password, **options), direct)
                outcomes.add(direct.split(" ")[0])
        self.assertEqual(outcomes, {"", "no", "pg_hba.conf", "password", "certificate", "connection", "TLS"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
