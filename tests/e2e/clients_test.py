"""Programs and drivers as people use them, over pools of two to five servers."""

import asyncio
import os
import subprocess
import unittest

import asyncpg
import harness
import psycopg
from harness import BINARIES, PASSWORD

LIBPQ_PIPELINE = os.environ.get("PGPROXY_LIBPQ_PIPELINE", "libpq_pipeline")


class Programs(harness.PoolerTest):
    settings = {"auth_type": "scram-sha-256"}

    def run_program(self, *arguments, program="psql", **options):
        environment = os.environ | {"PGPASSWORD": PASSWORD, "PGSSLMODE": "prefer", "PSQLRC": "/dev/null"}
        where = ["-h", "127.0.0.1", "-p", str(self.pooler.port), "-U", "app"]
        result = subprocess.run([BINARIES / program, *where, *arguments], capture_output=True, text=True,
                                env=environment, check=False, timeout=300, **options)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def psql(self, script):
        return self.run_program("-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "test", input=script)

    def test_psql(self):
        self.assertEqual(self.psql("select 1; select 2;\nselect 3 \\; select 4;"), "1\n2\n3\n4\n")
        self.assertEqual(self.psql("begin;\nselect 1;\nrollback;\n"), "1\n")
        described = "create table if not exists described (n int primary key);\n\\d\n\\d described\n\\dt+\n\\l\n\\du\n"
        self.assertIn("described", self.psql(described))
        self.assertEqual(self.psql("select 5 as five \\gset\n\\echo :five\n"), "5\n")

    def test_psql_copies(self):
        lines = "".join(f"{n}\tline {n}\n" for n in range(5000))
        path = self.pooler.directory / "lines.txt"
        path.write_text(lines)
        out = self.psql(f"drop table if exists lines; create table lines (n int, t text);\n\\copy lines from '{path}'\n"
                        "\\copy lines from stdin\n7\tinline\n\\.\nselect count(*) from lines;\n\\copy lines to stdout\n")
        self.assertEqual(out, "5001\n" + lines + "7\tinline\n")

    def test_pg_dump(self):
        self.psql("drop table if exists dumped; create table dumped as select generate_series(1, 100) n;")
        for _ in range(2):
            dump = self.run_program("-t", "dumped", "test", program="pg_dump")
            self.assertIn("COPY public.dumped", dump)
        self.assertEqual(self.psql("select count(*) from dumped;"), "100\n")

    def test_pgbench(self):
        for pool_size in (2, 5):
            self.pooler = self.start_pooler({"default_pool_size": pool_size, "pool_mode": "transaction"})
            self.run_program("-i", "-q", "-s", "1", "test", program="pgbench")
            for mode in (["-M", "simple"], ["-M", "extended"], ["-S", "-M", "extended"], ["-S", "-C"]):
                with self.subTest(pool_size=pool_size, mode=mode):
                    out = self.run_program("-n", "-c", "10", "-j", "2", "-t", "30", *mode, "test", program="pgbench")
                    self.assertIn("number of transactions actually processed: 300/300", out)
                    self.assertIn("number of failed transactions: 0", out)
            sums = ("select sum(abalance) from pgbench_accounts", "select sum(delta) from pgbench_history")
            self.assertEqual(*(self.cluster.execute(sql, database="test") for sql in sums))

    def test_pgbench_with_named_statements(self):
        """A thread for each client: pgbench waits for PQprepare while its other clients hold the servers."""
        self.pooler = self.start_pooler({"default_pool_size": 2})
        self.run_program("-i", "-q", "-s", "1", "test", program="pgbench")
        out = self.run_program("-n", "-c", "5", "-j", "5", "-t", "50", "-M", "prepared", "test", program="pgbench")
        self.assertIn("number of transactions actually processed: 250/250", out)

    def test_libpq_pipeline_mode(self):
        for pool_mode in ("transaction", "session"):
            self.pooler = self.start_pooler({"pool_mode": pool_mode, "default_pool_size": 2})
            self.cluster.execute("drop table if exists piped; create table piped (n int); alter table piped owner to app",
                                 database="test")
            conninfo = f"host=127.0.0.1 port={self.pooler.port} user=app dbname=test password={PASSWORD}"
            run = subprocess.run([LIBPQ_PIPELINE, conninfo], stdout=subprocess.PIPE, text=True, check=False, timeout=300)
            self.assertEqual((run.returncode, run.stdout), (0, "ok\n"), pool_mode)


class Psycopg(harness.PoolerTest):
    settings = {"auth_type": "scram-sha-256"}

    def test_transactions_and_errors(self):
        connection = self.connect(autocommit=False)
        with self.assertRaises(psycopg.errors.DivisionByZero):
            connection.execute("select 1/0")
        with self.assertRaises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        connection.rollback()
        with connection.transaction():
            connection.execute("create temp table t (n int) on commit drop")
            with self.assertRaises(psycopg.errors.UndefinedTable), connection.transaction():
                connection.execute("select * from no_such_table")
            self.assertEqual(connection.execute("select count(*) from t").fetchone(), (0,))

    def test_pipeline_mode(self):
        connection = self.connect()
        with connection.pipeline() as pipeline:
            cursors = [connection.execute("select %s::int", [n]) for n in range(300)]
            pipeline.sync()
            self.assertEqual([cursor.fetchone() for cursor in cursors], [(n,) for n in range(300)])
        with self.assertRaises(psycopg.errors.DivisionByZero), connection.pipeline():
            connection.execute("select 1")
            connection.execute("select 1/0")
            connection.execute("select 2")
        self.assertEqual(connection.execute("select 3").fetchone(), (3,))

    def test_copy(self):
        connection = self.connect()
        connection.execute("drop table if exists copied_rows")
        connection.execute("create table copied_rows (n int, t text)")
        cursor = connection.cursor()
        with cursor.copy("copy copied_rows from stdin") as copy:
            for number in range(10_000):
                copy.write_row((number, f"row {number}"))
        with cursor.copy("copy (select * from copied_rows order by n) to stdout") as copy:
            copy.set_types(["int4", "text"])
            self.assertEqual(list(copy.rows()), [(n, f"row {n}") for n in range(10_000)])
        with self.assertRaises(psycopg.errors.InvalidTextRepresentation):
            with cursor.copy("copy copied_rows from stdin") as copy:
                copy.write("no number\tx\n")
        with self.assertRaises(psycopg.errors.QueryCanceled), cursor.copy("copy copied_rows from stdin") as copy:
            copy.write("1\tx\n")
            raise ValueError("psycopg answers this with CopyFail")
        self.assertEqual(cursor.execute("select count(*) from copied_rows").fetchone(), (10_000,))

    def test_server_side_cursors(self):
        connection = self.connect(autocommit=False)
        with connection.cursor("named") as cursor:
            cursor.execute("select generate_series(1, 1000)")
            self.assertEqual(len(cursor.fetchmany(10)), 10)
            self.assertEqual(sum(n for n, in cursor), sum(range(11, 1001)))
        connection.commit()

    def test_statements_prepared_after_five_executions(self):
        connections = [self.connect(prepare_threshold=5) for _ in range(3)]
        for turn in range(20):
            for number, connection in enumerate(connections):
                row = connection.execute("select %s::int, %s::int", [number, turn]).fetchone()
                self.assertEqual(row, (number, turn))

    def test_binary_and_unicode(self):
        connection = self.connect()
        row = connection.cursor(binary=True).execute("select %b::int8, %t::text, %b::bytea", [7, "é€😀", bytes(range(256))])
        self.assertEqual(row.fetchone(), (7, "é€😀", bytes(range(256))))

    def test_notices(self):
        connection, notices = self.connect(), []
        connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
        connection.execute("do $$ begin raise notice 'heard'; end $$")
        self.assertEqual(notices, ["heard"])


class Asyncpg(harness.PoolerTest):
    settings = {"auth_type": "scram-sha-256"}

    def run_with(self, work, **options):
        async def run():
            connection = await asyncpg.connect(host="127.0.0.1", port=self.pooler.port, user="app", password=PASSWORD,
                                               database="test", **options)
            try:
                await work(connection)
            finally:
                await connection.close()
        asyncio.run(run())

    async def usual_work(self, connection):
        self.assertEqual(await connection.fetchval("select $1::int + 1", 41), 42)
        rows = await connection.fetch("select g, repeat('x', g) as t from generate_series(1, 500) g")
        self.assertEqual([(row["g"], len(row["t"])) for row in rows], [(n, n) for n in range(1, 501)])
        with self.assertRaises(asyncpg.DivisionByZeroError):
            await connection.fetch("select 1/0")
        async with connection.transaction():
            cursor = await connection.cursor("select generate_series(1, 100)")
            self.assertEqual(len(await cursor.fetch(30)), 30)
        with self.assertRaises(asyncio.TimeoutError):
            await connection.fetch("select pg_sleep(60)", timeout=0.2)
        self.assertEqual(await connection.fetchval("select 'after'"), "after")

    def test_with_named_statements(self):
        self.run_with(self.usual_work)

    def test_with_unnamed_statements(self):
        self.run_with(self.usual_work, statement_cache_size=0)

    def test_settings_at_startup(self):
        async def work(connection):
            self.assertEqual(await connection.fetchval("show work_mem"), "7MB")
        self.run_with(work, server_settings={"work_mem": "7MB", "application_name": "asyncpg", "jit": "off"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
