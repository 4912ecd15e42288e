"""A PostgreSQL primary with streaming standbys, which share a port and differ in their addresses."""

import contextlib
import pathlib
import shutil
import signal
import subprocess

import psycopg

import harness
from harness import BINARIES, PASSWORD, RUN_AS, eventually

CONTROL = "watcher"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
HBA = """
local all all trust
local replication all trust
host all postgres 127.0.0.0/8 trust
host replication all 127.0.0.0/8 trust
host all all 127.0.0.0/8 scram-sha-256
"""


def state_of(pid):
    """The letter that /proc has for it; nothing when it has ended."""
    with contextlib.suppress(OSError):
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return "" if state in "ZX" else state
    return ""


class Server:
    """One of them; `address` is where it listens."""

    def __init__(self, cluster, address):
        self.cluster, self.address = cluster, address
        self.directory = cluster.directory / address
        self.data = self.directory / "data"
        self.directory.mkdir()
        if RUN_AS:
            shutil.chown(self.directory, RUN_AS["user"], RUN_AS["group"])
        self.process = None

    def configure(self):
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(f"port = {self.cluster.port}\nlisten_addresses = '{self.address}'\nfsync = off\n"
                       f"unix_socket_directories = '{self.directory}'\nmax_connections = 60\nshared_buffers = 16MB\n"
                       "autovacuum = off\njit = off\nwal_receiver_status_interval = 1\nmax_wal_senders = 8\n"
                       "wal_keep_size = 256MB\nwal_retrieve_retry_interval = '100ms'\nmax_prepared_transactions = 5\n")

    def start(self):
        with open(self.directory / "postgresql.log", "ab") as log:
            self.process = harness.start([BINARIES / "postgres", "-D", self.data], stdout=log, stderr=log,
                                         stop_signal=signal.SIGQUIT)
        eventually(self.is_up, f"{self.address} accepts connections")

    def is_up(self):
        with contextlib.suppress(psycopg.OperationalError):
            self.connect(database="postgres").close()
            return True
        if self.process.poll() is not None:
            raise AssertionError((self.directory / "postgresql.log").read_text())
        return False

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, how=signal.SIGQUIT):
        if self.is_running():
            self.process.send_signal(how)
            self.process.wait()

    def kill(self):
        """As a machine that loses power: the postmaster and all its children at once."""
        pids = harness.processes_of(self.process)
        harness.signal_all(pids, signal.SIGKILL)
        self.process.wait()
        eventually(lambda: not any(state_of(pid) for pid in pids), f"all of {self.address} has ended")

    def freeze(self):
        """Its connections stay open, new ones are taken by the kernel, and nothing answers."""
        harness.signal_all(harness.processes_of(self.process), signal.SIGSTOP)
        eventually(lambda: {state_of(pid) for pid in harness.processes_of(self.process)} <= {"T", ""}, f"{self.address} is frozen")

    def thaw(self):
        if self.is_running():
            harness.signal_all(harness.processes_of(self.process), signal.SIGCONT)

    def connect(self, user="postgres", database="test"):
        return psycopg.connect(host=str(self.directory), port=self.cluster.port, user=user, dbname=database,
                               autocommit=True)

    def execute(self, sql, parameters=None, database="postgres"):
        with self.connect(database=database) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql):
        return self.execute(sql)[0][0]

    # As a standby.

    def pause_replay(self):
        self.execute("select pg_wal_replay_pause()")
        eventually(lambda: self.value("select pg_get_wal_replay_pause_state()") == "paused", "replay is paused")

    def resume_replay(self):
        self.execute("select pg_wal_replay_resume()")

    def set_apply_delay(self, milliseconds):
        self.execute(f"alter system set recovery_min_apply_delay = '{milliseconds}ms'")
        self.execute("select pg_reload_conf()")

    def promote(self):
        self.execute("select pg_promote()")
        eventually(lambda: not self.value("select pg_is_in_recovery()"), f"{self.address} is promoted")

    def follow(self, primary):
        """Streams from `primary` from now on; it keeps running."""
        self.execute(f"alter system set primary_conninfo = 'host={primary.address} port={self.cluster.port} user=postgres'")
        self.execute("select pg_reload_conf()")

    def terminate_backends(self):
        """Ends pgproxy's connections to it, and returns when they have been told."""
        pids = self.backends()
        for pid in pids:
            self.execute("select pg_terminate_backend(%s)", [pid])  # a signal: it ends when it has its turn
        eventually(lambda: not set(pids) & set(self.backends()), f"connections to {self.address} have ended")
        return pids

    def backends(self):
        """pgproxy's connections, its own questions aside."""
        return [pid for pid, in self.execute(
            "select pid from pg_stat_activity where backend_type = 'client backend' and usename = 'app'")]


class ReplicatedCluster:
    """`servers[0]` is the primary to begin with."""

    def __init__(self, standbys=2):
        self.directory = harness.scratch_directory()
        self.port = harness.free_port()
        self.servers = [Server(self, address) for address in ADDRESSES[:standbys + 1]]
        primary = self.servers[0]
        self._run("initdb", "-D", primary.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        (primary.data / "pg_hba.conf").write_text(HBA)
        primary.configure()
        try:
            primary.start()
            primary.execute(f"create role app login password '{PASSWORD}'")
            primary.execute(f"create role {CONTROL} login password '{PASSWORD}'")
            primary.execute(f"grant pg_monitor to {CONTROL}")
            primary.execute("create database test owner app")
            primary.execute("grant all on schema public to public", database="test")
            for standby in self.servers[1:]:
                self._run("pg_basebackup", "-D", standby.data, "-h", primary.directory, "-p", self.port, "-U", "postgres",
                          "-R", "-c", "fast", "-X", "stream", "--no-sync")
                standby.configure()
                standby.start()
                standby.follow(primary)
            self.wait_until_replayed()
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def _run(program, *arguments):
        subprocess.run([str(argument) for argument in (BINARIES / program, *arguments)], check=True,
                       stdout=subprocess.DEVNULL, **RUN_AS)

    @property
    def primary(self):
        return self.servers[0]

    @property
    def standbys(self):
        return self.servers[1:]

    def wait_until_replayed(self):
        """The standbys have all that the primary has written by now."""
        # A transaction of its own has all before it flushed, and so sent, at once; what only fills a page waits for 15 s else.
        position = self.primary.value("select pg_logical_emit_message(true, 'tests', '')")
        for standby in self.standbys:
            if standby.is_running():
                eventually(lambda: standby.value(f"select pg_last_wal_replay_lsn() >= '{position}'"),
                           f"{standby.address} has replayed {position}")

    def stop(self):
        for server in reversed(self.servers):
            server.thaw()
            server.stop()


def create_counters(cluster):
    """A table that app may read and write, on all servers."""
    cluster.primary.execute("create table counters(id int primary key, n int); grant all on counters to app", database="test")
    cluster.wait_until_replayed()


def pooler(cluster, settings=None, entry="", **options):
    """A pgproxy in front of all of them."""
    hosts = ",".join(server.address for server in cluster.servers)
    given = {"control_user": CONTROL, "control_password": PASSWORD, "control_dbname": "postgres",
             "routing": "read_only_transactions", "read_consistency": "session", "on_no_replica": "primary",
             "failover_hold": 10, "probe_interval": 0.1, "rerun_on": "none", "query_wait_timeout": 30}
    return harness.Pooler(cluster, given | (settings or {}),
                          databases={"test": f"host={hosts} port={cluster.port} dbname=test {entry}"},
                          secrets={CONTROL: PASSWORD}, port=cluster.port, **options)


def where(connection):
    """The address of the server that the current transaction runs on, by a question that any of them may be asked."""
    return connection.execute("select current_setting('listen_addresses')").fetchone()[0]
