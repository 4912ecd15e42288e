"""server_settings, init_statements and read_only of an entry, and a second entry as a pool of its own."""

import unittest

import harness
import raw
from raw import query


class EntryTest(harness.PoolerTest):
    auto_start = False

    def start(self, entry, **databases):
        here = f"host=127.0.0.1 port={self.cluster.port} dbname=test"
        self.pooler = self.start_pooler({"attempt_interval": 0.2}, databases={
            "test": f"{here} {entry}"} | {name: f"{here} {more}" for name, more in databases.items()})
        return self.pooler

    def refusal(self):
        with raw.RawClient(self.pooler.address()) as client:
            return raw.error(client.login("app", "test", harness.PASSWORD))


class ServerSettings(EntryTest):
    def test_they_hold_from_the_start_and_reset_goes_back_to_them(self):
        self.start("server_settings='work_mem=77MB, jit=off, search_path=''pg_catalog,public'''")
        client = self.client()
        self.assertEqual(client.value("show work_mem"), "77MB")
        self.assertEqual(client.value("show search_path"), "pg_catalog,public")
        client.query("set work_mem = '5MB'")
        self.assertEqual(client.value("show work_mem"), "5MB")
        self.assertEqual(self.client().value("show work_mem"), "77MB")
        client.query("reset work_mem")
        self.assertEqual(client.value("show work_mem"), "77MB")
        client.query("discard all")
        self.assertEqual(client.value("show work_mem"), "77MB")

    def test_what_the_server_does_not_allow_names_the_entry(self):
        for setting, sqlstate in (("no_such_setting=1", "42704"), ("work_mem=many", "22023"),
                                  ("log_statement=all", "42501")):
            with self.subTest(setting):
                self.start(f"server_settings='{setting}'")
                fields = self.refusal()
                self.assertEqual(fields["C"], sqlstate)
                self.assertIn(setting.split("=", maxsplit=1)[0], fields["M"])
                self.assertIn(f"server_settings of database test, {self.pooler.ini}:2", fields["H"])

    def test_settings_that_are_lost_on_the_way_are_noticed(self):
        """A pooler in between that drops startup parameters: pgproxy with ignore_startup_parameters."""
        behind = self.start_pooler({"ignore_startup_parameters": "work_mem"})
        self.pooler = self.start_pooler({"attempt_interval": 0.2}, databases={
            "test": f"host=127.0.0.1 port={behind.port} server_settings='work_mem=77MB'"})
        fields = self.refusal()
        self.assertIn("server_settings that did not arrive: work_mem", fields["M"])
        self.assertIn(f"{self.pooler.ini}:2", fields["H"])


class InitStatements(EntryTest):
    def test_they_run_before_connect_query_and_again_after_a_reset(self):
        self.start("init_statements='set app.a = 1; set app.b = 2' connect_query='set app.b = 3'")
        client = self.client()
        self.assertEqual(client.rows("select current_setting('app.a'), current_setting('app.b')"), [("1", "3")])

    def test_one_that_fails_costs_the_connection(self):
        self.start("init_statements='select 1; select no_such_column'")
        fields = self.refusal()
        self.assertEqual(fields["C"], "42703")
        self.assertIn("init_statements", fields["M"])
        self.assertIn(f"{self.pooler.ini}:2", fields["H"])
        harness.eventually(lambda: not self.cluster.server_pids(), "the connection is closed")


class AdminPool(EntryTest):
    def test_read_only(self):
        self.start("", reports="read_only=1")
        self.client().query("create table if not exists things (n int)")
        reader = self.client(database="reports")
        self.assert_sqlstate(reader.query("insert into things values (1)"), "25006")
        self.assertEqual(reader.value("select count(*) from things"), "0")
        self.assertIsNotNone(self.client().query("insert into things values (1)"))
        self.assertEqual(reader.value("select count(*) from things"), "1")
        self.client().query("drop table things")

    def test_it_has_its_own_size_timeout_and_memory(self):
        self.start("", reports="pool_size=1 query_timeout=2 server_settings='work_mem=77MB' read_only=1")
        reports = self.clients(2, database="reports")
        self.assertEqual(reports[0].value("show work_mem"), "77MB")
        self.assertEqual(self.client().value("show work_mem"), "4MB")
        reports[0].query("begin")
        reports[1].send(query("select 'waits'"))
        harness.eventually(lambda: any(row["database"] == "reports" and row["cl_waiting"] == "1"
                                       for row in self.pooler.console("show pools")), "it waits")
        # The application does not notice.
        for application in self.clients(3):
            self.assertEqual(application.value("select 'served'"), "served")
        reports[0].query("commit")
        self.assertEqual(raw.rows(reports[1].read_until("Z")), [("waits",)])
        fields = self.assert_sqlstate(reports[1].send(query("select pg_sleep(60)")).read_to_end(), "57014")
        self.assertIn("query_timeout", fields["M"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
