"""PAUSE, RESUME, KILL, RECONNECT and the rest by psql and by signals, over real PostgreSQL."""

import os
import re
import signal
import subprocess
import unittest

import harness
import raw


class OperationsTest(harness.PoolerTest):
    def psql(self, *commands, user="admin", pooler=None, start=False):
        """What psql prints for these console commands, each a Query of its own; with `start`: the process."""
        arguments = ["psql", "-XAt", "-h", "127.0.0.1", "-p", (pooler or self.pooler).port, "-U", user, "-d", harness.SECTION]
        for command in commands:
            arguments += ["-c", command]
        process = harness.start(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env=os.environ | {"PGPASSWORD": harness.PASSWORD, "LC_ALL": "C"})
        if start:
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            return process
        return process.communicate(timeout=harness.PATIENCE_SECONDS)[0].strip()

    def console_client(self, user="admin"):
        client = raw.RawClient(self.pooler.address())
        client.login(user, harness.SECTION, harness.PASSWORD)
        self.addCleanup(client.close)
        return client

    def error_of(self, command):
        reply = self.console_client().query(command)
        self.assertEqual(raw.tags(reply), "EZ", command)
        return raw.error(reply)["M"]

    def server_count(self):
        return len(self.pooler.console("show servers"))

    def health(self, kind):
        return [(row["name"], row["state"]) for row in self.pooler.console("show health") if row["kind"] == kind]

    def wait_for_log(self, pattern, pooler=None):
        harness.eventually(lambda: re.search(pattern, (pooler or self.pooler).log_text()), f"the log says {pattern}")


class Pausing(OperationsTest):
    def test_pause_answers_when_the_servers_are_gone_and_says_what_it_waits_for(self):
        busy, pinned, idle = self.clients(3)
        busy.query("begin")
        pinned.query("listen somewhere")
        idle.query("select 1")
        pause = self.psql("PAUSE", start=True)
        self.wait_for_log(r"PAUSE command issued by C-0x\w+ admin@127\.0\.0\.1")
        notice = pause.stdout.readline()
        self.assertRegex(notice, r"^NOTICE:  PAUSE waits for 2 server connections: .*held by C-0x.*\(pinned: ")
        self.assertEqual(self.health("command"), [("PAUSE", "waiting")])
        self.assertEqual(self.server_count(), 2)
        idle.send(raw.query("select 2"))
        self.pooler.wait_for_pool("one waits", cl_waiting=1)
        self.assertEqual(raw.tags(busy.query("commit")), "CZ")
        harness.eventually(lambda: self.server_count() == 1, "one server is left")
        self.assertIsNone(pause.poll())
        self.assertEqual(raw.tags(pinned.query("unlisten *")), "CZ")
        self.assertEqual(pause.communicate()[0], "PAUSE\n")
        harness.eventually(lambda: not self.cluster.server_pids(), "all server connections are closed")
        self.assertEqual(self.health("process"), [("all databases", "paused")])
        self.assertEqual(self.psql("RESUME"), "RESUME")
        self.assertEqual(raw.rows(idle.read_until("Z")), [("2",)])
        self.assertEqual(self.health("process"), [])

    def test_the_database_restarts_under_paused_clients(self):
        cluster = harness.Cluster()  # of its own, as it stops
        pooler = self.start_pooler(port=cluster.port)
        clients = [pooler.raw() for _ in range(5)]
        for client in clients:
            self.addCleanup(client.close)
            client.query("select 1")
        self.assertEqual(self.psql("PAUSE test", pooler=pooler), "PAUSE")
        cluster.stop(signal.SIGINT)
        for client in clients:
            client.send(raw.query("select 7"))
        newcomer = pooler.raw()
        self.addCleanup(newcomer.close)
        cluster.start()
        self.assertEqual(self.psql("RESUME test", pooler=pooler), "RESUME")
        for client in clients:
            self.assertEqual(raw.rows(client.read_until("Z")), [("7",)])
        self.assertEqual(raw.rows(newcomer.query("select 8")), [("8",)])

    def test_cancelling_a_pause_resumes(self):
        client = self.client()
        client.query("begin")
        pause = self.psql("PAUSE", start=True)
        self.assertIn("waits for 1 server connections", pause.stdout.readline())
        pause.send_signal(signal.SIGINT)  # psql sends a CancelRequest
        self.assertIn("canceling statement due to user request", pause.communicate()[0])
        self.assertEqual(self.error_of("RESUME"), "pooler is not paused/suspended")
        client.query("commit")
        self.assertEqual(raw.rows(client.query("select 1")), [("1",)])

    def test_who_waits_for_a_pause_may_leave(self):
        client = self.client()
        client.query("begin")
        pause = self.psql("PAUSE test", start=True)
        pause.stdout.readline()
        pause.kill()
        pause.wait()
        self.assertEqual(raw.tags(client.query("commit")), "CZ")
        self.wait_for_log("PAUSE test is done")
        self.assertEqual(self.psql("RESUME test"), "RESUME")
        self.assertEqual(raw.rows(client.query("select 1")), [("1",)])

    def test_a_console_reads_on_only_when_its_pause_is_done(self):
        client = self.client()
        client.query("begin")
        console = self.console_client()
        console.send(raw.query("PAUSE test") + raw.query("SHOW VERSION") + raw.query("RESUME test"))
        self.assertEqual([message.tag for message in console.read_until("N")], ["N"])
        self.assertEqual(self.health("command"), [("PAUSE test", "waiting")])
        client.query("commit")
        self.assertEqual(raw.tags(console.read_until("Z")), "CZ")
        self.assertEqual(raw.tags(console.read_until("Z")), "TDCZ")
        self.assertEqual(raw.tags(console.read_until("Z")), "CZ")

    def test_resume_by_another_console_ends_a_pause_that_waits(self):
        client = self.client()
        client.query("begin")
        pause = self.psql("PAUSE", start=True)
        pause.stdout.readline()
        self.assertEqual(self.error_of("PAUSE"), "already suspended/paused")
        self.assertEqual(self.error_of("SUSPEND"), "already suspended/paused")
        self.assertEqual(self.error_of("KILL"), "already suspended/paused")
        self.assertEqual(self.psql("RESUME"), "RESUME")
        self.assertIn("PAUSE was ended by RESUME", pause.communicate()[0])

    def test_what_cannot_be_done_is_said_in_pgbouncers_words(self):
        for command, error in {
                "RESUME": "pooler is not paused/suspended", "RESUME test": "database test is not paused",
                "PAUSE nowhere": "no such database: nowhere", "DISABLE nowhere": "no such database: nowhere",
                "PAUSE pgbouncer": "cannot pause admin db: pgbouncer", "ENABLE": "a database is required",
                "KILL_CLIENT 0": "client not found", "KILL_CLIENT x": "invalid client pointer supplied",
        }.items():
            with self.subTest(command):
                self.assertEqual(self.error_of(command), error)

    def test_who_may_only_look_changes_nothing(self):
        for command in ("PAUSE", "KILL test", "KILL_CLIENT 1", "SHUTDOWN", "RECONNECT", "DISABLE test", "SUSPEND"):
            with self.subTest(command):
                self.assertEqual(raw.error(self.console_client("stats").query(command))["M"], "admin access needed")
        self.assertEqual(raw.rows(self.client().query("select 1")), [("1",)])

    def test_query_wait_timeout_tells_of_the_pause(self):
        pooler = self.start_pooler({"query_wait_timeout": 0.2})
        client = pooler.raw()
        self.addCleanup(client.close)
        self.psql("PAUSE test", pooler=pooler)
        client.send(raw.query("select 1"))
        fields = client.read_to_end()[-1].fields()
        self.assertEqual((fields["C"], fields["M"]), ("57P03", 'query_wait_timeout: database "test" is paused'))

    def test_signals(self):
        client = self.client()
        client.query("select 1")
        self.pooler.process.send_signal(signal.SIGUSR1)
        self.wait_for_log("PAUSE command issued by SIGUSR1")
        client.send(raw.query("select 2"))
        self.pooler.wait_for_pool("it waits", cl_waiting=1)
        self.pooler.process.send_signal(signal.SIGUSR1)
        self.wait_for_log("got SIGUSR1, but already suspended/paused: nothing changed")
        self.pooler.process.send_signal(signal.SIGUSR2)
        self.assertEqual(raw.rows(client.read_until("Z")), [("2",)])
        self.wait_for_log("RESUME command issued by SIGUSR2")


class SessionMode(OperationsTest):
    settings = {"pool_mode": "session"}

    def test_pause_waits_for_clients_to_let_go(self):
        client = self.client()
        client.query("select 1")
        pause = self.psql("PAUSE", start=True)
        self.assertIn("held by C-0x", pause.stdout.readline())
        self.assertEqual(raw.rows(client.query("select 2")), [("2",)])
        self.assertIsNone(pause.poll())
        client.close()
        self.assertEqual(pause.communicate()[0], "PAUSE\n")
        self.psql("RESUME")


class Ending(OperationsTest):
    def test_kill_drops_everything_of_a_database_and_pauses_it(self):
        self.pooler = self.start_pooler(databases={"other": f"host=127.0.0.1 port={self.cluster.port} dbname=test"})
        busy, idle = self.clients(2)
        busy.query("begin")
        other = self.client(database="other")
        self.assertEqual(self.psql("KILL test"), "KILL")
        for client in (busy, idle):
            self.assertEqual(client.read_to_end()[-1].fields()["C"], "57P01")
        harness.eventually(lambda: not self.cluster.server_pids("state = 'idle in transaction'"),
                           "its servers are closed")
        self.assertEqual(raw.rows(other.query("select 1")), [("1",)])
        self.assertEqual(self.health("database"), [("test", "paused")])
        later = raw.RawClient(self.pooler.address())
        self.addCleanup(later.close)
        later.login("app", "test", harness.PASSWORD)
        later.send(raw.query("select 3"))
        self.assertEqual(self.error_of("RESUME"), "pooler is not paused/suspended")
        self.assertEqual(self.psql("RESUME test"), "RESUME")
        self.assertEqual(raw.rows(later.read_until("Z")), [("3",)])

    def test_kill_client_by_id_and_by_ptr(self):
        for column in ("id", "ptr"):
            with self.subTest(column):
                client = self.client(application_name=column)
                client.query("begin")
                row, = [row for row in self.pooler.console("show clients") if row["application_name"] == column]
                self.assertEqual(self.psql(f"KILL_CLIENT {row[column]}"), "KILL_CLIENT")
                self.assertEqual(client.read_to_end()[-1].fields()["C"], "57P01")
        self.pooler.wait_for_pool("the server is clean", sv_active=0, sv_tested=0)

    def test_a_console_may_end_itself(self):
        console = self.console_client()
        others = {row["id"] for row in self.pooler.console("show clients")}
        row, = [row for row in self.pooler.console("show clients") if row["id"] in others]
        console.send(raw.query(f"KILL_CLIENT {row['id']}"))
        self.assertEqual(console.read_to_end()[-1].fields()["C"], "57P01")

    def test_disable_keeps_newcomers_out_only(self):
        client = self.client()
        self.assertEqual(self.psql("DISABLE test"), "DISABLE")
        fields = self.assert_refused("55000")
        self.assertEqual(fields["M"], 'database "test" is disabled')
        self.assertEqual(raw.rows(client.query("select 1")), [("1",)])
        self.assertEqual(self.health("database"), [("test", "disabled")])
        self.assertEqual(self.psql("ENABLE test"), "ENABLE")
        self.client().query("select 1")

    def test_reconnect_and_wait_close(self):
        busy, other = self.clients(2)
        busy.query("begin")
        other.query("select 1")
        before = set(self.cluster.server_pids())
        self.assertEqual(self.psql("RECONNECT test"), "RECONNECT")
        wait = self.psql("WAIT_CLOSE test", start=True)
        self.assertIn("WAIT_CLOSE test waits for 1 server connections", wait.stdout.readline())
        other.query("select 1")
        busy.query("commit")
        self.assertEqual(wait.communicate()[0], "WAIT_CLOSE\n")
        other.query("select 1")
        harness.eventually(lambda: not before & set(self.cluster.server_pids()), "all are new ones")

    def test_reconnect_makes_a_failed_server_healthy(self):
        cluster = harness.Cluster()
        self.pooler = self.start_pooler({"max_attempts": 1, "attempt_interval": 0.05, "while_recovering": "reject"},
                                        port=cluster.port)
        client = self.client()
        cluster.stop(signal.SIGINT)
        client.send(raw.query("select 1"))
        self.wait_for_log("has failed: it could not be reached in 1 attempts")
        cluster.start()
        refused = self.client()
        refused.send(raw.query("select 1"))
        self.assertEqual(refused.read_to_end()[-1].fields()["C"], "08006")
        self.assertEqual(self.psql("RECONNECT"), "RECONNECT")
        self.assertEqual(raw.rows(self.client().query("select 1")), [("1",)])

    def test_suspend_and_resume_lose_nothing(self):
        busy, idle = self.clients(2)
        busy.query("begin")
        self.assertEqual(self.psql("SUSPEND"), "SUSPEND")
        busy.send(raw.query("select 1"))
        idle.send(raw.query("select 2"))
        self.assertEqual(self.health("process"), [("all databases", "suspended")])
        self.assertEqual(self.psql("RESUME"), "RESUME")
        self.assertEqual(raw.rows(busy.read_until("Z")), [("1",)])
        self.assertEqual(raw.rows(idle.read_until("Z")), [("2",)])
        busy.query("commit")


if __name__ == "__main__":
    unittest.main(verbosity=2)
