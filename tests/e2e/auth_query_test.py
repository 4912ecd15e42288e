"""Users whom auth_file does not have: auth_query asks a server for them."""

import threading
import unittest
import unittest.mock

import harness
import psycopg
import raw
from harness import PASSWORD

LOOKUP = """
create or replace function public.find_user(name text) returns table (username text, secret text)
language sql security definer set search_path = pg_catalog as
$$ select rolname::text, rolpassword from pg_authid where rolname = name and rolcanlogin $$;
"""


class AuthQuery(harness.PoolerTest):
    auto_start = False
    settings = {"auth_type": "scram-sha-256", "auth_user": "looker", "server_login_retry": 0.1,
                "client_login_timeout": 20}
    roles = {"looker": "superuser", "looked_up": "", "expired": "valid until '2001-01-01'",
             "valid": "valid until 'infinity'", "nologin_role": ""}

    def setUp(self):
        super().setUp()
        for role, options in self.roles.items():
            if not self.cluster.execute("select 1 from pg_roles where rolname = %s", [role]):
                self.cluster.execute(f"create role {role} login password '{PASSWORD}' {options}")
        self.cluster.execute(f"alter role looked_up password '{PASSWORD}'; alter role nologin_role nologin")
        self.cluster.execute(LOOKUP, database="test")
        self.secrets = {"looker": PASSWORD}
        self.databases = {"test": f"host=127.0.0.1 port={self.cluster.port}"}

    def begin(self, **settings):
        self.pooler = self.start_pooler(settings)

    def questions(self):
        """Backends of auth_user: those of auth_query."""
        return self.cluster.execute("select count(*) from pg_stat_activity where usename = 'looker'")[0][0]

    def assert_logs_in(self, user="looked_up", database="test"):
        connection = self.connect(user, database)
        self.assertEqual(connection.execute("select current_user").fetchone(), (user,))

    def test_a_user_of_the_servers_logs_in_on_both_sides(self):
        for auth_type in ("scram-sha-256", "md5", "plain"):
            with self.subTest(auth_type=auth_type):
                self.begin(auth_type=auth_type)
                self.assert_logs_in()
                self.assert_logs_in("valid")
                self.assertEqual(self.questions(), 1)
                self.finish(self.pooler)

    def test_wrong_passwords_unknown_expired_and_nologin_users_look_alike(self):
        self.begin()
        replies = []
        for user in ("looked_up", "not_there", "expired", "nologin_role", "looker'; drop table x; --"):
            with raw.RawClient(self.pooler.address()) as client:
                password = "wrong" if user == "looked_up" else PASSWORD
                reply = client.login(user, "test", password)
                self.assertEqual(raw.error(reply)["C"], "28P01", user)
                replies.append(([message.tag for message in reply], raw.error(reply)["M"].replace(user, "")))
        self.assertEqual(len({repr(reply) for reply in replies}), 1, replies)

    def test_a_stranger_does_not_become_auth_user(self):
        self.begin()
        self.assert_refused("28P01", user="looker", password="")
        self.assert_refused("28P01", user="not_there", password=PASSWORD)

    def test_nothing_of_the_client_reaches_the_question(self):
        """CVE-2025-12819: a search_path of the client's would find another pg_authid."""
        self.begin(auth_query="SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1")
        self.cluster.execute("create schema if not exists evil; create table if not exists evil.pg_authid "
                             "as select 'looked_up'::name rolname, 'stolen'::text rolpassword; "
                             "grant usage on schema evil to public; grant select on evil.pg_authid to public",
                             database="test")
        self.assert_refused("28P01", user="looked_up", password="stolen", search_path="evil")
        self.assert_refused("28P01", user="looked_up", password="stolen", options="-c search_path=evil")
        self.cluster.execute("alter role looker set search_path = evil, pg_catalog")  # nor what the role has of its own
        self.addCleanup(self.cluster.execute, "alter role looker reset search_path")
        self.cluster.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'looker'")
        self.assert_refused("28P01", user="looked_up", password="stolen")
        self.assert_logs_in()

    def test_settings_of_the_database_entry_go_first(self):
        self.databases = {"test": f"host=127.0.0.1 port={self.cluster.port} auth_user=by_md5_looker",
                          "there": f"host=127.0.0.1 port={self.cluster.port} dbname=test auth_user=looker "
                                   "auth_dbname=other auth_query='select * from find_user($1)'",
                          "other": f"host=127.0.0.1 port={self.cluster.port} dbname=test"}
        self.begin()
        self.assert_logs_in(database="there")
        fields = self.assert_refused("08006", user="looked_up", database="test")
        self.assertIn("could not be looked up", fields["M"])
        self.assertIn("auth_query for user \"looked_up\" in \"test\" failed", self.pooler.log_text())

    def test_a_query_that_is_not_fit_is_told_in_the_log_only(self):
        for sql, word in (("select 1/0, $1", "division by zero"), ("select $1::text", "1 rows of 1 columns"),
                          ("select rolname, 'x' from pg_roles where $1 <> ''", "rows of 2 columns"),
                          ("select * from no_such_function($1)", "no_such_function")):
            with self.subTest(sql=sql):
                self.begin(auth_query=sql)
                fields = self.assert_refused("08006", user="looked_up")
                self.assertNotIn(word, repr(fields))
                self.assertIn(word, self.pooler.log_text())

    def test_an_auth_user_that_cannot_log_in_is_told_in_the_log_with_what_to_do(self):
        for secret, hint in ((self.cluster.secret_of("looker"), "but what recognises it: give the password itself"),
                             ("wrong", 'Set the line of auth_user "looker" in auth_file'),
                             ("", 'Give auth_user "looker" a line with its password in auth_file')):
            with self.subTest(secret=secret):
                self.secrets = {"looker": secret}
                self.begin()
                self.assert_refused("08006", user="looked_up")
                self.assertIn(hint, self.pooler.log_text())
                self.finish(self.pooler)

    def test_a_row_of_another_user_is_no_answer(self):
        self.begin(auth_query="select 'looker', rolpassword from pg_authid where rolname = $1")
        self.assert_refused("28P01", user="looked_up")

    def test_a_changed_password_counts_at_once(self):
        self.begin()
        self.assert_logs_in()
        self.cluster.execute("alter role looked_up password 'changed'")
        self.assert_refused("28P01", user="looked_up")
        connection = self.connect("looked_up", password="changed")
        self.assertEqual(connection.execute("select current_user").fetchone(), ("looked_up",))

    def test_an_answer_is_used_for_auth_query_ttl(self):
        self.begin(auth_query_ttl=1000)
        self.assert_logs_in()
        self.cluster.execute("alter role looked_up password 'changed'")
        with raw.RawClient(self.pooler.address()) as client:
            client.login("looked_up", "test", PASSWORD)  # the old one is still right
        self.assert_refused("28P01", user="looked_up", password="changed")

    def test_an_answer_is_that_of_its_own_query(self):
        place = f"host=127.0.0.1 port={self.cluster.port} dbname=test auth_dbname=test"
        self.databases |= {"all": place, "none": f"{place} auth_query='select $1::text, null'"}
        self.begin(auth_query_ttl=1000)
        self.assert_logs_in(database="all")
        self.assert_refused("28P01", user="looked_up", database="none")
        self.assert_logs_in(database="all")

    def test_many_logins_at_once(self):
        self.begin(max_client_conn=300)
        failures = []

        def log_in(user):
            try:
                with self.pooler.connect(user) as connection:
                    assert connection.execute("select current_user").fetchone() == (user,)
            except (psycopg.Error, AssertionError) as error:
                failures.append(error)
        threads = [threading.Thread(target=log_in, args=(user,)) for user in ("looked_up", "valid") * 40]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertLessEqual(self.questions(), 1)

    def test_the_server_comes_back(self):
        proxy = self.start_fault_proxy()
        self.databases = {"test": f"host=127.0.0.1 port={proxy.port}"}
        self.begin()
        self.assert_logs_in()
        self.cluster.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'looker'")
        harness.eventually(lambda: self.questions() == 0, "the connection is gone")
        self.assert_logs_in("valid")

    def test_a_server_that_does_not_answer(self):
        self.databases = {"test": "host=127.0.0.1 port=1"}
        self.begin()
        self.assert_refused("08006", user="looked_up")
        self.databases = {"test": "host=/no/such/directory"}  # fails at once
        self.begin()
        for _ in range(2):
            self.assert_refused("08006", user="looked_up")
        self.databases = {"test": "host=no-such-host.invalid"}
        self.begin()
        self.assert_refused("08006", user="looked_up")
        self.assertIn("no-such-host.invalid", self.pooler.log_text())

    def test_a_name_of_several_addresses(self):
        self.databases = {"test": f"host=localhost port={self.cluster.port}"}
        self.begin()
        self.assert_logs_in()

    def test_a_client_that_leaves_while_it_is_looked_up(self):
        self.begin(auth_query="select rolname, rolpassword from pg_authid, pg_sleep(0.3) where rolname = $1")
        for _ in range(5):
            client = raw.RawClient(self.pooler.address())
            client.send(raw.startup_packet(user="looked_up", database="test"))
            client.vanish()
        self.assert_logs_in()

    def test_an_unknown_database(self):
        self.begin(auth_dbname="test")
        self.assert_refused("3D000", user="looked_up", database="no_such")
        self.assert_refused("28P01", user="looked_up", database="no_such", password="wrong")

    def test_a_database_of_the_star_that_the_server_has_not_does_not_show(self):
        self.databases = {"*": f"host=127.0.0.1 port={self.cluster.port}"}
        self.begin()
        self.assert_logs_in(database="test")
        replies = set()
        for user, database in (("looked_up", "test"), ("looked_up", "no_such"), ("not_there", "no_such"),
                               ("looked_up", "pgproxy"), ("looked_up", "d" * 200), ("u" * 200, "test")):
            with raw.RawClient(self.pooler.address()) as client:
                reply = client.login(user, database, "wrong")
                message = raw.error(reply)["M"].replace(user, "")
                replies.add((raw.tags(reply), raw.error(reply)["C"], message))
        self.assertEqual(len(replies), 1, replies)
        self.assert_refused("28P01", user="looked_up", database="no_such")
        self.assertIn('auth_query for user "looked_up" in "no_such" failed', self.pooler.log_text())

    def test_an_administrator_whom_the_server_knows(self):
        self.begin(auth_dbname="test", admin_users="looked_up")
        with raw.RawClient(self.pooler.address()) as client:
            self.assertEqual(client.login("looked_up", "pgproxy", PASSWORD)[-1].tag, "Z")
        self.assert_refused("28P01", user="looked_up", database="pgproxy", password="wrong")

    def test_a_line_of_an_hba_file_for_users_who_are_looked_up(self):
        hba = harness.scratch_directory() / "pg_hba.conf"
        hba.write_text("host all looked_up 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 reject\n")
        self.begin(auth_type="hba", auth_hba_file=hba)
        self.assert_logs_in()
        self.assert_refused("28P01", user="looked_up", password="wrong")
        self.assert_refused("28000", user="valid")
        self.assert_refused("28000", user="not_there")

    def test_the_environment_plays_no_part(self):
        environment = {"PGHOST": "nowhere", "PGOPTIONS": "-c no.such=1 -c log_statement=wrong", "PGSSLMODE": "verify-full",
                       "PGSERVICE": "none", "PGPASSWORD": "wrong", "PGDATABASE": "none", "PGUSER": "nobody"}
        with unittest.mock.patch.dict("os.environ", environment):
            self.begin()
        self.assert_logs_in()


if __name__ == "__main__":
    unittest.main(verbosity=2)
