"""What routing brings and costs: rows of bench/run that compare pgproxy with itself, by turns within each figure."""

import contextlib
import functools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from programs import CLUSTER, DATABASE, PASSWORD, SERVERS, USER, BenchError, running_load, running_proxy

ROUTED = ("routing=read_only_transactions on_no_replica=error failover_hold=30 "
          "replica_pool_size=50%")  # of two standbys: as many connections as the primary alone has
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
    """That the transactions went where this row supposes; a login is no transaction."""
    other = {"replica": "primary", "primary": "replica"}[side]
    routed = proxy.routed()
    if routed[side] < transactions or routed[other] > 0:
        raise BenchError(f"{transactions} transactions were for the {side}, counted were {routed}; "
                         f"the proxy's log ends:\n{proxy.log_tail()}")


# ---- what it costs, with the fake servers -------------------------------------------------------------------------

def wait_until_routed(proxy):
    """The first transactions for a standby would be refused before the roles are known."""
    proxy.wait_for_log("is a standby", 2)


def cost_of_routing(bench, subject, side, **load_options):
    """CPU per transaction with three servers, against an entry with one of them, for which there is nothing to decide."""
    single = replace(subject, asks=True)
    routed = replace(single, hosts=CLUSTER, entry=ROUTED + " read_consistency=session")
    load_options |= {"clients": SERVERS, "warmup": 20_000, "seconds": bench.seconds / 2}
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(running_proxy(bench.machine, which, bench.server_port)) for which in (single, routed)]
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


@contextlib.contextmanager
def real_cluster():
    """A primary and two streaming standbys with pgbench's tables, on one port, 127.0.0.1 to 127.0.0.3."""
    harness, replicas = test_modules()
    cluster = replicas.ReplicatedCluster(standbys=2)
    try:
        cluster.primary.execute(f"create role {USER} login password '{PASSWORD}' in role pg_monitor")
        cluster.primary.execute(f"create database {DATABASE} owner {USER}")
        subprocess.run([harness.BINARIES / "pgbench", "-i", "-q", "-h", cluster.primary.directory, "-p", str(cluster.port),
                        "-U", USER, DATABASE], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cluster.wait_until_replayed()
        yield cluster
    finally:
        cluster.stop()


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
    """One pgbench: `scripts` by weight; `rate` transactions/s in all, `count` of each client, or else as many as go in
    `seconds`."""
    scripts: tuple  # of (text, weight)
    clients: int
    rate: int = 0
    count: int = 0
    seconds: int = 0

    def start(self, machine, proxy):
        harness, _ = test_modules()
        command = [harness.BINARIES / "pgbench", "-n", "--random-seed=1", "-h", "127.0.0.1", "-p", proxy.port, "-U", USER,
                   "-c", self.clients]
        for text, weight in self.scripts:
            script = machine.directory / f"script-{abs(hash(text))}.sql"
            script.write_text(text)
            command += ["-f", f"{script}@{weight}"]
        command += ["-R", self.rate] if self.rate else []
        command += ["-t", self.count] if self.count else ["-T", self.seconds]
        return machine.start(machine.load_core, [*command, DATABASE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=os.environ | {"PGPASSWORD": PASSWORD})


def run_together(machine, proxy, works, patience_seconds=120):
    """[(transactions, transactions/s)] of each pgbench."""
    processes = [work.start(machine, proxy) for work in works]
    try:
        outputs = [process.communicate(timeout=patience_seconds)[0] for process in processes]
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"pgbench was not done in {patience_seconds} s; the proxy's log ends:\n{proxy.log_tail()}") from error
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
        results.append((int(done[1]), float(rate[1])))
    return results


def real(subject, **changes):
    """pgproxy in front of the real servers: ten connections to each that it uses."""
    entry = f"pool_size=10 password='{PASSWORD}' " + changes.pop("entry", "")
    return replace(subject, asks=True, entry=entry, **changes)


@of_pgproxy("waiting", "working")
def replicas_row(bench, subject):
    """Reads of 40 clients, over a primary and two standbys against the primary alone."""
    cluster = bench.real_cluster()
    seconds = max(1, round(bench.seconds))
    alone = real(subject)
    routed = real(subject, hosts=CLUSTER, entry=ROUTED.replace("50%", "100%") + " read_consistency=session")
    ratios = {}
    with running_proxy(bench.machine, alone, cluster.port) as alone_proxy, \
         running_proxy(bench.machine, routed, cluster.port) as routed_proxy:
        wait_until_routed(routed_proxy)
        for figure, script in (("waiting", READ_AND_WAIT), ("working", READ)):
            work = Work(((script, 1),), clients=40, seconds=seconds)
            rates = [run_together(bench.machine, proxy, [work])[0][1] for proxy in (alone_proxy, routed_proxy)]
            ratios[figure] = rates[1] / rates[0]
        check_sides(routed_proxy, 1, "replica")
    return ratios


@of_pgproxy("proxy", "proxy_added", "servers", "servers_added", "reads")
def sampler(bench, subject):
    """CPU for the same work in read_consistency = session, against eventual: 8 clients that write and read, 8 that read,
    600 transactions/s each."""
    cluster = bench.real_cluster()
    seconds = max(1, round(bench.seconds))
    rate, clients = 600, 8
    mixed = Work(((WRITE, 1), (READ, 2)), clients, rate, count=rate * seconds // clients)
    reading = Work(((READ, 1),), clients, rate, count=rate * seconds // clients)
    sides = [real(subject, hosts=CLUSTER, entry=ROUTED + f" read_consistency={consistency}")
             for consistency in ("eventual", "session")]
    proxy_cpu, server_cpu, replica_reads = [0, 0], [0, 0], [0, 0]
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(running_proxy(bench.machine, side, cluster.port)) for side in sides]
        for proxy in proxies:
            wait_until_routed(proxy)
            run_together(bench.machine, proxy, [replace(work, count=20) for work in (mixed, reading)])
        before = [proxy.routed()["replica"] for proxy in proxies]
        for which in in_turn(0, 1, rounds=1):
            own, theirs = proxies[which].cpu_seconds(), cpu_by_process(cluster)
            run_together(bench.machine, proxies[which], (mixed, reading))
            proxy_cpu[which] += proxies[which].cpu_seconds() - own
            server_cpu[which] += sum(spent - theirs.get(pid, 0) for pid, spent in cpu_by_process(cluster).items()) / 1e9
        replica_reads = [proxy.routed()["replica"] - count for proxy, count in zip(proxies, before)]
    return {"proxy": proxy_cpu[1] / proxy_cpu[0], "proxy_added": (proxy_cpu[1] - proxy_cpu[0]) / (2 * seconds),
            "servers": server_cpu[1] / server_cpu[0], "servers_added": (server_cpu[1] - server_cpu[0]) / (2 * seconds),
            "reads": replica_reads[1] / replica_reads[0]}
