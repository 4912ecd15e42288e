"""What routing brings and costs: rows of bench/run that compare pgproxy with itself, by turns within each figure."""

import contextlib
import functools
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from programs import CLUSTER, DATABASE, PASSWORD, SERVERS, USER, BenchError, running_load, running_proxy

ROUTED = "routing=read_only_transactions on_no_replica=error failover_hold=30 read_consistency="
SETTLE = 20  # transactions of each client before pgbench is measured
SAMPLER_SECONDS = 2.5  # more than the servers are asked for positions after the last one who wanted to know
NOT_MEASURED = float("nan")

# One transaction of pgbench each.
READ = """\\set aid random(1, 100000)
BEGIN READ ONLY;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
COMMIT;
"""
READ_AND_WAIT = READ.replace("FROM pgbench_accounts", "FROM pg_sleep(0.01), pgbench_accounts")
WRITE = """\\set aid random(1, 100000)
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
"""


def of_pgproxy(*figures):
    """For a row that measures nothing of pgbouncer."""
    def decorate(measure):
        @functools.wraps(measure)
        def measured(bench, subject):
            if subject.section != "pgproxy":
                return dict.fromkeys(figures, NOT_MEASURED)
            return measure(bench, subject)
        return measured
    return decorate


def in_turn(a, b, rounds):
    """Whatever drifts meets both alike."""
    return (a, b, b, a) * rounds


def check_sides(proxy, transactions, side):
    """That `transactions` at least went to that side, and none to the other."""
    other = {"replica": "primary", "primary": "replica"}[side]
    routed = proxy.routed()
    if routed[side] < transactions or routed[other] > 0:
        raise BenchError(f"{transactions} transactions were for the {side}, counted were {routed}; "
                         f"the proxy's log ends:\n{proxy.log_tail()}")


# ---- what it costs, with the fake servers -------------------------------------------------------------------------

def wait_until_routed(proxy):
    """Transactions for a standby are refused before the roles are known."""
    proxy.wait_for_log("is a standby", 2)


def cost_of_routing(bench, subject, side, **load_options):
    """CPU per transaction with three servers, against an entry with one of them, for which there is nothing to decide.
    Standbys have half the connections each: as many of them are in use on either side."""
    single = replace(subject, asks=True)
    routed = replace(single, hosts=CLUSTER, entry=ROUTED + "session replica_pool_size=50%")
    load_options |= {"clients": SERVERS, "warmup": 10_000, "seconds": bench.seconds / 4}
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(running_proxy(bench.machine, entry, bench.server_port))
                   for entry in (single, routed)]
        wait_until_routed(proxies[1])
        loads = [stack.enter_context(running_load(bench.machine, proxy, **load_options)) for proxy in proxies]
        cpu, transactions = [0, 0], [0, 0]
        for which in in_turn(0, 1, rounds=2):
            result = loads[which].measure()
            cpu[which] += result["cpu"]
            transactions[which] += result["transactions"]
        check_sides(proxies[1], transactions[1], side)
    return (cpu[1] / transactions[1]) / (cpu[0] / transactions[0])


@of_pgproxy("read_only", "simple", "prepared")
def router(bench, subject):
    return {"read_only": cost_of_routing(bench, subject, "replica", mode="read_only"),
            "simple": cost_of_routing(bench, subject, "primary", mode="simple"),
            "prepared": cost_of_routing(bench, subject, "primary", mode="prepared")}


# ---- with real servers ---------------------------------------------------------------------------------------------

@functools.cache
def test_modules():
    """The end-to-end tests' servers; psycopg and PostgreSQL are needed for them."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/e2e"))
    try:
        import harness
        import replicas
    except (ImportError, IndexError) as error:
        raise BenchError("rows with real servers need apt-get install postgresql python3-psycopg "
                         f"(or leave them out with --rows): {error!r}") from error
    return harness, replicas


def version_of_servers():
    harness, _ = test_modules()
    output = subprocess.run([harness.BINARIES / "postgres", "--version"], capture_output=True, text=True, check=True)
    return " ".join(output.stdout.replace("(PostgreSQL)", "PostgreSQL").split()[1:3])


@contextlib.contextmanager
def real_cluster():
    """A primary and two streaming standbys with pgbench's tables, on one port, 127.0.0.1 to 127.0.0.3."""
    harness, replicas = test_modules()
    cluster = replicas.ReplicatedCluster(standbys=2)
    try:
        cluster.primary.execute(f"create role {USER} login password '{PASSWORD}' in role pg_monitor")
        cluster.primary.execute(f"create database {DATABASE} owner {USER}")
        subprocess.run([harness.BINARIES / "pgbench", "-i", "-q", "-h", cluster.primary.directory,
                        "-p", str(cluster.port), "-U", USER, DATABASE],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cluster.wait_until_replayed()
        yield cluster
    finally:
        cluster.stop()


def asked_backends(cluster):
    """The pids of those that pgproxy itself asks: clients have other names."""
    return {pid for server in cluster.servers
            for pid, in server.execute("select pid from pg_stat_activity where application_name = 'pgproxy'")}


def cpu_by_process(cluster):
    """Nanoseconds of each process of all the servers."""
    harness, _ = test_modules()
    spent = {}
    for server in cluster.servers:
        for pid in harness.processes_of(server.process):
            with contextlib.suppress(OSError):  # it has ended since
                spent[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return spent


@dataclass(frozen=True)
class Work:
    """One pgbench: `scripts` by weight; `rate` transactions/s in all; `count` of each client, always the same ones, or
    as many as there is time for."""
    scripts: tuple  # of (text, weight)
    clients: int
    rate: int = 0
    count: int = 0
    seconds: int = 0

    def start(self, machine, proxy):
        harness, _ = test_modules()
        command = [harness.BINARIES / "pgbench", "-n", "--random-seed=1", "-h", "127.0.0.1", "-p", proxy.port,
                   "-U", USER, "-c", self.clients]
        for text, weight in self.scripts:
            script = machine.directory / f"script-{abs(hash(text))}.sql"
            if not script.exists():  # another pgbench may be reading it
                script.write_text(text)
            command += ["-f", f"{script}@{weight}"]
        command += ["-R", self.rate] if self.rate else []
        command += ["-t", self.count] if self.count else ["-T", self.seconds]
        return machine.start(machine.load_core, [*command, DATABASE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=os.environ | {"PGPASSWORD": PASSWORD})


class Done(NamedTuple):
    transactions: int
    rate: float  # transactions/s once all were connected


def run_together(machine, proxy, works, patience_seconds=120):
    """What each pgbench has done: [Done]."""
    processes = [work.start(machine, proxy) for work in works]
    try:
        outputs = [process.communicate(timeout=patience_seconds)[0] for process in processes]
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"pgbench was not done in {patience_seconds} s; the proxy's log ends:\n"
                         + proxy.log_tail()) from error
    finally:
        for process in processes:
            process.kill()
            process.wait()
    results = []
    for process, output in zip(processes, outputs):
        done = re.search(r"^number of transactions actually processed: (\d+)", output, re.MULTILINE)
        rate = re.search(r"^tps = (\S+)", output, re.MULTILINE)
        failed = re.search(r"^number of failed transactions: (?!0 )", output, re.MULTILINE)
        if process.returncode != 0 or not done or not rate or failed:
            raise BenchError(f"pgbench failed:\n{output[-2000:]}\nThe proxy's log ends:\n{proxy.log_tail()}")
        results.append(Done(int(done[1]), float(rate[1])))
    return results


def real(subject, hosts="127.0.0.1", routing=""):
    """pgproxy in front of real servers, with ten connections to each."""
    return replace(subject, asks=True, hosts=hosts, entry=f"pool_size=10 password='{PASSWORD}' {routing}")


@of_pgproxy("waiting", "working")
def replicas_row(bench, subject):
    """Reads of 40 clients, over a primary and two standbys against the primary alone."""
    cluster = bench.real_cluster()
    seconds = max(1, round(bench.seconds))
    alone = real(subject)
    routed = real(subject, hosts=CLUSTER, routing=ROUTED + "session")
    ratios = {}
    with running_proxy(bench.machine, alone, cluster.port) as alone_proxy, \
         running_proxy(bench.machine, routed, cluster.port) as routed_proxy:
        wait_until_routed(routed_proxy)
        for figure, script in (("waiting", READ_AND_WAIT), ("working", READ)):
            work = Work(((script, 1),), clients=40, seconds=seconds)
            rates = []
            for proxy in (alone_proxy, routed_proxy):
                run_together(bench.machine, proxy, [replace(work, count=SETTLE)])
                rates.append(run_together(bench.machine, proxy, [work])[0].rate)
            ratios[figure] = rates[1] / rates[0]
        check_sides(routed_proxy, 2 * SETTLE * work.clients, "replica")
    return ratios


@of_pgproxy("proxy", "proxy_added", "servers", "asked", "reads")
def sampler(bench, subject):
    """CPU for the same work in read_consistency = session, against eventual: 600 transactions/s of 8 clients that write
    and read, and as many of 8 that read."""
    cluster = bench.real_cluster()
    seconds = max(1, round(bench.seconds))
    rate, clients, rounds = 600, 8, 1
    mixed = Work(((WRITE, 1), (READ, 2)), clients, rate, count=rate * seconds // clients)
    reading = Work(((READ, 1),), clients, rate, count=rate * seconds // clients)
    sides = [real(subject, CLUSTER, ROUTED + consistency) for consistency in ("eventual", "session")]
    proxy_cpu, server_cpu, asked_cpu = [0, 0], [0, 0], [0, 0]
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(running_proxy(bench.machine, side, cluster.port)) for side in sides]
        for proxy in proxies:
            wait_until_routed(proxy)
            run_together(bench.machine, proxy, [replace(work, count=SETTLE) for work in (mixed, reading)])
        before = [proxy.routed()["replica"] for proxy in proxies]
        asked = asked_backends(cluster)
        for which in in_turn(0, 1, rounds):
            time.sleep(SAMPLER_SECONDS)
            own, earlier = proxies[which].cpu_seconds(), cpu_by_process(cluster)
            run_together(bench.machine, proxies[which], (mixed, reading))
            proxy_cpu[which] += proxies[which].cpu_seconds() - own
            spent = {pid: (now - earlier.get(pid, 0)) / 1e9 for pid, now in cpu_by_process(cluster).items()}
            server_cpu[which] += sum(spent.values())
            asked_cpu[which] += sum(spent.get(pid, 0) for pid in asked)
        replica_reads = [proxy.routed()["replica"] - count for proxy, count in zip(proxies, before)]
    measured_seconds = 2 * rounds * seconds  # of each side
    return {"proxy": proxy_cpu[1] / proxy_cpu[0],
            "proxy_added": (proxy_cpu[1] - proxy_cpu[0]) / measured_seconds,
            "servers": server_cpu[1] / server_cpu[0],
            "asked": (asked_cpu[1] - asked_cpu[0]) / measured_seconds,
            "reads": replica_reads[1] / replica_reads[0]}
