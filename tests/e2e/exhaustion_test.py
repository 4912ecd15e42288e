"""Clients that get no server connection: each refusal says what to change, and changing it helps."""

import re
import unittest

import harness
import raw
from raw import query


class Hints(harness.PoolerTest):
    auto_start = False
    base = {"default_pool_size": 1, "on_exhausted": "reject"}

    def reject(self, settings=None, holder=("app", "test"), asker=("app", "test"), **options):
        """The fields of a refusal: one client holds the only connection, another one asks."""
        self.pooler = self.start_pooler(self.base | (settings or {}), **options)
        self.asker = asker
        self.holder_client = self.client(*holder)
        asking = self.client(*asker)
        self.holder_client.query("begin")
        fields = self.assert_sqlstate(asking.send(query("select 1")).read_to_end(), "53300")
        self.assertIn("on_exhausted = reject", fields["M"])
        for word in ("pool_size 1 (effective", "active", "idle", "logging in", "waiting", "the longest for",
                     f"server 127.0.0.1:{self.cluster.port} is healthy"):
            self.assertIn(word, fields["D"])
        return fields["H"]

    def apply(self, hint, pattern):
        """The value that the hint gives for `pattern`, a setting's name."""
        self.assertRegex(hint, pattern + r" = \d+")
        return re.search(pattern + r" = (\d+)", hint)[1]

    def assert_served(self, settings=None, holder=("app", "test"), **options):
        """The same again, with the hint followed."""
        self.finish(self.pooler)
        self.pooler = self.start_pooler(self.base | (settings or {}), **options)
        holding = self.client(*holder)
        asking = self.client(*self.asker)
        holding.query("begin")
        self.assertEqual(asking.value("select 'served'"), "served")

    def entry(self, more):
        return {"test": f"host=127.0.0.1 port={self.cluster.port} {more}"}

    def test_default_pool_size(self):
        hint = self.reject()
        line = self.line_of("default_pool_size")
        self.assertIn(f"pgproxy.ini:{line})", hint)
        self.assert_served({"default_pool_size": self.apply(hint, "default_pool_size")})

    def line_of(self, setting):
        lines = self.pooler.ini.read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if line.startswith(setting))

    def test_pool_size_of_the_database(self):
        hint = self.reject({"default_pool_size": 9}, databases=self.entry("pool_size=1"))
        self.assertIn("for database test", hint)
        size = self.apply(hint, "pool_size")
        self.assert_served({"default_pool_size": 9}, databases=self.entry(f"pool_size={size}"))

    def test_pool_size_of_the_user(self):
        hint = self.reject({"default_pool_size": 9}, users={"app": "pool_size=1"})
        self.assertIn("for user app", hint)
        size = self.apply(hint, "pool_size")
        self.assert_served({"default_pool_size": 9}, users={"app": f"pool_size={size}"})

    def test_max_db_connections(self):
        limits = {"max_db_connections": 1}
        hint = self.reject(limits, holder=("app2", "test"))
        value = self.apply(hint, "max_db_connections")
        self.assert_served({"max_db_connections": value}, holder=("app2", "test"))

    def test_max_user_connections(self):
        databases = self.entry("") | {"other": f"host=127.0.0.1 port={self.cluster.port} dbname=test"}
        hint = self.reject({"max_user_connections": 1}, holder=("app", "other"), databases=databases)
        value = self.apply(hint, "max_user_connections")
        self.assert_served({"max_user_connections": value}, holder=("app", "other"), databases=databases)

    def test_queue_instead_of_reject(self):
        hint = self.reject()
        self.assertIn("on_exhausted = queue", hint)
        self.finish(self.pooler)
        self.pooler = self.start_pooler({"default_pool_size": 1}, databases=self.entry("on_exhausted=queue"))
        holder, waiter = self.clients(2)
        holder.query("begin")
        waiter.send(query("select 'served'"))
        self.pooler.wait_for_pool("it waits", cl_waiting=1)
        holder.query("commit")
        self.assertEqual(raw.rows(waiter.read_until("Z")), [("served",)])

    def test_a_wait_too_long(self):
        self.pooler = self.start_pooler({"default_pool_size": 1, "query_wait_timeout": 2})
        holder, waiter = self.clients(2)
        holder.query("begin")
        fields = self.assert_sqlstate(waiter.send(query("select 1")).read_to_end(), "53300")
        self.assertIn("raise query_wait_timeout", fields["H"])
        size = self.apply(fields["H"], "default_pool_size")
        self.assertGreater(int(size), 1)


class Episodes(harness.PoolerTest):
    settings = {"default_pool_size": 1}
    databases = {}

    def test_an_episode_is_one_line_with_the_settings_and_where_they_are(self):
        holder, first, second = self.clients(3)
        holder.query("begin")
        for client in (first, second):
            client.send(query("select 1"))
        self.pooler.wait_for_pool("both wait", cl_waiting=2)
        holder.query("commit")
        for client in (first, second):
            client.read_until("Z")
        pool = self.pooler.pool()
        self.assertEqual((pool["exhaustions"], pool["refusals"]), (1, 0))
        row = next(row for row in self.pooler.console("show health") if row["kind"] == "pool")
        self.assertEqual((row["name"], row["state"]), ("test/app", "exhausted"))
        lines = [line for line in self.pooler.log_text().splitlines() if "is exhausted" in line]
        self.assertEqual(len(lines), 1, lines)
        number = self.pooler.ini.read_text().splitlines().index("default_pool_size = 1") + 1
        self.assertIn(f"pool_size = 1 ({self.pooler.ini}:{number})", lines[0])
        self.assertIn("max_db_connections = 0 (default)", lines[0])
        harness.eventually(lambda: "is not exhausted any more" in self.pooler.log_text(), "the end")
        self.assertIn("at most 2 clients waiting at once", self.pooler.log_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
