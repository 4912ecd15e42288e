"""pgbench and libpq's pipelines with more clients than servers, beside others."""

import os
import subprocess
import unittest

import harness
import noise
from harness import BINARIES, PASSWORD

LIBPQ_PIPELINE = os.environ.get("PGPROXY_LIBPQ_PIPELINE", "libpq_pipeline")
CLIENTS = 20
TRANSACTIONS = 30
PIPELINE = """
\\set id random(1, 100000)
\\startpipeline
begin;
update pgbench_accounts set abalance = abalance + 1 where aid = :id;
select abalance from pgbench_accounts where aid = :id;
insert into pgbench_history (tid, bid, aid, delta, mtime) values (1, 1, :id, 1, current_timestamp);
end;
\\endpipeline
\\startpipeline
select count(*) from pgbench_branches;
select :id + 1;
\\endpipeline
"""
SETTINGS = """
set application_name = 'client :client_id';
begin;
select 1 / (case current_setting('application_name') when 'client :client_id' then 1 else 0 end);
commit;
select 1 / (case current_setting('application_name') when 'client :client_id' then 1 else 0 end);
"""


class Pgbench(noise.ClientTest):
    settings = noise.ClientTest.settings | {"query_wait_timeout": 30}

    def pgbench(self, *arguments):
        run = subprocess.run([BINARIES / "pgbench", "-h", "127.0.0.1", "-p", str(self.pooler.port), "-U", "app", *arguments, "test"],
                             capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"PGPASSWORD": PASSWORD})
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout

    def run_clients(self, *arguments, clients=CLIENTS, transactions=TRANSACTIONS):
        out = self.pgbench("-n", "-c", str(clients), "-j", "1", "-t", str(transactions), *arguments)
        count = clients * transactions
        self.assertIn(f"number of transactions actually processed: {count}/{count}", out)
        self.assertIn("number of failed transactions: 0", out)

    def script(self, text):
        path = self.pooler.directory / "script.sql"
        path.write_text(text)
        return ["-f", path]

    def test_tpcb_in_every_mode(self):
        self.pgbench("-i", "-q", "-s", "1")
        with noise.Noise(self.pooler):
            for mode in ("simple", "extended", "prepared"):
                self.run_clients("-M", mode)
        counts = "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts) from pgbench_history"
        self.assertEqual(self.cluster.execute(counts, database="test"), [(3 * CLIENTS * TRANSACTIONS, True)])

    def test_pipelines(self):
        self.pgbench("-i", "-q", "-s", "1")
        with noise.Noise(self.pooler):
            for mode in ("extended", "prepared"):
                self.run_clients("-M", mode, *self.script(PIPELINE))
        sums = "select sum(abalance), (select sum(delta) from pgbench_history) from pgbench_accounts"
        count = 2 * CLIENTS * TRANSACTIONS
        self.assertEqual(self.cluster.execute(sums, database="test"), [(count, count)])

    def test_settings(self):
        """A division by zero tells of a name that is not the client's own."""
        with noise.Noise(self.pooler):
            self.run_clients("-M", "simple", *self.script(SETTINGS))

    def test_libpq_pipelines(self):
        """Three at once, each in a schema of its own, over the same three servers."""
        programs = []
        for number in range(3):
            schema = f"piped_{number}"
            self.as_app(f"drop schema if exists {schema} cascade", f"create schema {schema}", f"create table {schema}.piped (n int)")
            conninfo = (f"host=127.0.0.1 port={self.pooler.port} user=app dbname=test password={PASSWORD}"
                        f" options='-c search_path={schema}'")
            programs.append(conninfo)
        with noise.Noise(self.pooler):
            running = [harness.start([LIBPQ_PIPELINE, conninfo], stdout=subprocess.PIPE, text=True) for conninfo in programs]
            outcomes = [(program.communicate(timeout=120)[0], program.returncode) for program in running]
        self.assertEqual(outcomes, [("ok\n", 0)] * 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
