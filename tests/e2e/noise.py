"""Noise: clients that share the servers of a test with the client under test.

Each of them sets its own session state and says so as soon as it sees anything else: a setting of
another client, or something that another client left behind.
"""

import itertools
import threading
import traceback

import harness
import psycopg
from harness import PASSWORD, eventually

# Left out: what a transaction has of its own, and what a library adds where it happens to be loaded (plpgsql.*).
# Custom parameters and the role are not in pg_settings.
EVERY_SETTING = """
select coalesce(current_setting('app.tenant', true), ''), session_user || '/' || current_user || '/' || current_setting('role'),
  (select json_object_agg(name, setting) from pg_settings where name not like 'transaction%' and name not like '%.%')
"""
LEFTOVERS = """
select (select array_agg(c) from pg_listening_channels() c),
  (select array_agg(name) from pg_cursors where name <> ''),
  (select array_agg(relname) from pg_class where relnamespace = pg_my_temp_schema()),
  (select array_agg(objid) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())
"""
ZONES = ("Asia/Tokyo", "America/Lima", "Europe/Rome")


class Direct:
    """PostgreSQL itself, to run the same work against it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.port = cluster.port

    def connect(self, user="app", database="test", **options):
        return psycopg.connect(**{"host": "127.0.0.1", "port": self.port, "user": user, "dbname": database, "password": PASSWORD,
                                  "autocommit": True, "sslmode": "disable", "prepare_threshold": None} | options)


class Noise:
    """Runs its clients as a context manager; leaving it raises what any of them found wrong.

    Each has a schema of its own with a table `ledger`: what it wrote there is all that it may find.
    writes=False: it stays empty, for tests in which an INSERT keeps a server.
    """

    _schemas = itertools.count()

    def __init__(self, target, clients=2, writes=True, **options):
        self._target = target
        self._writes = writes
        self._options = options
        self._stop = threading.Event()
        self._wrong = []
        self._turns = [0] * clients
        self._threads = [threading.Thread(target=self._run, args=(number, f"noise_{next(self._schemas)}"))
                         for number in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for_turns(1)
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self.wait_for_turns(5)
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        if self._wrong:
            raise AssertionError("a client beside the one under test: " + "\n".join(self._wrong)) from error

    def wait_for_turns(self, count):
        """Every client runs so many more transactions."""
        goal = [turns + count for turns in self._turns]
        eventually(lambda: self._wrong or all(now >= then for now, then in zip(self._turns, goal)), "the noise goes on")

    def _run(self, number, schema):
        try:
            with self._target.connect(**self._options) as connection:
                self._set_up(connection, number, schema)
                expected = connection.execute(EVERY_SETTING).fetchone()
                while not self._stop.wait(0.001):  # leaves the processor to the client under test
                    expected = self._turn(connection, number, expected)
                    self._turns[number] += 1
        except Exception:  # whatever it is, the test's own thread reports it
            self._wrong.append(traceback.format_exc())

    @staticmethod
    def _set_up(connection, number, schema):
        connection.execute(f"drop schema if exists {schema} cascade")
        connection.execute(f"create schema {schema}")
        for name, value in {"search_path": schema, "application_name": f"noise {number}", "timezone": ZONES[number % len(ZONES)],
                            "app.tenant": f"noise {number}", "work_mem": f"{10 + number}MB"}.items():
            connection.execute(f"set {name} = '{value}'")
        connection.execute("create table ledger (turn int)")

    def _turn(self, connection, number, expected):
        turn = self._turns[number]
        with connection.transaction():
            if self._writes:
                connection.execute("insert into ledger values (%s)", [turn])
            self._expect(connection, expected)
        self._expect(connection, expected)
        (count,) = connection.execute("select count(*) from ledger").fetchone()
        rows = turn + 1 if self._writes else 0
        if count != rows:
            raise AssertionError(f"{count} rows instead of {rows}")
        if turn % 7 == 6:
            connection.execute(f"set work_mem = '{20 + turn % 50}MB'")
            tenant, user, settings = expected
            expected = (tenant, user, settings | {"work_mem": str(1024 * (20 + turn % 50))})
        return expected

    @staticmethod
    def _expect(connection, expected):
        seen = connection.execute(EVERY_SETTING).fetchone()
        if seen != expected:
            own, others = expected[2], seen[2]
            changed = {name: (own.get(name), others.get(name)) for name in own | others if own.get(name) != others.get(name)}
            raise AssertionError(f"{seen[:2]} instead of {expected[:2]}, settings (own, seen): {changed}")
        left = connection.execute(LEFTOVERS).fetchone()
        if any(left):
            raise AssertionError(f"channels, cursors, temporary objects, advisory locks of others: {left}")


class ClientTest(harness.PoolerTest):
    """A client's usual work, against PostgreSQL and then through three servers that others use too.

    query_wait_timeout: a client that pins what it should not costs the test this long, then it fails.
    """

    settings = {"auth_type": "scram-sha-256", "default_pool_size": 3, "server_round_robin": 1, "query_wait_timeout": 10}

    def both(self, work, **noise):
        """work(target) has the same outcome at PostgreSQL and, among others, at pgproxy."""
        expected = work(Direct(self.cluster))
        with Noise(self.pooler, **noise):
            outcome = work(self.pooler)
        self.assertEqual(outcome, expected)

    def as_app(self, *statements):
        """Prepares tables for a test, straight at PostgreSQL, as the user of the tests."""
        with Direct(self.cluster).connect() as connection:
            for statement in statements:
                connection.execute(statement)
