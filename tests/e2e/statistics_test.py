"""What statements cost: SHOW QUERIES, SHOW SLOW_QUERIES, slow_query_threshold."""

import threading
import time
import unittest

import psycopg

import harness


def elapsed_us(work):
    began = time.monotonic()
    work()
    return (time.monotonic() - began) * 1e6


class Statistics(harness.PoolerTest):
    def query(self, pooler, text):
        """The row of SHOW QUERIES with this text, blanks aside."""
        rows = [row for row in pooler.console("show queries") if row["query"].replace(" ", "") == text.replace(" ", "")]
        self.assertLessEqual(len(rows), 1)
        return rows[0] if rows else {}

    def assert_counts(self, pooler, text, **counts):
        row = self.query(pooler, text)
        self.assertEqual({name: row.get(name) for name in counts},
                         {name: str(value) for name, value in counts.items()}, text)

    def assert_adds_up(self, row, took_us):
        """No time counts twice: it is not longer than it took the client, but for how long a round of the loop takes."""
        parts_us = sum(int(row[part + "_us"]) for part in ("wait", "connect", "replay", "execution", "client"))
        self.assertEqual(parts_us, int(row["total_us"]))
        self.assertLess(parts_us, took_us + 100_000)

    def test_statements_are_counted_by_shape(self):
        for mode in ("transaction", "session"):
            with self.subTest(mode):
                pooler = self.start_pooler({"pool_mode": mode})
                with pooler.connect() as client:
                    for number in range(5):
                        client.execute(f"select {number} from generate_series(1, 3)")
                    with self.assertRaises(psycopg.errors.DivisionByZero):
                        client.execute("select 'hush', 1 / 0")
                    client.execute("create temp table counted (n int)")
                    client.execute("insert into counted select generate_series(1, 7)")
                self.assert_counts(pooler, "select ? from generate_series (?,?)", calls=5, rows=15, errors=0, slow=0)
                self.assert_counts(pooler, "select ?,? / ?", calls=1, rows=0, errors=1)
                self.assert_counts(pooler, "insert into counted select generate_series (?,?)", calls=1, rows=7)
                self.assertNotIn("hush", str(pooler.console("show queries")))
                self.assertGreater(int(self.query(pooler, "select ? from generate_series (?,?)")["total_time"]), 0)

    def test_prepared_ones_too(self):
        pooler = self.start_pooler()
        with pooler.connect() as client:
            for number in range(4):
                client.execute("select %s::int + 1", [number])
                client.execute("select %s::int + 2 from generate_series(1, 2)", [number], prepare=True)
        self.assert_counts(pooler, "select ?:: int + ?", calls=4, rows=4)
        self.assert_counts(pooler, "select ?:: int + ? from generate_series (?,?)", calls=4, rows=8)

    def test_a_pipeline_is_measured_as_a_whole(self):
        pooler = self.start_pooler()
        with pooler.connect() as client:
            with client.pipeline():
                for number in range(3):
                    client.execute("select %s::int + 1", [number])
                    client.execute("select %s::text", [str(number)])
        self.assert_counts(pooler, "select ?:: int + ?", calls=3)
        self.assert_counts(pooler, "select ?:: text", calls=3)
        self.assertEqual(sum(int(row["rows"]) for row in pooler.console("show queries")), 6)

    def test_a_slow_query_is_told_with_where_its_time_went(self):
        pooler = self.start_pooler({"slow_query_threshold": 0.1, "default_pool_size": 1})
        with pooler.connect(application_name="reports") as client:
            client.execute("select 1")
            took_us = elapsed_us(lambda: client.execute("select pg_sleep(0.2) /* hush */, 'hush'"))
        rows = {row["query"]: row for row in pooler.console("show slow_queries")}
        row = rows["select pg_sleep (?),?"]
        self.assertEqual((row["database"], row["user"], row["application_name"], row["query"], row["failed"], row["rows"]),
                         ("test", "app", "reports", "select pg_sleep (?),?", "no", "1"))
        self.assertGreaterEqual(int(row["execution_us"]), 200_000)
        self.assert_adds_up(row, took_us)
        self.assertIn(" slow query: ", pooler.log_text())
        self.assertIn("select pg_sleep (?),?\n", pooler.log_text())
        self.assertNotIn("hush", pooler.log_text())
        self.assert_counts(pooler, "select pg_sleep (?),?", slow=1)

    def test_waiting_for_a_server_counts(self):
        pooler = self.start_pooler({"slow_query_threshold": 0.2, "default_pool_size": 1})
        with pooler.connect() as holder, pooler.connect() as client:
            holder.execute("begin")
            took_us = []
            waiter = threading.Thread(target=lambda: took_us.append(elapsed_us(lambda: client.execute("select 5"))))
            waiter.start()
            pooler.wait_for_pool("one client waits", cl_waiting=1)
            holder.execute("select pg_sleep(0.3)")
            holder.execute("commit")
            waiter.join()
        rows = {row["query"]: row for row in pooler.console("show slow_queries")}
        self.assertGreaterEqual(int(rows["select ?"]["wait_us"]), 200_000)
        self.assert_adds_up(rows["select ?"], took_us[0])

    def test_what_was_cut_off_is_slow_too(self):
        pooler = self.start_pooler({"slow_query_threshold": 0.1, "query_timeout": 0.3})
        with pooler.connect() as client, self.assertRaises(psycopg.OperationalError):
            client.execute("select pg_sleep(60)")
        row, = pooler.console("show slow_queries")
        self.assertEqual((row["query"], row["failed"]), ("select pg_sleep (?)", "yes"))

    def test_thresholds_of_single_databases_and_users(self):
        pooler = self.start_pooler({"slow_query_threshold": 0}, users={"app2": "slow_query_threshold=0.01"},
                                   databases={"reports": f"host=127.0.0.1 port={self.cluster.port} dbname=test "
                                                         "slow_query_threshold=0.01"})
        for arguments in ({}, {"database": "reports"}, {"user": "app2"}):
            with pooler.connect(**arguments) as client:
                client.execute("select pg_sleep(0.05)")
        self.assertEqual({(row["database"], row["user"]) for row in pooler.console("show slow_queries")},
                         {("reports", "app"), ("test", "app2")})

    def test_only_the_last_hundred_are_kept(self):
        pooler = self.start_pooler({"slow_query_threshold": 0.000001})
        with pooler.connect() as client:
            for _ in range(120):
                client.execute("select 1")
            client.execute("select 'last'")
        rows = pooler.console("show slow_queries")
        self.assertEqual(len(rows), 100)
        self.assertGreaterEqual(rows[0]["ended_at"], rows[-1]["ended_at"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
