"""Lines of an HBA file for TLS: hostssl, certificates, and users whom auth_query finds."""

import unittest

import harness
import raw
from certificates import Certificates
from harness import PASSWORD
from hba_test import HbaTest
from tls_clients_test import as_who_runs_the_test


class HbaOverTls(HbaTest):
    def setUp(self):
        super().setUp()
        self.certificates = Certificates.shared()

    def start_with(self, hba, *args, mode="prefer", **settings):
        return super().start_with(hba, *args, **self.certificates.for_clients(mode, ca=self.certificates.root),
                                  **settings)

    def answer(self, user="app", pair=None, sslmode="require", password=PASSWORD, **options):
        """"" when libpq gets in, else what it is told."""
        if pair is not None:
            certificate, key = pair
            options |= {"sslcert": str(as_who_runs_the_test(certificate)), "sslkey": str(as_who_runs_the_test(key))}
        else:
            options |= {"sslcert": "/nowhere"}
        try:
            self.pooler.connect(user, password=password, sslmode=sslmode, **options).close()
        except harness.psycopg.OperationalError as error:
            return str(error)
        return ""

    def test_hostssl_and_hostnossl(self):
        self.start_with("hostssl test app 127.0.0.1/32 scram-sha-256\nhostnossl test app2 127.0.0.1/32 scram-sha-256\n")
        self.assertEqual(self.answer("app"), "")
        self.assertIn("no encryption", self.answer("app", sslmode="disable"))
        self.assertIn("SSL encryption", self.answer("app2"))
        self.assertEqual(self.answer("app2", sslmode="disable"), "")

    def test_a_certificate_instead_of_a_password(self):
        self.start_with("hostssl all all 127.0.0.1/32 cert\n")
        self.assertEqual(self.answer("app", self.certificates.app, password=""), "")
        self.assertIn('certificate authentication failed for user "app2"',
                      self.answer("app2", self.certificates.app, password=""))
        self.assertNotEqual(self.answer("app", None, password=""), "")
        self.assertNotEqual(self.answer("app", self.certificates.false_app, password=""), "")

    def test_a_certificate_that_a_map_gives_other_names(self):
        self.start_with("hostssl all all 127.0.0.1/32 cert map=m\n", "m app app2\nm /^(.*)p$ \\1p_there\n")
        self.assertEqual(self.answer("app2", self.certificates.app, password=""), "")
        self.assertNotEqual(self.answer("app", self.certificates.app, password=""), "")

    def test_a_certificate_beside_a_password(self):
        self.start_with("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n")
        self.assertEqual(self.answer("app", self.certificates.app), "")
        self.assertIn("password authentication failed", self.answer("app", self.certificates.app, password="wrong"))
        self.assertNotEqual(self.answer("app2", self.certificates.app), "")
        self.assertNotEqual(self.answer("app", None), "")

    def test_auth_type_cert(self):
        self.start_with("", mode="verify-full", auth_type="cert", auth_hba_file=None)
        self.assertEqual(self.answer("app", self.certificates.app, password=""), "")
        self.assertNotEqual(self.answer("app2", self.certificates.app, password=""), "")

    def test_a_line_for_users_whom_auth_query_finds(self):
        if not self.cluster.execute("select 1 from pg_roles where rolname = 'looker'"):
            self.cluster.execute(f"create role looker superuser login password '{PASSWORD}'; "
                                 f"create role looked_up login password '{PASSWORD}'")
        self.secrets = {"looker": PASSWORD}
        self.start_with("hostssl all looked_up 127.0.0.1/32 scram-sha-256\n"
                        "host all all 127.0.0.1/32 reject\n", auth_user="looker")
        self.assertEqual(self.answer("looked_up", channel_binding="require"), "")
        self.assertIn("password authentication failed", self.answer("looked_up", password="wrong"))
        self.assertIn("rejects connection", self.answer("looked_up", sslmode="disable"))
        self.assertIn("rejects connection", self.answer("not_there"))
        with raw.RawClient(self.pooler.address()) as client:
            self.assertEqual(client.login("not_there", "test", PASSWORD)[-1].tag, "E")


del HbaTest

if __name__ == "__main__":
    unittest.main(verbosity=2)
