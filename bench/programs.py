"""What bench/run puts to work: the proxies, the fake server and the load client."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD, DATABASE = "bench", "a password of usual length", "bench"
REPORTS = "reports"  # another pool for the same database
CLUSTER = "127.0.0.1,127.0.0.2,127.0.0.3"  # a primary and its standbys, fake or not
SERVERS = 20
IDLE_CLIENTS = 10_000
YIELDING = ["nice", "-n", "19"]
START_SECONDS = 10  # more than any program here needs to listen, or to stop


class BenchError(Exception):
    """Something that whoever runs this can repair."""


# ---- the proxies -------------------------------------------------------------------------------------------------

# For both, word for word; everything that pgproxy wants to be told is told to pgbouncer, too.
SETTINGS = f"""
listen_addr = 127.0.0.1
listen_port = {{port}}
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = {IDLE_CLIENTS + 1000}
auth_type = scram-sha-256
auth_file = {{directory}}/userlist.txt
query_wait_timeout = 50
query_timeout = 120
idle_transaction_timeout = 120
server_connect_timeout = 15
server_tls_sslmode = disable
client_tls_sslmode = allow
client_tls_cert_file = {{directory}}/server.crt
client_tls_key_file = {{directory}}/server.key
log_connections = 0
log_disconnections = 0
log_stats = 0
unix_socket_dir =
"""

# What pgproxy wants to be told, and pgbouncer does not know.
OWN_SETTINGS = """on_residue = pin
max_pinned_fraction = 0.5
on_exhausted = queue
leak_warning = 0
[capacity]
{control}check = off
coordination = none
instances = 1
safety_margin = 0.8
target_utilization = 0.7
capacity_check_interval = 0
on_overcommit = refuse_new
verify_acquire = 0
expected_rps = 1
mean_transaction_ms = 1
[recovery]
auto_recover = 1
max_attempts = 40
attempt_interval = 15
while_recovering = queue
failed_until = health_check
rerun_on = none
[health]
check_interval = 5
check_timeout = 3
failure_threshold = 3
health_query = SELECT 1
"""


# Who asks servers about their roles, and where the answers are counted.
CONTROL = f"""control_user = {USER}
control_password = {PASSWORD}
control_dbname = {DATABASE}
"""


@dataclass(frozen=True)
class Subject:
    name: str
    section: str
    program: Path
    hosts: str = "127.0.0.1"
    entry: str = ""       # what the database's entry has besides
    asks: bool = False    # the servers for their roles, as CONTROL, and tells the metrics

    def config(self, directory, port, server_port, http_port=None):
        own = OWN_SETTINGS.format(control=CONTROL if self.asks else "") if self.section == "pgproxy" else ""
        if http_port:
            own = f"http_listen = 127.0.0.1:{http_port}\n" + own
        server = f"port={server_port} dbname={DATABASE}"
        return (f"[databases]\n{DATABASE} = host={self.hosts} {server} {self.entry}\n"
                f"{REPORTS} = host=127.0.0.1 {server} pool_size=4\n"
                f"[{self.section}]" + SETTINGS.format(directory=directory, port=port) + own)


def subjects(build):
    pgbouncer = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    return {"pgproxy": Subject("pgproxy", "pgproxy", build / "pgproxy"),
            "pgbouncer": Subject("pgbouncer", "pgbouncer", Path(pgbouncer or "/usr/sbin/pgbouncer"))}


def scram_secret(password):
    """As PostgreSQL stores it: no proxy has to hash the password at each login."""
    salt, rounds = b"sixteen bytes...", 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${rounds}:{text[0]}${text[1]}:{text[2]}"


# ---- processes ---------------------------------------------------------------------------------------------------

@dataclass
class Machine:
    """Where and as whom things run."""
    directory: Path
    build: Path
    proxy_core: int
    load_core: int
    server_core: int
    account: str | None  # who the proxies run as, when we are root

    def start(self, core, command, **options):
        # A session of its own: Ctrl-C is for us alone, who then stop everything.
        return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], text=True,
                                start_new_session=True, **options)


def wait_or_kill(process):
    try:
        process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def fake_server(machine):
    process = machine.start(machine.server_core, [machine.build / "bench/bench_fake_server", "--host", CLUSTER],
                            stdout=subprocess.PIPE)
    try:
        line = process.stdout.readline()
        if not line:
            raise BenchError("bench_fake_server did not start")
        yield int(line)
    finally:
        process.kill()
        process.wait()


class Proxy:
    """One running proxy and what the kernel says about it."""

    def __init__(self, machine, subject, server_port):
        self.name = subject.name
        self.port = free_port()
        self.http_port = free_port() if subject.asks else None
        directory = Path(tempfile.mkdtemp(prefix=subject.name + "-", dir=machine.directory))
        config = directory / "proxy.ini"
        config.write_text(subject.config(directory, self.port, server_port, self.http_port))
        (directory / "userlist.txt").write_text(f'"{USER}" "{scram_secret(PASSWORD)}"\n')
        for file in ("server.crt", "server.key"):
            shutil.copy2(machine.directory / file, directory / file)
        self.log = directory / "log"
        options = {}
        if machine.account:
            account = pwd.getpwnam(machine.account)
            for path in (directory, *directory.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
            options = dict(user=account.pw_uid, group=account.pw_gid, extra_groups=[])
        with self.log.open("w") as log:
            self.process = machine.start(machine.proxy_core, [machine.directory / subject.name, config],
                                         stdout=log, stderr=log, cwd=directory, **options)

    def wait_until_listening(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise BenchError(f"{self.name} does not listen; its log ends:\n{self.log_tail()}")

    def log_tail(self):
        return "".join(self.log.read_text().splitlines(keepends=True)[-10:])

    def wait_for_log(self, words, times):
        deadline = time.monotonic() + START_SECONDS
        while self.log.read_text().count(words) < times:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise BenchError(f"{self.name} did not log \"{words}\" {times} times; its log ends:\n{self.log_tail()}")
            time.sleep(0.02)

    def cpu_seconds(self):
        """Of all threads, from the scheduler's nanoseconds (stat counts in hundredths of a second)."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def routed(self):
        """Transactions by the side that they were sent to: {"replica": 17, "primary": 4}."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=START_SECONDS) as response:
            text = response.read().decode()
        sides = {"replica": 0, "primary": 0}
        for labels, count in re.findall(r"^pgproxy_routed_transactions_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            sides[re.search(r'target="(\w+)"', labels)[1]] += int(float(count))
        return sides

    def resident_kib(self):
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1])
        raise BenchError(f"{self.name} is gone; its log ends:\n{self.log_tail()}")


@contextlib.contextmanager
def running_proxy(machine, subject, server_port):
    proxy = Proxy(machine, subject, server_port)
    try:
        proxy.wait_until_listening()
        yield proxy
    finally:
        proxy.process.terminate()
        wait_or_kill(proxy.process)


class NoProxy:
    """The fake server itself in a proxy's place: what the load could do at best."""
    name = "no proxy"

    def __init__(self, server_port):
        self.port = server_port

    def cpu_seconds(self):
        return 0.0

    def log_tail(self):
        return ""


class Load:
    """bench_load: logged in and warm once constructed; measures at measure()."""

    def __init__(self, machine, proxy, database=DATABASE, yields=False, **options):
        """`yields`: to whatever else its core has to do."""
        self.proxy = proxy
        command = [machine.build / "bench/bench_load", "--port", proxy.port, "--user", USER,
                   "--password", PASSWORD, "--database", database]
        if yields:
            command = [*YIELDING, *command]
        for name, value in options.items():
            command += ["--tls"] if name == "tls" else ["--" + name.replace("_", "-"), value]
        self.process = machine.start(machine.load_core, command, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, bufsize=1)

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"the load through {self.proxy.name} failed; the proxy's log ends:\n"
                             + self.proxy.log_tail())
        return line

    def go(self):
        with contextlib.suppress(BrokenPipeError):  # line() says what happened
            self.process.stdin.write("go\n")

    def measure(self):
        cpu = self.proxy.cpu_seconds()
        self.go()
        result = json.loads(self.line())
        result["cpu"] = self.proxy.cpu_seconds() - cpu
        return result


@contextlib.contextmanager
def running_load(machine, proxy, **options):
    load = Load(machine, proxy, **options)
    try:
        load.line()  # "ready"
        yield load
    finally:
        load.process.stdin.close()
        wait_or_kill(load.process)
