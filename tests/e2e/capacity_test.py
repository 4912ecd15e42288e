"""Whether the pools fit into PostgreSQL: asked at the start and while running, over several instances."""

import pathlib
import re
import subprocess
import threading
import unittest

import harness
import raw
from harness import PASSWORD, PROGRAM

ROOT = pathlib.Path(__file__).parents[2]
CONTROL = {"control_user": "control", "control_password": PASSWORD, "control_dbname": "postgres"}
ENFORCED = CONTROL | {"check": "enforce", "capacity_check_interval": 0.2, "check_interval": 0}


class CapacityTest(harness.PoolerTest):
    """A server of max_connections = 100, 3 of them reserved; roles and databases without limits."""

    auto_start = False

    @classmethod
    def setUpClass(cls):
        cluster = harness.Cluster.shared()
        cluster.execute(f"create role control login password '{PASSWORD}'")
        cluster.execute("grant pg_monitor to control")

    @classmethod
    def tearDownClass(cls):
        harness.Cluster.shared().execute("drop role control")

    def setUp(self):
        super().setUp()
        self.addCleanup(self.reset_limits)

    def reset_limits(self):
        for role in ("app", "control"):
            self.cluster.execute(f"alter role {role} connection limit -1")
        self.cluster.execute("alter database test connection limit -1")

    def entry(self, more="user=app"):
        return {"test": f"host=127.0.0.1 port={self.cluster.port} {more}"}

    def start(self, more="user=app", **settings):
        self.pooler = self.start_pooler(ENFORCED | settings, databases=self.entry(more))
        return self.pooler

    def refusal(self, more="user=app", **settings):
        """What a pgproxy says that does not start."""
        with self.assertRaises(AssertionError) as caught:
            self.start(more, **settings)
        text = str(caught.exception)
        self.assertIn("pgproxy ended with 1", text)
        return text

    def row(self, kind, **columns):
        rows = [row for row in self.pooler.console("show capacity") if row["kind"] == kind]
        return next((row for row in rows if columns.items() <= row.items()), None)

    def health(self, kind):
        return [row for row in self.pooler.console("show health") if row["kind"] == kind]


class TwoServers(CapacityTest):
    """Beside it, one of max_connections = 20."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.small = harness.Cluster()
        cls.small.execute(f"create role control login password '{PASSWORD}'")
        cls.small.execute("grant pg_monitor to control")
        cls.small.execute("alter system set max_connections = 20")
        cls.small.stop()
        cls.small.start()

    @classmethod
    def tearDownClass(cls):
        cls.small.stop()
        super().tearDownClass()

    def entries(self, large, small):
        return self.entry(f"user=app pool_size={large}") | {
            "small": f"host=127.0.0.1 port={self.small.port} dbname=test user=app pool_size={small}"}

    def test_each_is_judged_by_itself_also_on_reload(self):
        with self.assertRaises(AssertionError) as caught:
            self.start_pooler(ENFORCED, databases=self.entries(30, 13))
        refusal = str(caught.exception)
        self.assertIn(f"server 127.0.0.1:{self.small.port} has no room", refusal)
        self.assertIn("(max_connections 20 - superuser_reserved_connections 3) * safety_margin 0.8 = 13", refusal)
        self.assertIn(f"server 127.0.0.1:{self.cluster.port} fits", refusal)
        self.pooler = self.start_pooler(ENFORCED, databases=self.entries(30, 12))
        allowed = {row["name"]: row["allowed"] for row in self.pooler.console("show capacity") if row["kind"] == "server"}
        self.assertEqual(allowed, {f"127.0.0.1:{self.cluster.port}": "77", f"127.0.0.1:{self.small.port}": "13"})
        for size, code in ((20, "E"), (6, "C")):  # what the other one has room for
            self.pooler.databases = self.entries(40, size)
            self.pooler.write_ini()
            with raw.RawClient(self.pooler.address()) as console:
                console.login("admin", harness.SECTION, PASSWORD)
                reply = console.query("reload")
            self.assertEqual(reply[-2].tag, code)
            sizes = {row["database"]: row["pool_size"] for row in self.pooler.console("show pools")}
            self.assertEqual(sizes.get("small"), "12" if code == "E" else "6")
        self.assertEqual(self.client(database="small").value("select 1"), "1")


class Start(CapacityTest):
    def test_pools_that_fit_are_started_with_the_arithmetic(self):
        self.start("user=app pool_size=20 reserve_pool_size=5")
        row = self.row("server")
        self.assertEqual((row["state"], row["planned"], row["allowed"]), ("fits", "26", "77"))
        self.assertIn("(max_connections 100 - superuser_reserved_connections 3) * safety_margin 0.8 = 77", row["arithmetic"])
        self.assertIn("20 + reserve 5", row["arithmetic"])
        self.assertIn("capacity: server 127.0.0.1", self.pooler.log_text())
        self.assertEqual(self.client().value("select 1"), "1")

    def test_pools_that_do_not_fit_are_refused_and_the_hint_helps(self):
        text = self.refusal("user=app pool_size=40", instances=2)
        self.assertIn("= 41; * 2 instances = 82; allowed: (max_connections 100", text)
        size = re.search(r"pools of (\d+) with their reserve would fit", text).group(1)
        self.start(f"user=app pool_size={size}", instances=2)
        self.refusal(f"user=app pool_size={int(size) + 1}", instances=2)

    def test_it_proposes_what_was_measured(self):
        self.start()
        client = self.client()

        def proposal():
            client.query("select 1")
            return self.row("pool", name="test/app")["measured"]
        self.assertRegex(harness.eventually(proposal, "a load was measured"), r"expected_rps = \d+, mean_transaction_ms = ")

    def test_report_starts_all_the_same_and_says_so(self):
        self.start("user=app pool_size=200", check="report")
        self.assertEqual(self.row("server")["state"], "too_small")
        self.assertIn("is too_small", self.pooler.log_text())
        self.assertEqual([row["state"] for row in self.health("capacity")], ["too_small"])
        self.assertEqual(self.client().value("select 1"), "1")

    def test_limits_of_roles_and_databases_count(self):
        self.cluster.execute("alter role app connection limit 20")
        text = self.refusal("user=app pool_size=20")
        self.assertIn("role app at 127.0.0.1", text)
        self.assertIn("ALTER ROLE app CONNECTION LIMIT 25", text)
        self.cluster.execute("alter role app connection limit 25")
        self.start("user=app pool_size=20")
        self.cluster.execute("alter database test connection limit 24")
        self.assertIn("ALTER DATABASE test CONNECTION LIMIT 25", self.refusal("user=app pool_size=20"))

    def test_a_size_that_is_less_than_the_load_needs_is_refused_and_auto_fits(self):
        load = {"expected_rps": 1000, "mean_transaction_ms": 7}
        text = self.refusal("user=app pool_size=9", **load)
        self.assertIn("1000 transactions/s * 7 ms / 1000 / 0.7 = 10", text)
        self.start("user=app pool_size=auto", **load)
        self.assertEqual(self.row("pool", name="test/app")["planned"], "10")
        self.client()
        self.assertEqual(self.pooler.pool()["pool_size"], 10)

    def test_who_may_not_ask_is_told_what_to_grant(self):
        self.cluster.execute("revoke pg_monitor from control")
        self.addCleanup(self.cluster.execute, "grant pg_monitor to control")
        self.assertIn("GRANT pg_monitor TO control", self.refusal())

    def test_a_server_that_cannot_be_asked_is_no_reason_to_guess(self):
        text = self.refusal(control_password="wrong")
        self.assertIn("could not be asked for its limits", text)
        self.assertIn("control_password", text)

    def test_off_is_said_at_every_start(self):
        self.pooler = self.start_pooler()
        self.assertIn("check = off", self.pooler.log_text())
        degraded = {row["name"] for row in self.health("configuration")}
        self.assertLessEqual({"check", "verify_acquire", "check_interval"}, degraded)


class Check(CapacityTest):
    def check(self, path, *options):
        return subprocess.run([PROGRAM, "--check", *options, path], capture_output=True, text=True, check=False,
                              timeout=harness.PATIENCE_SECONDS, **harness.RUN_AS)

    def test_the_production_configuration_fits_into_a_server_of_100_connections(self):
        directory = harness.scratch_directory()
        text = (ROOT / "conf/production.ini").read_text()
        text = re.sub(r"host=127\.0\.0\.\d port=5432", f"host=127.0.0.1 port={self.cluster.port}", text)
        # One server stands in for both: the entry of the replica would be counted again.
        text = "".join(line for line in text.splitlines(True) if not line.startswith("app_readonly"))
        text = text.replace("/etc/pgproxy", str(directory)).replace("control_user = pgproxy", "control_user = control")
        text = text.replace("change-me-too", PASSWORD)
        (directory / "userlist.txt").write_text('"app" "x"\n')
        (directory / "pgproxy.ini").write_text(text)
        result = self.check(directory / "pgproxy.ini")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("30 [app: max_db_connections 30", result.stdout)
        self.assertIn("4 [reports: ", result.stdout)
        self.assertRegex(result.stdout, r"= 37; \* 2 instances = 74; allowed: \(max_connections 100 .* = 77")
        self.assertIn("is noticed after 9 s at the latest", result.stdout)

    def test_it_fails_where_a_start_would(self):
        pooler = self.start("user=app pool_size=20")
        self.assertEqual(self.check(pooler.ini).returncode, 0)
        self.cluster.execute("alter role app connection limit 3")
        result = self.check(pooler.ini)
        self.assertEqual(result.returncode, 1)
        self.assertIn("role app at", result.stderr)
        self.assertEqual(self.check(pooler.ini, "--offline").returncode, 0)


class Drift(CapacityTest):
    def test_a_limit_that_is_lowered_and_raised_again(self):
        self.start("user=app pool_size=10", on_overcommit="shrink")
        for holder in self.fill_pool(size=8):
            holder.query("commit")
        self.assertGreaterEqual(len(self.cluster.server_pids("usename = 'app'")), 8)
        self.cluster.execute("alter role app connection limit 5")
        harness.eventually(lambda: self.row("role", state="too_small"), "the lowered limit is seen")
        harness.eventually(lambda: len(self.cluster.server_pids("usename = 'app'")) <= 4, "the pool shrinks")
        self.assertEqual([row["name"] for row in self.health("capacity")], [f"role app at 127.0.0.1:{self.cluster.port}"])
        self.cluster.execute("alter role app connection limit -1")
        harness.eventually(lambda: not self.health("capacity"), "it fits again")
        self.assertIn("fits again", self.pooler.log_text())
        self.fill_pool(size=8)

    def test_nothing_is_closed_with_refuse_new_and_nothing_opened(self):
        self.start("user=app pool_size=10", on_overcommit="refuse_new", query_wait_timeout=3)
        holders = self.fill_pool(size=6)
        self.cluster.execute("alter role app connection limit 5")
        harness.eventually(lambda: self.row("role", state="too_small"), "the lowered limit is seen")
        waiting = self.client()
        fields = self.assert_sqlstate(waiting.send(harness.raw.query("select 1")).read_to_end(), "53300")
        self.assertIn("CONNECTION LIMIT", fields["H"])
        self.assertEqual(len(self.cluster.server_pids("usename = 'app'")), 6)
        for holder in holders:
            holder.query("commit")

    def test_a_server_that_is_gone_keeps_the_limits_it_had(self):
        self.start("user=app pool_size=10")
        self.cluster.stop(harness.signal.SIGINT)
        self.addCleanup(lambda: self.cluster.process.poll() is None or self.cluster.start())
        harness.eventually(lambda: self.row("server", state="unknown"), "it cannot be asked")
        self.cluster.start()
        harness.eventually(lambda: self.row("server", state="fits"), "it can be asked again")


class Acquire(CapacityTest):
    def test_the_pools_are_filled_before_anyone_is_let_in(self):
        self.start("user=app password=" + PASSWORD + " pool_size=7", verify_acquire=1)
        self.assertRegex(self.pooler.log_text(), r"verify_acquire: pool test/app: 7 connections, 14 clients had one after")
        self.assertEqual(len(self.cluster.server_pids("usename = 'app'")), 7)
        self.assertEqual(self.client().value("select 1"), "1")

    def test_a_pool_that_cannot_be_filled_is_a_reason_not_to_start(self):
        text = self.refusal("user=app password=wrong", verify_acquire=1)
        self.assertIn("verify_acquire: ", text)
        self.assertIn("test/app", text)
        self.assertIn("password authentication failed", text)

    def test_slots_that_others_hold_are_found(self):
        self.cluster.execute("alter role app connection limit 3")
        text = self.refusal("user=app pool_size=5 password=" + PASSWORD, verify_acquire=1, check="report")
        self.assertIn("too many connections for role", text)


class Instances(CapacityTest):
    def started(self, instances=2, **settings):
        return self.start_pooler(ENFORCED | {"coordination": "advisory_lock", "instances": instances,
                                             "attempt_interval": 0.2} | settings, databases=self.entry())

    def refused(self, **settings):
        with self.assertRaises(AssertionError) as caught:
            self.started(**settings)
        return str(caught.exception)

    def test_an_instance_more_than_was_planned_is_refused_and_told_who_holds_the_slots(self):
        one = self.started()
        two = self.started()
        text = self.refused()
        self.assertIn("instances = 2", text)
        self.assertIn("127.0.0.1", text)
        self.finish(one)
        three = self.started()
        self.assertEqual([row["state"] for row in three.console("show health") if row["kind"] == "coordination"], ["held"])
        self.finish(two)
        self.finish(three)

    def test_another_plan_is_refused(self):
        self.started()
        text = self.refused(default_pool_size=4)
        self.assertIn("plan", text)
        self.assertIn("instances", self.refused(instances=3))

    def test_nothing_is_opened_while_somebody_else_has_the_place(self):
        pooler = self.started(instances=1)
        lock = "select classid, pid from pg_locks where locktype = 'advisory' and granted"
        (lock_class, holder), = self.cluster.execute(lock)
        with pooler.connect() as known, self.cluster.connect(database="postgres") as thief:
            known.execute("select 1")
            # Who stands in the queue when the lock is given up goes before whoever tries again.
            queued = threading.Thread(target=thief.execute, args=("select pg_advisory_lock(%s, 1)", [lock_class]))
            queued.start()
            harness.eventually(lambda: self.cluster.execute("select 1 from pg_locks where locktype = 'advisory' and not granted"),
                               "the thief waits")
            self.cluster.execute(f"select pg_terminate_backend({holder})")
            queued.join()
            harness.eventually(lambda: "refused" in [row["state"] for row in pooler.console("show health")], "its place is taken")
            with known.transaction():
                known.execute("select 1")  # what is open goes on
                with pooler.raw() as waiting:
                    waiting.send(harness.raw.query("select 'served'"))
                    pooler.wait_for_pool("it waits", cl_waiting=1)
                    thief.execute("select pg_advisory_unlock_all()")
                    self.assertEqual(harness.raw.rows(waiting.read_until("Z")), [("served",)])
        self.assertIn("open no connection: other instances have taken this one's place", pooler.log_text())

    def test_another_list_of_hosts_with_the_same_primary_keeps_the_slot(self):
        pooler = self.started(instances=1, check="report", attempt_interval=60)
        holder = self.cluster.execute("select pid from pg_locks where locktype = 'advisory'")
        pooler.databases["test"] = pooler.databases["test"].replace("host=127.0.0.1", "host=127.0.0.9,127.0.0.1 routing=off")
        pooler.write_ini()
        with pooler.raw("admin", harness.SECTION) as console:
            self.assertNotIn("E", harness.raw.tags(console.query("reload")))
        row, = [row for row in pooler.console("show health") if row["kind"] == "coordination"]
        self.assertEqual(row["state"], "held")
        self.assertIn("127.0.0.9", row["name"])
        self.assertEqual(self.cluster.execute("select pid from pg_locks where locktype = 'advisory'"), holder)

    def test_a_lost_connection_is_a_state_and_taken_up_again(self):
        pooler = self.started()
        lock = "select pid from pg_locks where locktype = 'advisory'"
        (before,), = self.cluster.execute(lock)
        self.cluster.execute(f"select pg_terminate_backend({before})")
        harness.eventually(lambda: [pid for pid, in self.cluster.execute(lock)] not in ([], [before]), "the slot is taken again")
        harness.eventually(lambda: "held" in [row["state"] for row in pooler.console("show health")], "and that is known")
        self.assertTrue(pooler.is_alive())
        with pooler.connect() as client:
            self.assertEqual(client.execute("select 1").fetchone(), (1,))


if __name__ == "__main__":
    unittest.main(verbosity=2)
