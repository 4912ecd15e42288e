"""Servers that stop, restart, fall silent or refuse: what pgproxy knows of them, tries, and tells its clients."""

import contextlib
import os
import re
import signal
import unittest

import psycopg

import harness
import raw
from raw import query

CHECKED = {"check_interval": 0.1, "check_timeout": 0.3, "failure_threshold": 2, "attempt_interval": 0.2,
           "failed_until": "health_check"}


class HealthTest(harness.PoolerTest):
    auto_start = False

    def tearDown(self):
        if self.cluster.process.poll() is not None:
            self.cluster.start()

    def start(self, **settings):
        self.pooler = self.start_pooler(CHECKED | settings)
        return self.pooler

    def health(self, kind="server"):
        return [row for row in self.pooler.console("show health") if row["kind"] == kind]

    def wait_for_state(self, pattern, pooler=None):
        server = f"127.0.0.1:{self.cluster.port}"
        return harness.eventually(
            lambda: next((row for row in (pooler or self.pooler).console("show health")
                          if row["name"] == server and re.match(pattern, row["state"])), None),
            f"server is {pattern}: {self.health()}")

    def refusal(self, user="app", database="test"):
        """What a client gets that needs a server."""
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login(user, database, harness.PASSWORD)
            if reply[-1].tag == "Z":
                reply = client.send(query("select 1")).read_to_end()
            return raw.error(reply)


class Stopped(HealthTest):
    def test_health_is_known_without_any_client(self):
        self.start()
        self.wait_for_state("healthy")
        self.cluster.stop(signal.SIGINT)
        row = self.wait_for_state("recovering")
        self.assertIn("Connection refused", row["reason"])
        self.assertTrue(row["hint"])
        self.assertTrue(row["since"])
        self.cluster.start()
        row = self.wait_for_state("healthy")
        self.assertIn("last health check", row["reason"])
        self.assertEqual(self.client().value("select 1"), "1")

    def test_clients_wait_for_a_restart(self):
        self.start(while_recovering="queue")
        client = self.client()
        client.query("select 1")
        self.cluster.stop(signal.SIGINT)
        client.send(query("select 'served'"))
        self.pooler.wait_for_pool("it waits", cl_waiting=1)
        self.wait_for_state("recovering")
        self.cluster.start()
        self.assertEqual(raw.rows(client.read_until("Z")), [("served",)])
        log = self.pooler.log_text()
        self.assertIn("clients wait (while_recovering)", log)
        self.assertRegex(log, r"is healthy again after [0-9.]+ s")

    def test_clients_are_refused_during_a_restart(self):
        self.start(while_recovering="reject")
        client = self.client()
        client.query("select 1")
        self.cluster.stop(signal.SIGINT)
        self.wait_for_state("recovering")
        fields = self.assert_sqlstate(client.send(query("select 1")).read_to_end(), "57P03")
        self.assertIn("cannot be reached", fields["M"])
        self.assertIn("while_recovering = queue", fields["H"])
        self.assertEqual(self.refusal()["C"], "57P03")
        self.cluster.start()
        self.wait_for_state("healthy")
        self.assertEqual(self.client().value("select 1"), "1")

    def test_after_the_last_attempt_it_has_failed_until_a_health_check_succeeds(self):
        self.start(max_attempts=2, check_interval=3, check_timeout=1, query_wait_timeout=60)
        waiter = self.client()
        waiter.query("select 1")
        self.cluster.stop(signal.SIGINT)
        waiter.send(query("select 1"))
        fields = self.assert_sqlstate(waiter.read_to_end(), "08006")
        self.assertIn("has failed", fields["M"])
        self.assertIn("2 attempts", fields["D"])
        self.assertIn("max_attempts = 4", fields["H"])
        log = self.pooler.log_text()
        self.assertRegex(log, "attempt 1 of 2 failed: .*Connection refused")
        self.assertRegex(log, "attempt 2 of 2 failed: .*Connection refused")
        self.assertEqual(log.count(" of 2 failed: "), 2)
        self.assertEqual(self.refusal()["C"], "08006")
        self.cluster.start()
        self.wait_for_state("healthy")
        self.assertEqual(self.client().value("select 1"), "1")

    def test_auto_recover_off_makes_the_first_failure_final(self):
        self.start(auto_recover=0, failed_until="reconnect")
        self.client().query("select 1")
        self.cluster.stop(signal.SIGINT)
        self.wait_for_state("failed")
        self.cluster.start()
        fields = self.refusal()
        self.assertEqual(fields["C"], "08006")
        self.assertIn("auto_recover = 1", fields["H"])
        self.assertIn("RECONNECT", fields["H"])
        self.assertNotIn("attempt ", self.pooler.log_text())

    def test_the_next_host_of_a_list_is_logged_and_counted(self):
        proxy = self.start_fault_proxy()
        self.pooler = self.start_pooler(
            {"attempt_interval": 0.2}, databases={
                "test": f"host=127.0.0.2,127.0.0.1 port={proxy.port} load_balance_hosts=disable routing=off"})
        self.assertEqual(self.client().value("select 1"), "1")
        self.assertEqual(self.pooler.pool()["host_switches"], 1)
        self.assertRegex(self.pooler.log_text(),
                         f"server 127.0.0.2:{proxy.port} is recovering: connecting to 127.0.0.1:{proxy.port}")


class Silent(HealthTest):
    """SIGSTOP: connections stay open, new ones are accepted by the kernel, and nothing answers."""

    def freeze(self):
        self.addCleanup(self.thaw)
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def signal_all(self, number):
        harness.signal_all(harness.processes_of(self.cluster.process), number)

    def test_its_connections_are_given_up_and_it_is_used_again_when_it_answers(self):
        self.start(while_recovering="reject", server_connect_timeout=2)
        idle, in_transaction, running = self.clients(3)
        for client in (idle, in_transaction, running):
            client.query("begin")
        idle.query("commit")
        self.pooler.wait_for_pool("idle", sv_idle=1, sv_active=2)
        running.send(query("select pg_sleep(300)"))
        harness.eventually(lambda: self.cluster.server_pids("state = 'active'"), "it runs")
        self.freeze()
        for client in (in_transaction, running):
            fields = self.assert_sqlstate(client.read_to_end(), "08006")
            self.assertIn("does not answer its health checks", fields["M"])
        self.assertEqual(self.pooler.pool()["sv_idle"], 0)
        self.assertEqual(self.refusal()["C"], "57P03")
        self.thaw()
        self.wait_for_state("healthy")
        self.assertEqual(idle.value("select 'still here'"), "still here")
        for pid in self.cluster.server_pids("query like '%pg_sleep%'"):  # PostgreSQL notices when it is over
            self.cluster.execute("select pg_terminate_backend(%s)", [pid])

    def test_a_transaction_that_goes_on_is_not_given_up(self):
        self.start()
        client = self.client()
        client.query("begin")
        os.kill(self.cluster.process.pid, signal.SIGSTOP)  # nobody can log in; the backends work
        self.addCleanup(os.kill, self.cluster.process.pid, signal.SIGCONT)
        harness.eventually(lambda: client.value("select 1") == "1"
                           and self.health()[0]["state"].startswith("recovering"), "it is found out")
        self.assertEqual(client.value("select 'at work'"), "at work")
        os.kill(self.cluster.process.pid, signal.SIGCONT)
        self.wait_for_state("healthy")
        client.query("commit")


class Refusing(HealthTest):
    def test_pg_hba_conf_refuses_a_pool_and_not_the_server(self):
        hba = self.cluster.data / "pg_hba.conf"
        before = hba.read_text()
        self.addCleanup(lambda: (hba.write_text(before), self.cluster.execute("select pg_reload_conf()")))
        self.start(attempt_interval=0.2)
        hba.write_text("host all app 127.0.0.1/32 reject\n" + before)
        self.cluster.execute("select pg_reload_conf()")
        harness.eventually(lambda: self.refusal()["C"] == "28000", "PostgreSQL's own words")
        self.assertEqual(self.health()[0]["state"], "healthy")
        self.assertEqual(self.client("app2").value("select 1"), "1")
        hba.write_text(before)
        self.cluster.execute("select pg_reload_conf()")
        harness.eventually(self.works, "it works again")

    def works(self):
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login("app", "test", harness.PASSWORD)
            return reply[-1].tag == "Z" and client.query("select 1")[-1].tag == "Z"

    def test_slots_taken_by_others_are_waited_for(self):
        self.start(query_wait_timeout=20)
        self.cluster.execute("alter role app connection limit 1")
        self.addCleanup(self.cluster.execute, "alter role app connection limit -1")
        other = self.cluster.connect("app")
        waiter = self.client_without_login()
        harness.eventually(lambda: "too many connections for role" in self.pooler.log_text(), "no slot")
        self.assertEqual(self.health()[0]["state"], "healthy")
        other.close()
        self.assertEqual(waiter.read_until("Z")[-1].tag, "Z")

    def client_without_login(self):
        client = raw.RawClient(self.pooler.address())
        self.addCleanup(client.close)
        client.send(raw.startup_packet(user="app", database="test"))
        return client

    def test_on_exhausted_reject_tells_which_limit_of_the_server_it_was(self):
        self.start(on_exhausted="reject")
        self.cluster.execute("alter role app connection limit 1")
        self.addCleanup(self.cluster.execute, "alter role app connection limit -1")
        with self.cluster.connect("app"):
            fields = self.refusal()
            self.assertEqual(fields["C"], "53300")
            self.assertIn("ALTER ROLE app CONNECTION LIMIT", fields["H"])
        self.cluster.execute("alter role app connection limit 10")  # the hint
        harness.eventually(self.works, "the failure is gone")

    def test_a_server_without_any_slot_is_not_a_dead_one(self):
        self.cluster.execute("alter system set max_connections = 5")
        self.cluster.execute("alter system set superuser_reserved_connections = 3")
        self.addCleanup(self.restart_with_defaults)
        self.restart()
        self.start(on_exhausted="reject")
        self.wait_for_state("healthy")
        taken = [harness.eventually(self.take_slot, "a slot") for _ in range(2)]
        fields = harness.eventually(lambda: (lambda f: f if f["C"] == "53300" else None)(self.refusal()), "no slot")
        self.assertIn("raise max_connections at the server by", fields["H"])
        self.assertIn("server 127.0.0.1", fields["D"])
        self.assertEqual(self.health()[0]["state"], "healthy")
        for connection in taken:
            connection.close()
        harness.eventually(self.works, "the failure is gone")

    def take_slot(self):
        with contextlib.suppress(psycopg.OperationalError):  # a health check has the last one for a moment
            return self.cluster.connect("app2")

    def restart(self):
        self.cluster.stop(signal.SIGINT)
        self.cluster.start()

    def restart_with_defaults(self):
        self.cluster.execute("alter system reset all")
        self.restart()


class Health(HealthTest):
    def test_checks_that_are_off_are_a_degraded_configuration(self):
        self.pooler = self.start_pooler()
        states = {row["name"]: row["state"] for row in self.health("configuration")}
        self.assertEqual(states["check_interval"], "degraded")
        self.assertIn("check_interval = 0", self.pooler.log_text())

    def test_a_health_check_leaves_no_connection_behind(self):
        self.start()
        self.wait_for_state("healthy")
        harness.eventually(lambda: "last health check" in self.health()[0]["reason"], "checked")
        harness.eventually(lambda: not self.cluster.server_pids(), "no connection is left")


class ControlUser(HealthTest):
    """With control_user, servers are asked health_query by someone who is logged in."""

    CONTROL = {"control_user": "monitor", "control_password": harness.PASSWORD, "control_dbname": "test"}

    def setUp(self):
        super().setUp()
        self.cluster.execute("drop role if exists monitor;"
                             f" create role monitor login password '{harness.PASSWORD}' in role pg_monitor")

    def monitors(self):
        return self.cluster.server_pids("usename = 'monitor'")

    def start(self, **settings):
        return super().start(**(self.CONTROL | settings))

    def test_it_asks_on_one_connection_that_stays_open(self):
        self.start(health_query="select nextval('public.checks')")
        self.cluster.execute("drop sequence if exists public.checks; create sequence public.checks;"
                             " grant usage on sequence public.checks to public", database="test")
        count = lambda: self.cluster.execute("select last_value from public.checks", database="test")[0][0]
        harness.eventually(lambda: count() > 2, "it is asked")
        before, seen = self.monitors(), count()
        self.assertEqual(len(before), 1)
        harness.eventually(lambda: count() > seen + 2, "it is asked again")
        self.assertEqual(self.monitors(), before)
        self.wait_for_state("healthy")
        self.assertEqual(self.health("health_check"), [])

    def test_its_connection_is_replaced_when_it_is_ended(self):
        self.start()
        pid, = harness.eventually(self.monitors, "it is logged in")
        self.cluster.execute("select pg_terminate_backend(%s)", [pid])
        harness.eventually(lambda: self.monitors() not in ([], [pid]), "it is logged in again")
        self.wait_for_state("healthy")

    def test_a_dead_host_frees_its_connection_soon(self):
        sql = "select 1 / (current_setting('tcp_keepalives_idle') = '10' and "\
              "current_setting('tcp_keepalives_interval') = '5' and current_setting('tcp_keepalives_count') = '3')::int"
        self.start(health_query=sql)
        self.wait_for_state("healthy")
        harness.eventually(lambda: "last health check" in self.health()[0]["reason"], "checked")
        self.assertEqual(self.health()[0]["state"], "healthy")

    def test_a_query_that_fails_is_a_server_that_fails(self):
        self.cluster.execute("drop table if exists public.fit", database="test")
        self.start(health_query="select from public.fit")
        row = self.wait_for_state("recovering")
        self.assertIn('relation "public.fit" does not exist', row["reason"])
        self.cluster.execute("create table public.fit (); grant select on public.fit to public", database="test")
        self.wait_for_state("healthy")

    def test_a_server_that_refuses_it_is_not_a_dead_one(self):
        self.cluster.execute("alter role monitor password 'another one'")
        self.start()
        row, = harness.eventually(lambda: self.health("health_check"), "it is refused")
        self.assertEqual(row["state"], "degraded")
        self.assertIn('as control_user "monitor" in control_dbname "test"', row["reason"])
        self.assertIn("control_password", row["hint"])
        self.assertEqual(self.client().value("select 1"), "1")
        self.assertEqual(self.health()[0]["state"], "healthy")
        self.cluster.execute(f"alter role monitor password '{harness.PASSWORD}'")  # the hint
        harness.eventually(lambda: self.health("health_check") == [], "it is let in")
        log = self.pooler.log_text()
        self.assertEqual(log.count("password authentication failed"), 1)
        self.assertIn('lets control_user "monitor" in again', log)

    def test_its_password_may_stand_in_auth_file(self):
        self.secrets = {"monitor": harness.PASSWORD}
        self.start(control_password=None)
        harness.eventually(self.monitors, "it is logged in")
        self.wait_for_state("healthy")


if __name__ == "__main__":
    unittest.main(verbosity=2)
