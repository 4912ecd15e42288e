"""PostgreSQL's regression suite through a pooler, one test at a time, judged by pg_regress.

Most tests need what those before them in the schedule leave behind. So the whole schedule runs once
directly, and the stopped server's data directory is kept as it is before each test; files that a test did
not change are hard links. Each test then runs on a fresh copy of its snapshot with a pooler of its own.

Beside the test, `--noise` clients of the same pool change settings of their own and look at them: they
make the pool's connections change hands, and notice when they see settings that are not theirs. They
take no snapshots and no locks, which some tests would notice without any pooler.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "regress"
SUITE = WORK / "source" / "src" / "test" / "regress"
SNAPSHOTS = WORK / "snapshots"
PRINTED = WORK / "printed"  # what the server prints directly for tests that expect something else
RESULTS = WORK / "results"
SERVER = pathlib.Path("/usr/lib/postgresql/15")
USER, DATABASE = "postgres", "regression"
POOL_SIZE = 3
TIMEOUT_SECONDS = 300  # for one test; the longest takes 10

# As pg_regress configures its own servers, and without what makes plans and timing vary.
CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_prepared_transactions = 2
fsync = off
autovacuum = off
jit = off
wal_recycle = off
min_wal_size = 2MB
"""


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/regress/run", description="PostgreSQL's regression suite "
                                     "through a pooler, each test alone.")
    parser.add_argument("--direct", action="store_true", help="without a pooler, to compare")
    parser.add_argument("--tests", type=lambda names: names.split(","), metavar="A,B", help="only these")
    parser.add_argument("--jobs", type=int, default=2, help="tests at once, each with its own server (2)")
    parser.add_argument("--program", default=ROOT / "build" / "release" / "pgproxy", type=pathlib.Path,
                        help="the pooler; one that is called pgbouncer gets PgBouncer's ini")
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE",
                        help="further setting for the pooler, as in pool_mode=session; without a value: left "
                        "out, as in server_round_robin= (1); may be repeated")
    parser.add_argument("--noise", type=int, default=2, help="further clients of the pool (2)")
    parser.add_argument("--bar", type=int, help="exit status 0 if so many tests pass; else: if all do")
    return parser.parse_args()


ARGUMENTS = parse_arguments()
os.environ["PGPROXY_PROGRAM"] = str(ARGUMENTS.program)
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import harness  # noqa: E402  needs PGPROXY_PROGRAM
import psycopg  # noqa: E402

harness.BINARIES = SERVER / "bin"
IS_PGBOUNCER = harness.SECTION == "pgbouncer"


class Server(harness.Cluster):
    """PostgreSQL on a copy of a snapshot, or on a new data directory."""

    def __init__(self, snapshot=None):
        self.directory = harness.scratch_directory()
        self.data = self.directory / "data"
        self.port = harness.free_port()
        if snapshot:
            subprocess.run(["cp", "-a", snapshot, self.data], check=True)
        else:
            subprocess.run([harness.BINARIES / "initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8",
                            "--locale=C", "--no-sync", "--wal-segsize=1"], check=True, stdout=subprocess.DEVNULL)
        with open(self.data / "postgresql.conf", "a") as file:
            file.write(f"{CONFIGURATION}port = {self.port}\nunix_socket_directories = '{self.directory}'\n")
        self.start()


def schedule():
    text = (SUITE / "parallel_schedule").read_text()
    return [test for line in re.findall(r"^test:(.*)", text, re.MULTILINE) for test in line.split()]


def pg_regress(port, results, *arguments):
    """Runs it to the end; returns whether all passed. Its files are in `results`, and win over the suite's."""
    command = [SERVER / "lib/pgxs/src/test/regress/pg_regress", f"--bindir={WORK}/bin", f"--dlpath={WORK}/lib",
               f"--inputdir={SUITE}", f"--outputdir={results}", "--host=127.0.0.1", f"--port={port}",
               f"--user={USER}", f"--dbname={DATABASE}", *arguments]
    environment = os.environ | {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable", "PGCONNECT_TIMEOUT": "60"}
    results.mkdir(parents=True, exist_ok=True)
    with open(results / "pg_regress.log", "wb") as log:
        process = subprocess.Popen(command, cwd=results, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)
        try:
            return process.wait(TIMEOUT_SECONDS) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False


def take_snapshot(data, target, previous):
    """Copies the data directory of a stopped server; what is as in the previous snapshot is linked."""
    def copy(source, destination):
        then, now = previous / pathlib.Path(source).relative_to(data) if previous else None, os.stat(source)
        if then and then.exists() and (then.stat().st_size, then.stat().st_mtime_ns) == (now.st_size, now.st_mtime_ns):
            os.link(then, destination)
        else:
            shutil.copy2(source, destination)
    shutil.copytree(data, target, copy_function=copy, symlinks=True)
    return target


def prepare(tests):
    """Makes the snapshots, unless they are there for this server and suite."""
    version = subprocess.run([harness.BINARIES / "postgres", "--version"], check=True, capture_output=True).stdout
    made_for, made = SNAPSHOTS / "version", version + (SUITE / "parallel_schedule").read_bytes()
    if made_for.exists() and made_for.read_bytes() == made:
        return
    print("Running the schedule directly once, to keep the state before each test", flush=True)
    output = SNAPSHOTS / "output"
    for old in [*SNAPSHOTS.iterdir(), *PRINTED.iterdir()]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    server, previous = Server(), None
    pg_regress(server.port, output)  # creates the database
    for test in tests:
        server.stop(signal.SIGINT)
        previous = take_snapshot(server.data, SNAPSHOTS / test, previous)
        server.start()
        if not pg_regress(server.port, output, "--use-existing", test):
            shutil.copy(output / f"results/{test}.out", PRINTED)
    server.stop()
    made_for.write_bytes(made)


class Noise(threading.Thread):
    """A client of the pool that comes and goes, with settings of its own in half of its transactions."""

    TRANSACTIONS = 10  # before the settings, and after
    PAUSE_SECONDS = 0.002

    def __init__(self, pooler, number):
        super().__init__()
        self.pooler = pooler
        self.mine = {"work_mem": f"{1111 + number}kB", "search_path": f"noise{number}"}
        self.done = threading.Event()
        self.counts = collections.Counter()
        self.start()

    def run(self):
        while not self.done.wait(self.PAUSE_SECONDS):
            try:
                with self.pooler.connect(USER, DATABASE) as connection:
                    self.converse(connection)
            except psycopg.Error:
                self.counts["errors"] += 1

    def converse(self, connection):
        self.look(connection, {})
        for name, value in self.mine.items():
            connection.execute(f"set {name} = '{value}'")
        self.look(connection, self.mine)

    def look(self, connection, expected):
        """Transactions that must see these settings, or those with which a session starts."""
        for _ in range(self.TRANSACTIONS):
            for name, default in {"work_mem": "4MB", "search_path": '"$user", public'}.items():
                with connection.transaction():
                    value, = connection.execute(f"show {name}").fetchone()
                self.counts["transactions"] += 1
                self.counts["foreign"] += value != expected.get(name, default)
            if self.done.wait(self.PAUSE_SECONDS):
                return

    def stop(self):
        self.done.set()
        self.join()
        return self.counts


def start_pooler(server):
    settings = {"default_pool_size": POOL_SIZE, "server_round_robin": 1, "client_login_timeout": 60}
    database = f"host=127.0.0.1 port={server.port}"
    if IS_PGBOUNCER:  # it cannot pass on the one startup parameter that pg_regress uses
        settings["ignore_startup_parameters"] = "options,extra_float_digits"
        database += " connect_query='set intervalstyle = postgres_verbose'"
    for name, value in (setting.split("=", 1) for setting in ARGUMENTS.setting):
        settings[name] = value or None
    return harness.Pooler(server, settings, {DATABASE: database}, secrets={USER: ""})


def fill_pool(pooler):
    """Makes the pool open all its server connections, so that there is something to choose from."""
    holders = [pooler.connect(USER, DATABASE) for _ in range(POOL_SIZE)]
    for holder in holders:
        holder.execute("begin")
    for holder in holders:
        holder.execute("commit")
        holder.close()


def run_through_pooler(server, results, test):
    pooler = start_pooler(server)
    try:
        fill_pool(pooler)
        noise = [Noise(pooler, number) for number in range(ARGUMENTS.noise)]
        try:
            passed = pg_regress(pooler.port, results, "--use-existing", test)
        finally:
            counts = sum((client.stop() for client in noise), collections.Counter())
        return passed and pooler.is_alive(), counts
    finally:
        pooler.stop()
        shutil.copy(pooler.log, results / "pooler.log")
        shutil.rmtree(pooler.directory)


def run_alone(test):
    """Returns the test's name, whether it passed, its seconds, and what the noise counted."""
    results, begin = RESULTS / test, time.monotonic()
    results.mkdir()
    if (PRINTED / f"{test}.out").exists():
        (results / "expected").symlink_to(PRINTED)
    server = Server(SNAPSHOTS / test)
    try:
        if ARGUMENTS.direct:
            passed, counts = pg_regress(server.port, results, "--use-existing", test), collections.Counter()
        else:
            passed, counts = run_through_pooler(server, results, test)
    finally:
        server.stop()
        shutil.copy(server.directory / "postgresql.log", results)
        shutil.rmtree(server.directory)
    if passed:
        shutil.rmtree(results)
    return test, passed, time.monotonic() - begin, counts


def verdict(test, passed):
    if passed:
        return "pass"
    diffs = RESULTS / test / "regression.diffs"
    if not diffs.exists():
        return "FAIL  no result: see its logs"
    return f"FAIL  {len(re.findall('^[-+](?![-+])', diffs.read_text(errors='replace'), re.MULTILINE))} lines differ"


def main():
    all_tests = schedule()
    tests = ARGUMENTS.tests or all_tests
    if unknown := set(tests) - set(all_tests):
        sys.exit(f"not in the schedule: {' '.join(sorted(unknown))}")
    prepare(all_tests)
    for old in RESULTS.iterdir():
        shutil.rmtree(old)
    begin, failed, counts = time.monotonic(), [], collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(ARGUMENTS.jobs) as executor:
        for test, passed, seconds, noise in executor.map(run_alone, tests):
            print(f"{test:24} {seconds:6.1f} s  {verdict(test, passed)}", flush=True)
            counts += noise
            failed += [] if passed else [test]
    print(f"\n{len(tests) - len(failed)} of {len(tests)} tests pass, {len(failed)} fail; "
          f"{time.monotonic() - begin:.0f} seconds")
    if counts:
        print(f"noise: {counts['transactions']} transactions, {counts['foreign']} of them with settings that are not "
              f"its own; {counts['errors']} errors")
    if failed:
        print(f"failed (diffs in {RESULTS}): {' '.join(failed)}")
    if accepted := sorted({file.stem for file in PRINTED.iterdir()} & set(tests)):
        print(f"compared with what the server prints directly, not with the suite: {' '.join(accepted)}")
    bar = len(tests) if ARGUMENTS.bar is None else ARGUMENTS.bar
    sys.exit(len(tests) - len(failed) < bar)


if __name__ == "__main__":
    main()
