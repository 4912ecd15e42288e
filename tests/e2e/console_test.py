"""The console: PgBouncer's columns in PgBouncer's order, with numbers that are true."""

import os
import signal
import socket
import subprocess
import unittest

import harness
import raw

CONNECTIONS = ("type user database replication state addr port local_addr local_port connect_time request_time wait"
           " wait_us close_needed ptr link remote_pid tls application_name prepared_statements id").split()
SOCKETS = CONNECTIONS + "recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail".split()
COLUMNS = {
    "version": ["version"],
    "pools": ("database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active"
              " sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode"
              " load_balance_hosts").split(),
    "clients": CONNECTIONS,
    "servers": CONNECTIONS,
    "stats": ["database"] + [f"{prefix}_{name}" for prefix, names in (
        ("total", "server_assignment_count xact_count query_count received sent xact_time query_time wait_time"
                  " client_parse_count server_parse_count bind_count"),
        ("avg", "server_assignment_count xact_count query_count recv sent xact_time query_time wait_time"
                " client_parse_count server_parse_count bind_count")) for name in names.split()],
    "config": ["key", "value", "default", "changeable"],
    "lists": ["list", "items"],
    "sockets": SOCKETS,
    "active_sockets": SOCKETS,
    "databases": ("name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode"
                  " load_balance_hosts max_connections current_connections max_client_connections"
                  " current_client_connections paused disabled").split(),
    "users": ("name pool_size reserve_pool_size pool_mode max_user_connections current_connections"
              " max_user_client_connections current_client_connections").split(),
    "mem": "name size used free memtotal".split(),
    "state": ["key", "value"],
    "fds": ("fd task user database addr port cancel link client_encoding std_strings datestyle timezone password"
            " scram_client_key scram_server_key").split(),
}
EMPTY = {
    "dns_hosts": ["hostname", "ttl", "addrs"],
    "dns_zones": ["zonename", "serial", "count"],
    "peers": ["peer_id", "host", "port", "pool_size"],
    "peer_pools": ["peer_id", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel", "sv_login"],
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

    def test_what_is_not_kept_is_an_empty_table(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy")
            for command, wanted in EMPTY.items():
                reply = client.query(f"show {command}")
                self.assertEqual(raw.tags(reply), "TCZ")
                self.assertEqual(harness.columns(reply[0]), wanted)

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

    def test_databases_and_users_have_their_limits_and_counts(self):
        pooler = self.start_pooler({"max_db_connections": 7, "max_user_client_connections": 9}, databases={
            "other": "host=10.9.8.7,10.9.8.6 port=6000 dbname=real user=app pool_size=2 pool_mode=session routing=off"}, users={
            "app": "pool_size=4"})
        with pooler.raw() as client:
            client.query("begin")
            test, = pooler.console("show databases where name = 'test'")
            self.assertEqual((test["host"], test["port"], test["database"]), ("127.0.0.1", str(self.cluster.port), "test"))
            self.assertEqual((test["force_user"], test["pool_mode"], test["max_connections"]), (None, None, "7"))
            self.assertEqual((test["current_connections"], test["current_client_connections"]), ("1", "1"))
            other, = pooler.console("show databases where name = other")
            self.assertEqual((other["host"], other["port"], other["database"]), ("10.9.8.7,10.9.8.6", "6000", "real"))
            self.assertEqual((other["force_user"], other["pool_mode"]), ("app", "session"))
            self.assertEqual(other["load_balance_hosts"], "round-robin")
            user, = pooler.console("show users where name = app")
            self.assertEqual((user["pool_size"], user["reserve_pool_size"], user["pool_mode"]), ("        4", "", ""))
            self.assertEqual((user["max_user_client_connections"], user["current_connections"]), ("9", "1"))
            self.assertEqual(user["current_client_connections"], "1")

    def test_sockets_and_descriptors(self):
        client = self.client(application_name="tagged")
        client.query("begin; set local timezone = 'Asia/Tokyo'")
        row, = self.pooler.console("show sockets where application_name = tagged and type = C")
        self.assertEqual((row["state"], row["pkt_avail"], row["send_avail"]), ("cl_active", "0", "0"))
        self.assertIn("sv_active", [row["state"] for row in self.pooler.console("show active_sockets")])
        by_task = {row["task"]: row for row in self.pooler.console("show fds where database = test")}
        self.assertEqual(by_task["client"]["link"], by_task["server"]["fd"])
        self.assertEqual(by_task["client"]["client_encoding"], "UTF8")
        for row in by_task.values():
            self.assertTrue(os.path.exists(f"/proc/{self.pooler.process.pid}/fd/{row['fd']}"), row)
            self.assertEqual({row[name] for name in ("cancel", "password", "scram_client_key", "scram_server_key")}, {None})

    def test_waits_say_who_waits_for_what(self):
        self.fill_pool()
        self.assertEqual(self.pooler.console("show waits"), [])
        waiter = self.client(application_name="patient")
        waiter.send(raw.query("select 1"))
        row, = harness.eventually(lambda: self.pooler.console("show waits"), "a client waits")
        self.assertEqual((row["database"], row["user"], row["application_name"]), ("test", "app", "patient"))
        self.assertEqual((row["waits_for"], row["detail"]), ("capacity limit", "pool_size"))
        client, = self.pooler.console("show clients where application_name = patient")
        self.assertEqual(row["client_id"], client["id"])

    def test_waits_for_a_server_that_is_being_recovered(self):
        pooler = self.start_pooler({"auto_recover": 1, "max_attempts": 1000, "attempt_interval": 30,
                                    "while_recovering": "queue"}, databases={"gone": f"host=127.0.0.1 port={harness.free_port()}"})
        with raw.RawClient(pooler.address()) as client:
            client.send(raw.startup_packet(user="app", database="gone"))
            row, = harness.eventually(lambda: pooler.console("show waits where waits_for = 'recovering server'"), "it waits")
            self.assertIn("recovering", row["detail"])

    def test_waits_for_a_connection_that_is_being_opened(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            pooler = self.start_pooler(databases={"slow": f"host=127.0.0.1 port={silent.getsockname()[1]}"})
            with raw.RawClient(pooler.address()) as client:
                client.send(raw.startup_packet(user="app", database="slow"))
                row, = harness.eventually(lambda: pooler.console("show waits"), "it waits")
                self.assertEqual((row["waits_for"], row["detail"]), ("connection", "one is being opened"))

    def test_waits_for_its_settings_to_be_replayed(self):
        pooler = self.start_pooler({"default_pool_size": 1})
        with pooler.raw() as traveller, pooler.raw() as other:
            traveller.query("set timezone = 'Asia/Tokyo'")
            other.query("select 1")
            server, = pooler.console("show servers")
            pid = int(server["remote_pid"])
            os.kill(pid, signal.SIGSTOP)
            try:
                traveller.send(raw.query("show timezone"))
                row, = harness.eventually(lambda: pooler.console("show waits where waits_for = replay"), "it is replayed")
                self.assertEqual(row["detail"], f"its settings on server {server['id']}")
            finally:
                os.kill(pid, signal.SIGCONT)
            self.assertEqual(raw.rows(traveller.read_until("Z")), [("Asia/Tokyo",)])

    def test_waits_for_resume(self):
        waiter = self.client(application_name="patient")
        operator = self.client("admin", "pgproxy")
        operator.query("pause")
        self.assertEqual([row["value"] for row in self.pooler.console("show state")], ["no", "yes", "no"])
        waiter.send(raw.query("select 1"))
        row, = harness.eventually(lambda: self.pooler.console("show waits"), "a client waits")
        self.assertEqual((row["application_name"], row["waits_for"]), ("patient", "paused"))
        operator.query("resume")
        self.assertEqual(raw.rows(waiter.read_until("Z")), [("1",)])

    def test_a_console_has_its_application_name(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy", application_name="exporter")
            row, = self.pooler.console("show clients where application_name = exporter")
            self.assertEqual((row["user"], row["database"]), ("admin", "pgproxy"))

    def test_errors_of_ours_are_remembered(self):
        self.assert_refused("3D000", database="nowhere")
        pooler = self.start_pooler({"query_wait_timeout": 0.1})
        holders = [pooler.raw() for _ in range(3)]
        for holder in holders:
            holder.query("begin")
            self.addCleanup(holder.close)
        with pooler.raw() as waiter:
            self.assert_sqlstate(waiter.send(raw.query("select 1")).read_to_end(), "53300")
        holders[0].query("select 1 / 0")  # PostgreSQL's own
        row, = pooler.console("show errors")
        self.assertEqual((row["database"], row["user"], row["sqlstate"]), ("test", "app", "53300"))
        self.assertIn("query_wait_timeout", row["message"])
        self.assertIn("default_pool_size", row["hint"])
        row, = self.pooler.console("show errors")
        self.assertEqual((row["database"], row["sqlstate"], row["addr"][:10]), ("nowhere", "3D000", "127.0.0.1:"))

    def test_errors_are_the_last_hundred(self):
        for number in range(103):
            with raw.RawClient(self.pooler.address()) as client:
                client.login("app", f"nowhere{number}")
        rows = self.pooler.console("show errors")
        self.assertEqual([row["database"] for row in rows], [f"nowhere{number}" for number in range(102, 2, -1)])

    def test_what_may_change_things_is_not_for_stats_users(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("stats", "pgproxy")
            for command in ("kill_client 1", "pause", "shutdown", "set verbose = 2", "reload", "show fds"):
                with self.subTest(command):
                    error = self.assert_sqlstate(client.query(command), "42501")
                    self.assertEqual(error["M"], "admin access needed")
            self.assertEqual(raw.tags(client.query("show state")), "TDDDCZ")

    def test_any_name_may_look_with_auth_type_any(self):
        pooler = self.start_pooler({"auth_type": "any"}, databases={"test": f"host=127.0.0.1 port={self.cluster.port} user=app"})
        self.assertEqual(len(pooler.console("show state", user="whoever")), 3)
        with self.assertRaisesRegex(AssertionError, "admin access needed"):
            pooler.console("show fds", user="whoever")
        pooler.console("show fds", user="admin")

    def test_its_owner_needs_no_password(self):
        pooler = self.start_pooler({"auth_type": "scram-sha-256"})
        for user, database in (("pgbouncer", "pgbouncer"), ("pgproxy", "pgproxy")):
            address = f"host={pooler.directory} port={pooler.port} user={user} dbname={database}"
            shown = subprocess.run(["psql", "-X", "-At", "-w", address, "-c", "show state", "-c", "show fds"], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, check=False, **harness.RUN_AS)
            self.assertEqual(shown.returncode, 0, shown.stdout)
            self.assertTrue(shown.stdout.startswith("active|yes\npaused|no\nsuspended|no\n"), shown.stdout)
        with raw.RawClient(pooler.address()) as client:  # not over TCP
            self.assertEqual(client.login("pgbouncer", "pgbouncer", "wrong")[-1].tag, "E")

    @unittest.skipUnless(harness.RUN_AS, "pgproxy runs as whoever runs the test")
    def test_others_on_the_machine_do(self):
        pooler = self.start_pooler({"auth_type": "scram-sha-256"})
        with raw.RawClient(f"{pooler.directory}/.s.PGSQL.{pooler.port}") as client:
            self.assertEqual(client.login("pgbouncer", "pgbouncer", "wrong")[-1].tag, "E")

    def test_psql_shows_help_in_lines(self):
        address = f"host=127.0.0.1 port={self.pooler.port} user=admin dbname=pgproxy"
        shown = subprocess.run(["psql", "-X", address, "-c", "show help"], check=True, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True).stdout
        self.assertIn("NOTICE:  Console usage", shown)
        self.assertRegex(shown, r"\n SHOW WAITS +\| stats +\| clients that wait")


if __name__ == "__main__":
    unittest.main(verbosity=2)
