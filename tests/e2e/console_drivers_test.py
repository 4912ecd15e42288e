"""The console, asked by drivers that speak the extended protocol."""

import asyncio
import decimal
import os
import pathlib
import shutil
import subprocess
import unittest

import asyncpg
import harness
import psycopg
import raw

HERE = pathlib.Path(__file__).parent
JDBC_DRIVER = "/usr/share/java/postgresql.jar"  # libpostgresql-jdbc-java
NODE_MODULES = pathlib.Path(os.environ.get("PGPROXY_NODE_MODULES", "node_modules"))


class ConsoleDrivers(harness.PoolerTest):

    def setUp(self):
        super().setUp()
        self.client(application_name="it's me").query("select 1")

    def run_driver(self, *command):
        run = subprocess.run([*map(str, command), harness.PASSWORD, str(self.pooler.port)], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, check=False, timeout=120)
        self.assertEqual((run.returncode, run.stdout), (0, "ok\n"), run.stderr)

    def test_psycopg(self):
        for options in ({}, {"prepare_threshold": 0}):
            with self.connect("admin", "pgproxy", **options) as connection:
                for binary in (False, True):
                    cursor = connection.cursor(binary=binary)
                    for _ in range(3):
                        cursor.execute("show clients where application_name = %s and database = %s", ["it's me", "test"])
                        row, = cursor.fetchall()
                        self.assertEqual((row[0], row[1], row[18]), ("C", "app", "it's me"))
                    cursor.execute("show pools where cl_active = %s", [1])
                    self.assertEqual(cursor.fetchone()[:3], ("test", "app", 1))
                    cursor.execute("show lists where list = %s", ["nonsense"])
                    self.assertEqual(cursor.fetchall(), [])

    def test_psycopg_gets_errors_and_goes_on(self):
        with self.connect("stats", "pgproxy") as connection:
            for command, error in (("show nothing where a = %s", psycopg.errors.ProtocolViolation),
                                   ("show pools where usr = %s", psycopg.errors.UndefinedColumn),
                                   ("show pools where user == %s", psycopg.errors.SyntaxError),
                                   ("show fds where fd = %s", psycopg.errors.InsufficientPrivilege)):
                with self.assertRaises(error):
                    connection.execute(command, ["1"])
                self.assertEqual(len(connection.execute("show state where key = %s", ["active"]).fetchall()), 1)
            with connection.pipeline():
                cursors = [connection.execute("show state where key = %s", [key]) for key in ("active", "paused")]
                self.assertEqual([cursor.fetchall() for cursor in cursors], [[("active", "yes")], [("paused", "no")]])

    def test_commands_with_parameters(self):
        with self.connect("admin", "pgproxy") as connection:
            def ask(command, *parameters):
                return connection.execute(command, parameters)
            for _ in range(2):
                self.assertEqual(ask("pause %s", "test").statusmessage, "PAUSE")
                self.assertEqual(len(ask("show databases where name = %s and paused = %s", "test", 1).fetchall()), 1)
                self.assertEqual(ask("resume %s", "test").statusmessage, "RESUME")
            with self.assertRaisesRegex(psycopg.errors.DatabaseError, "not paused"):
                ask("resume %s", "test")
            with self.assertRaisesRegex(psycopg.errors.DatabaseError, "No Such-One"):
                ask("pause %s", "No Such-One")
            client, = ask("show clients where application_name = %s", "it's me").fetchall()
            self.assertEqual(ask("kill_client %s", client[20]).statusmessage, "KILL_CLIENT")
            self.assertEqual(ask("show clients where application_name = %s", "it's me").fetchall(), [])
        with self.connect("stats", "pgproxy") as connection, self.assertRaisesRegex(psycopg.errors.InsufficientPrivilege, "admin access"):
            connection.execute("pause %s", ["test"])

    def test_a_command_that_waits_holds_what_is_behind_it(self):
        holder = self.client()
        holder.query("begin")
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy")
            client.send(raw.statement("pause $1", "test") + raw.statement("show state where key = $1", "active") + raw.SYNC)
            self.pooler.wait_for_pool("it waits", sv_active=1)
            harness.eventually(lambda: self.pooler.console("show databases where paused = 1"), "it is paused")
            holder.query("commit")
            self.assertEqual(raw.tags([message for message in client.read_until("Z") if message.tag != "N"]), "12C12DCZ")
            client.send(raw.statement("resume $1", "test") + raw.statement("resume $1", "test") + raw.statement("show state") + raw.SYNC)
            self.assertEqual(raw.tags(client.read_until("Z")), "12C12EZ")

    def test_asyncpg(self):
        async def work():
            connection = await asyncpg.connect(host="127.0.0.1", port=self.pooler.port, user="admin", password=harness.PASSWORD,
                                               database="pgproxy")
            for command in ("databases", "users", "stats", "totals", "sockets", "fds", "mem", "config", "help", "queries", "waits"):
                await connection.fetch(f"show {command}")
            row = await connection.fetchrow("show clients where application_name = $1", "it's me")
            self.assertEqual((row["type"], row["user"], row["wait"]), ("C", "app", 0))
            total = await connection.fetchval("show totals where name = $1", "total_query_count", column=1)
            self.assertEqual(total, decimal.Decimal(1))
            statement = await connection.prepare("show state where key = $1")
            self.assertEqual([attribute.name for attribute in statement.get_attributes()], ["key", "value"])
            self.assertEqual(await statement.fetchval("paused", column=1), "no")
            with self.assertRaises(asyncpg.UndefinedColumnError):
                await connection.fetch("show pools where usr = $1", "u")
            self.assertEqual(await statement.fetchval("active", column=1), "yes")
            await connection.close()
        asyncio.run(asyncio.wait_for(work(), 60))

    def test_jdbc(self):
        classes = harness.scratch_directory()
        subprocess.run(["javac", "-Xlint:all", "-Werror", "-cp", JDBC_DRIVER, "-d", classes, HERE / "jdbc" / "AdminConsole.java"],
                       check=True)
        self.run_driver("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{JDBC_DRIVER}", "AdminConsole")

    def test_node_postgres(self):
        self.assertTrue(shutil.which("node"), "node is missing: scripts/test installs it")
        self.run_driver("node", HERE / "node" / "console.mjs")

    def test_rows_in_portions(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy")
            client.send(raw.parse("show state") + raw.bind() + raw.describe() + raw.execute(row_limit=2) + raw.execute(row_limit=2)
                        + raw.SYNC)
            self.assertEqual(raw.tags(client.read_until("Z")), "12TDDsDCZ")

    def test_errors_skip_to_sync(self):
        with raw.RawClient(self.pooler.address()) as client:
            client.login("admin", "pgproxy")
            client.send(raw.statement("show nothing") + raw.statement("show version") + raw.query("show version") + raw.SYNC
                        + raw.statement("show version") + raw.SYNC)
            self.assertEqual(raw.tags(client.read_until("Z")), "12EZ")
            self.assertEqual(raw.tags(client.read_until("Z")), "12DCZ")
            client.send(raw.frame("?"))
            self.assertEqual(client.read_to_end()[-1].fields()["C"], "08P01")


if __name__ == "__main__":
    unittest.main(verbosity=2)
