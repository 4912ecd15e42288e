"""A private PostgreSQL cluster and pgproxy instances for black-box tests.

One cluster per test program, a pgproxy per test. PGPROXY_PROGRAM names the program under test; any
program that reads PgBouncer's ini words can stand in for it. Everything lives in a temporary
directory and listens on 127.0.0.1 only; as root, everything runs as user postgres.
"""

import atexit
import contextlib
import ctypes
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import psycopg
import psycopg.rows

import raw

PROGRAM = os.environ.get("PGPROXY_PROGRAM", "pgproxy")
FAULT_PROXY = os.environ.get("PGPROXY_FAULT_PROXY", "fault_proxy")
SECTION = "pgbouncer" if pathlib.Path(PROGRAM).name == "pgbouncer" else "pgproxy"
BINARIES = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
PASSWORD = "kennwort"
PATIENCE_SECONDS = 60  # how long eventually() waits before it calls a condition lost
RUN_AS = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}

# What stands in sections of its own; tests give it among the other settings.
REQUIRED_IN = {
    "capacity": {"check": "off", "coordination": "none", "instances": 1, "safety_margin": 0.8, "target_utilization": 0.7,
                 "capacity_check_interval": 0, "on_overcommit": "refuse_new", "verify_acquire": 0, "expected_rps": 1,
                 "mean_transaction_ms": 1, "control_user": None, "control_password": None, "control_dbname": None},
    "recovery": {"auto_recover": 1, "max_attempts": 1000, "attempt_interval": 15, "while_recovering": "queue",
                 "failed_until": "reconnect", "rerun_on": "none"},
    "routing": {"routing": None, "read_consistency": None, "on_no_replica": None, "failover_hold": None,
                "probe_interval": None, "max_replica_lag": None, "replica_pool_size": None,
                "safe_functions": None, "catalog_interval": None},
    "health": {"check_interval": 0, "check_timeout": 1, "failure_threshold": 3, "health_query": "select 1"},
}
OTHER_SECTIONS = {name: section for section, values in REQUIRED_IN.items() for name in values}

HBA = """
local all all trust
host all postgres 127.0.0.1/32 trust
host all by_trust 127.0.0.1/32 trust
host all by_password 127.0.0.1/32 password
host all by_md5 127.0.0.1/32 md5
host all all 127.0.0.1/32 scram-sha-256
"""
ROLES = f"""
create role app login password '{PASSWORD}';
create role app2 login password '{PASSWORD}';
create role by_trust login;
create role by_password login password '{PASSWORD}';
create role by_scram login password '{PASSWORD}';
create role only_there login password '{PASSWORD}';
set password_encryption = 'md5';
create role by_md5 login password '{PASSWORD}';
"""


def ini_section(name, values):
    lines = "".join(f"{key} = {value}\n" for key, value in values.items() if value is not None)
    return f"[{name}]\n{lines}"


def other_sections(settings):
    """The sections beside [pgproxy], all of it given; `settings` has what a test wants otherwise."""
    text = ""
    for section, values in REQUIRED_IN.items():
        values = {name: settings.get(name, value) for name, value in values.items()}
        if "server_login_retry" in settings:  # another name for it
            values.pop("attempt_interval", None)
        text += ini_section(section, values)
    return text


_reservations = []


def free_port():
    """A port outside the range from which the system takes ports for outgoing connections. It is this process's to the
    end: a name that no file system has says so to the other tests."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            try:
                reservation.bind(f"\0pgproxy-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _reservations.append(reservation)
        return port


def eventually(condition, what, patience_seconds=PATIENCE_SECONDS):
    """Waits until condition() is true and returns its value; the only place that polls."""
    deadline = time.monotonic() + patience_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.01)


def start(arguments, **options):
    """Starts a program that gets `stop_signal` when this one dies, however it dies."""
    stop_signal = options.pop("stop_signal", signal.SIGKILL)
    libc = ctypes.CDLL(None)
    return subprocess.Popen([str(argument) for argument in arguments], **RUN_AS, **options,
                            preexec_fn=lambda: libc.prctl(1, stop_signal))


def processes_of(process):
    """The process and its children, as pids."""
    pids = [process.pid]
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may have ended since
            if int(entry.read_text().rsplit(")", 1)[1].split()[1]) == process.pid:
                pids.append(int(entry.parent.name))
    return pids


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it may have ended since
            os.kill(pid, number)


def scratch_directory():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pgproxy-test-"))
    if RUN_AS:
        shutil.chown(directory, RUN_AS["user"], RUN_AS["group"])
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def accepts(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


def accepts_on(path):
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        return True
    return False


class Cluster:
    """PostgreSQL. Tests look at it as superuser postgres; everyone else comes through pgproxy."""

    _shared = None

    @classmethod
    def shared(cls):
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def __init__(self):
        self.directory = scratch_directory()
        self.data = self.directory / "data"
        self.port = free_port()
        self.socket = f"{self.directory}/.s.PGSQL.{self.port}"
        subprocess.run([BINARIES / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E",
                        "UTF8", "--locale=C", "--no-sync"],
                       check=True, stdout=subprocess.DEVNULL, **RUN_AS)
        (self.data / "pg_hba.conf").write_text(HBA)
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nfsync = off\n"
                       f"unix_socket_directories = '{self.directory}'\nmax_connections = 100\nmax_prepared_transactions = 20\n"
                       "shared_buffers = 16MB\nautovacuum = off\njit = off\n")
        atexit.register(self.stop)
        self.start()
        self.execute(ROLES)
        self.execute("create database test owner app")
        self.execute("grant all on schema public to public", database="test")

    def start(self):
        with open(self.directory / "postgresql.log", "ab") as log:
            self.process = start([BINARIES / "postgres", "-D", self.data], stdout=log, stderr=log,
                                 stop_signal=signal.SIGQUIT)
        eventually(self._is_up, "PostgreSQL accepts connections")

    def _is_up(self):
        with contextlib.suppress(psycopg.OperationalError):
            self.connect(database="postgres").close()
            return True
        if self.process.poll() is not None:
            sys.exit((self.directory / "postgresql.log").read_text())
        return False

    def stop(self, how=signal.SIGQUIT):
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def connect(self, user="postgres", database="test"):
        return psycopg.connect(host=str(self.directory), port=self.port, user=user, dbname=database,
                               autocommit=True)

    def raw(self, user="app", database="test", **settings):
        """A raw client straight to PostgreSQL, to compare with."""
        client = raw.RawClient(self.socket)
        client.login(user, database, **settings)
        return client

    def execute(self, sql, parameters=None, database="postgres"):
        """Runs one statement (several without parameters) as superuser; returns the last one's rows."""
        with self.connect(database=database) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def server_pids(self, where="true"):
        """Backends of everyone but the superuser, that is: pgproxy's server connections."""
        return [pid for pid, in self.execute(
            "select pid from pg_stat_activity where backend_type = 'client backend'"
            f" and usename <> 'postgres' and ({where}) order by pid")]

    def secret_of(self, role):
        return self.execute("select rolpassword from pg_authid where rolname = %s", [role])[0][0]


class Pooler:
    """One pgproxy with an ini of its own, every required setting explicit."""

    def __init__(self, cluster, settings=None, databases=None, users=None, secrets=None, port=None,
                 own_port=None, wait_until_up=True):
        self.cluster = cluster
        self.directory = scratch_directory()
        self.port = own_port or free_port()
        self.log = self.directory / "pgproxy.log"
        self.ini = self.directory / "pgproxy.ini"
        self.secrets = {user: PASSWORD for user in ("app", "app2", "by_trust", "by_password", "by_md5",
                                                    "by_scram", "admin", "stats")} | (secrets or {})
        self.settings = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": self.directory,
            "auth_type": "trust", "auth_file": self.directory / "userlist.txt",
            "pool_mode": "transaction", "default_pool_size": 3, "max_client_conn": 200,
            "query_wait_timeout": 60, "query_timeout": 120, "idle_transaction_timeout": 120,
            "server_connect_timeout": 15, "server_tls_sslmode": "disable",
            **({"server_round_robin": 1} if SECTION == "pgbouncer" else
               {"checkout_order": "random", "on_residue": "pin", "max_pinned_fraction": 1,
                "on_exhausted": "queue", "leak_warning": 0, "client_login_timeout": 70}),
            "admin_users": "admin", "stats_users": "stats", "stats_period": 60,
        } | (settings or {})
        if "query_wait_timeout" not in (settings or {}):
            patience = float(self.settings.get("client_login_timeout") or 1000)
            self.settings["query_wait_timeout"] = min(60, 0.9 * patience)
        self.databases = {"test": f"host=127.0.0.1 port={port or cluster.port}"} | (databases or {})
        self.users = users or {}
        self.write_ini()
        with open(self.log, "ab") as log:
            self.process = start([PROGRAM, self.ini], stdout=log, stderr=log)
        if wait_until_up:
            eventually(self._is_up, "pgproxy accepts connections")

    def write_ini(self):
        main = {name: value for name, value in self.settings.items() if name not in OTHER_SECTIONS}
        self.ini.write_text(ini_section("databases", self.databases) + ini_section("users", self.users)
                            + ini_section(SECTION, main)
                            + (other_sections(self.settings) if SECTION == "pgproxy" else ""))
        (self.directory / "userlist.txt").write_text(
            "".join(f'"{user}" "{secret}"\n' for user, secret in self.secrets.items()))

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"pgproxy ended with {self.process.returncode}:\n{self.log_text()}")
        directory = self.settings["unix_socket_dir"]  # its socket opens last
        return accepts_on(f"{directory}/.s.PGSQL.{self.port}") if directory else accepts(self.port)

    def log_text(self):
        return self.log.read_text(errors="replace")

    def connect(self, user="app", database="test", **options):
        return psycopg.connect(**{"host": "127.0.0.1", "port": self.port, "user": user, "dbname": database,
                                  "password": PASSWORD, "autocommit": True, "sslmode": "disable",
                                  "prepare_threshold": None, "connect_timeout": PATIENCE_SECONDS} | options)

    def address(self):
        return ("127.0.0.1", self.port)

    def raw(self, user="app", database="test", **settings):
        """A logged-in raw client."""
        client = raw.RawClient(self.address())
        reply = client.login(user, database, PASSWORD, **settings)
        if reply[-1].tag != "Z":
            raise AssertionError(f"login failed: {reply[-1].fields()}")
        return client

    def console(self, command, user="admin"):
        """Runs a console command; rows as dictionaries."""
        with raw.RawClient(self.address()) as client:
            client.login(user, SECTION, PASSWORD)
            reply = client.query(command)
        if any(message.tag == "E" for message in reply):
            raise AssertionError(f"{command}: {raw.error(reply)}")
        names = columns(next(message for message in reply if message.tag == "T"))
        return [dict(zip(names, row)) for row in raw.rows(reply)]

    def pool(self, user="app", database="test"):
        """The pool's line of SHOW POOLS, numbers as numbers; empty before the pool exists."""
        for row in self.console("show pools"):
            if (row["user"], row["database"]) == (user, database):
                return {key: int(value) if value and value.isdigit() else value for key, value in row.items()}
        return {}

    def wait_for_pool(self, what, user="app", **counts):
        """Waits until SHOW POOLS has these counts, as in cl_waiting=2."""
        eventually(lambda: counts.items() <= self.pool(user).items(), f"{what}: {counts}")

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def peak_resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def is_alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGQUIT):
        """Stops it and returns its exit status."""
        if self.is_alive():
            self.process.send_signal(how)
        return self.process.wait(PATIENCE_SECONDS)


def columns(row_description):
    """Column names of a RowDescription."""
    names, body = [], row_description.body[2:]
    while body:
        name, _, rest = body.partition(b"\0")
        names.append(name.decode())
        body = rest[18:]
    return names


class FaultProxy:
    """The fault proxy in front of PostgreSQL; starts calm. Commands: see fault_proxy.cpp."""

    def __init__(self, target_port, seed=1):
        self.port = free_port()
        self.process = start([FAULT_PROXY, self.port, target_port, seed], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def command(self, line):
        """Returns when the command has taken effect."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer == "ok\n", f"{line}: {answer}"

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class PoolerTest(unittest.TestCase):
    """A test with `self.cluster` and, unless start_pooler() is called by hand, `self.pooler`."""

    settings = {}
    databases = {}
    users = {}
    secrets = {}
    auto_start = True
    maxDiff = None

    def setUp(self):
        self.cluster = Cluster.shared()
        self.poolers = []
        if self.auto_start:
            self.pooler = self.start_pooler()

    def start_pooler(self, settings=None, **options):
        pooler = Pooler(self.cluster, self.settings | (settings or {}), **{
            "databases": self.databases, "users": self.users, "secrets": self.secrets} | options)
        self.poolers.append(pooler)
        self.addCleanup(self._clean_up, pooler)
        return pooler

    def start_fault_proxy(self):
        proxy = FaultProxy(self.cluster.port)
        self.addCleanup(proxy.stop)
        return proxy

    def client(self, *args, **options):
        """A raw client of self.pooler that is closed with the test."""
        client = self.pooler.raw(*args, **options)
        self.addCleanup(client.close)
        return client

    def clients(self, count, *args, **options):
        return [self.client(*args, **options) for _ in range(count)]

    def connect(self, *args, **options):
        """A psycopg connection of self.pooler that is closed with the test."""
        connection = self.pooler.connect(*args, **options)
        self.addCleanup(connection.close)
        return connection

    def fill_pool(self, *args, size=3, **options):
        """Clients that each hold a server connection in an open transaction."""
        holders = self.clients(size, *args, **options)
        for holder in holders:
            holder.query("begin")
        return holders

    def assert_sqlstate(self, reply, sqlstate):
        self.assertEqual(raw.error(reply).get("C"), sqlstate, reply)
        return raw.error(reply)

    def assert_refused(self, sqlstate, user="app", database="test", password=PASSWORD, **settings):
        """A login ends with this FATAL and a closed connection; returns the error's fields."""
        with raw.RawClient(self.pooler.address()) as client:
            reply = client.login(user, database, password, **settings)
            fields = self.assert_sqlstate(reply, sqlstate)
            self.assertEqual(fields["S"], "FATAL")
            self.assertEqual(client.read_to_end(), [])
            return fields

    def finish(self, pooler):
        """Alive to the end, stops when told, and PostgreSQL knows no connection of it any more."""
        self.forget(pooler)
        alive = pooler.is_alive()
        status = pooler.stop()
        log = pooler.log_text()
        self.assertTrue(alive, "pgproxy died during the test")
        self.assertEqual(status, 0, log[-2000:])
        for sign in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "ssertion"):
            self.assertNotIn(sign, log)
        if self.cluster.process.poll() is None and not any(other.is_alive() for other in self.poolers):
            eventually(lambda: not self.cluster.server_pids(), "no server connection is left after stop")

    def forget(self, pooler):
        """For a test that judges the end of its pgproxy itself."""
        self.poolers.remove(pooler)

    def _clean_up(self, pooler):
        try:
            if pooler in self.poolers:
                self.finish(pooler)
        finally:
            pooler.process.kill()
            pooler.process.wait()
            if not self._outcome.success or sys.exc_info()[0]:
                sys.stderr.write(f"\n--- log of {self.id()} ---\n{pooler.log_text()[-20000:]}\n")
