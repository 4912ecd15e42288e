"""The console: PgBouncer's columns in PgBouncer's order, with numbers that are true."""

import unittest

import harness
import raw

SOCKETS = ("type user database replication state addr port local_addr local_port connect_time request_time wait"
           " wait_us close_needed ptr link remote_pid tls application_name prepared_statements id").split()
COLUMNS = {
    "version": ["version"],
    "pools": ("database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active"
              " sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode"
              " load_balance_hosts").split(),
    "clients": SOCKETS,
    "servers": SOCKETS,
    "stats": ["database"] + [f"{prefix}_{name}" for prefix, names in (
        ("total", "server_assignment_count xact_count query_count received sent xact_time query_time wait_time"
                  " client_parse_count server_parse_count bind_count"),
        ("avg", "server_assignment_count xact_count query_count recv sent xact_time query_time wait_time"
                " client_parse_count server_parse_count bind_count")) for name in names.split()],
    "config": ["key", "value", "default", "changeable"],
    "lists": ["list", "items"],
}


class Console(harness.PoolerTest):
    def test_columns(self):
        client = self.client()
        client.query("begin")
        for command, wanted in COLUMNS.items():
            with self.subTest(command):
                columns = list(self.pooler.console(f"show {command}")[0])
                common = [name for name in columns if name in wanted]
                self.assertEqual(common, wanted)
                if command != "stats":  # total_ and avg_ columns of ours end their own groups
                    self.assertEqual(columns[:len(wanted)], wanted)

    def test_pools_count_clients_and_servers(self):
        holders, _ = self.fill_pool(), self.client()
        waiter = self.client()
        waiter.send(raw.query("select 1"))
        self.pooler.wait_for_pool("as it is", cl_active=4, cl_waiting=1, sv_active=3, sv_idle=0)
        for holder in holders:
            holder.query("commit")
        waiter.read_until("Z")
        self.pooler.wait_for_pool("at rest", cl_waiting=0, sv_active=0, sv_idle=3)
        self.assertEqual(self.pooler.pool()["pool_mode"], "transaction")

    def test_servers_are_postgresqls_backends(self):
        self.fill_pool(size=2)
        rows = self.pooler.console("show servers")
        self.assertEqual(sorted(int(row["remote_pid"]) for row in rows), self.cluster.server_pids())
        self.assertEqual({row["state"] for row in rows}, {"active"})
        self.assertEqual({(row["user"], row["database"], row["port"]) for row in rows},
                         {("app", "test", str(self.cluster.port))})

    def test_clients_are_linked_to_their_servers(self):
        self.client(application_name="tagged").query("begin")
        row, = [row for row in self.pooler.console("show clients") if row["application_name"] == "tagged"]
        self.assertEqual((row["state"], row["user"], row["database"], row["tls"]), ("active", "app", "test", ""))
        server, = [server for server in self.pooler.console("show servers") if server["link"] == row["ptr"]]
        self.assertEqual(server["ptr"], row["link"])

    def test_stats_count_what_was_done(self):
        client = self.client()
        before = self.stats()
        for _ in range(10):
            client.query("select 1")
        client.query("begin")
        client.query("select repeat('x', 100000)")
        client.query("commit")
        after = self.stats()
        self.assertEqual(after["total_xact_count"] - before["total_xact_count"], 11)
        self.assertEqual(after["total_query_count"] - before["total_query_count"], 13)
        self.assertGreater(after["total_sent"] - before["total_sent"], 100_000)

    def stats(self):
        row, = [row for row in self.pooler.console("show stats") if row["database"] == "test"]
        return {key: int(value) for key, value in row.items() if key != "database"}

    def test_config_tells_values_and_defaults(self):
        rows = {row["key"]: row for row in self.pooler.console("show config")}
        self.assertEqual(list(rows), sorted(rows))
        self.assertEqual(rows["default_pool_size"]["value"], "3")
        self.assertEqual(rows["pool_mode"]["value"], "transaction")
        self.assertEqual(rows["server_idle_timeout"]["default"], "600")
        self.assertLessEqual({row["changeable"] for row in rows.values()}, {"yes", "no"})
        self.assertNotIn(harness.PASSWORD, str(rows))

    def test_lists(self):
        self.clients(2)
        rows = {row["list"]: int(row["items"]) for row in self.pooler.console("show lists")}
        for name in ("databases", "users", "pools", "used_clients", "free_clients", "used_servers", "free_servers"):
            self.assertIn(name, rows)
        self.assertGreaterEqual(rows["used_clients"], 2)

    def test_words_are_taken_as_pgbouncer_takes_them(self):
        for command in ("SHOW VERSION", "show version;", "  Show   Version ; "):
            self.assertIn("pgproxy", self.pooler.console(command)[0]["version"].lower())

    def test_errors_leave_the_console_open(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy")
            for command in ("nonsense", "show nonsense", "show pools; show pools", "select 1 from x"):
                reply = client.query(command)
                self.assertEqual(raw.tags(reply), "EZ")
                self.assertEqual(raw.error(reply)["S"], "ERROR")
            self.assertEqual(raw.tags(client.query("show version"))[-2:], "CZ")

    def test_both_names_and_only_its_users(self):
        for database in ("pgproxy", "pgbouncer"):
            for user in ("admin", "stats"):
                with raw.RawClient(self.pooler.address()) as client:
                    self.assertEqual(client.login(user, database)[-1].tag, "Z")
                    self.assertEqual(client.query("show pools")[-2].body, b"SHOW\0")
            with raw.RawClient(self.pooler.address()) as client:
                self.assertEqual(client.login("app", database)[-1].tag, "E")

    def test_the_greeting_suits_exporters(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgbouncer")
            self.assertEqual(client.parameters["server_version"], "1.25.2/bouncer")
            self.assertEqual(client.parameters["client_encoding"], "UTF8")

    def test_psycopg_reads_the_console(self):
        with self.connect("admin", "pgbouncer") as connection:
            cursor = connection.cursor()
            cursor.execute("show version")
            self.assertEqual(len(cursor.fetchall()), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
