"""Runs the stress program against pgproxy over a real PostgreSQL, and asks PostgreSQL what is left.

`run.py Rows` is the calm run; `run.py Faults` puts the fault proxy in between, seed after seed.
"""

import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "e2e"))
import harness  # noqa: E402

STRESS = os.environ.get("PGPROXY_STRESS", "stress")
SEED = int(os.environ.get("PGPROXY_SEED", "1"))
SECONDS = int(os.environ.get("PGPROXY_STRESS_SECONDS", "18"))
POOL_SIZE = 5


SCHEMA = """
drop table if exists stress;
create unlogged table stress (owner int, sequence bigint, n int);
create index on stress (owner, sequence);
grant all on stress to public;
create or replace function set_tenant(value text) returns text language plpgsql as $$
begin perform set_config('app.tenant', value, false); return value; end$$;
create or replace function set_tenant_in_vain(value text) returns text language plpgsql as $$
begin
  begin perform set_config('app.tenant', 'nobody', false); raise 'undone'; exception when others then end;
  return value;
end$$;
create or replace function take_lock(a int, b int) returns boolean language plpgsql as $$
begin return pg_try_advisory_lock(a, b); end$$;
create or replace function give_lock(a int, b int) returns boolean language plpgsql as $$
begin return pg_advisory_unlock(a, b); end$$;
"""
TENANTS = ("tenant_a", "tenant_b", "tenant_c")


class StressTest(harness.PoolerTest):
    auto_start = False
    settings = {"default_pool_size": POOL_SIZE, "max_client_conn": 2000, "log_connections": 0,
                "log_disconnections": 0, "checkout_order": "random", "on_residue": "pin", "max_pinned_fraction": 0.6}

    def setUp(self):
        super().setUp()
        self.cluster.execute(SCHEMA, database="test")
        for tenant in TENANTS:
            if not self.cluster.execute("select 1 from pg_roles where rolname = %s", [tenant]):
                self.cluster.execute(f"create role {tenant}; grant {tenant} to app")

    def stress(self, pooler, clients, seconds, seed, mode):
        arguments = [STRESS, str(pooler.port), str(clients), str(seconds), str(seed), mode]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            output = ""
            for line in program.stdout:
                if line == "settled\n":
                    self.assert_settled(pooler)
                    program.stdin.write("\n")
                    program.stdin.flush()
                else:
                    output += line
        print(output, flush=True)
        self.assertEqual(program.returncode, 0, f"{' '.join(arguments[1:])}\n{output}")
        self.assertTrue(pooler.is_alive(), "pgproxy died")
        return output

    def assert_settled(self, pooler):
        """All clients are there, and have nothing of their own on any server."""
        harness.eventually(lambda: not pooler.console("show pins"), "nobody is pinned")
        pooler.wait_for_pool("nobody holds a server", cl_waiting=0, sv_active=0)
        self.assertEqual(self.cluster.execute("select count(*) from pg_locks where locktype = 'advisory'"), [(0,)])

    def assert_drained(self, pooler):
        """Nothing is left of any session: every server connection is idle, in PostgreSQL's view and in ours, and none is too many."""
        harness.eventually(lambda: not self.cluster.server_pids("state <> 'idle'"), "all servers are idle")
        # Of connections that are closed already PostgreSQL may not have heard yet.
        harness.eventually(lambda: len(self.cluster.server_pids()) <= POOL_SIZE, "no server is too many")
        locks = "select count(*) from pg_locks where locktype in ('advisory', 'relation') and database ="
        self.assertEqual(self.cluster.execute(f"{locks} (select oid from pg_database where datname = 'test')"), [(0,)])
        temporary = "select relname from pg_class where relpersistence = 't'"
        self.assertEqual(self.cluster.execute(temporary, database="test"), [])
        self.assertEqual(pooler.console("show pins"), [])
        pooler.wait_for_pool("nobody is left", cl_active=0, cl_waiting=0, sv_active=0, sv_login=0)
        pool = pooler.pool()
        self.assertLessEqual(pool["sv_idle"] + pool["sv_used"] + pool["sv_tested"], POOL_SIZE, pool)


class Rows(StressTest):
    def test_nobody_sees_another_clients_row(self):
        pooler = self.start_pooler()
        output = self.stress(pooler, 200, SECONDS, SEED, "calm")
        self.assertNotRegex(output, r" 0\b(?! (clear|cut))", "a kind of operation that never happened")
        self.assert_drained(pooler)


class Faults(StressTest):
    """pgproxy gives up soon here, so that every client hears of it long before its patience ends."""

    settings = StressTest.settings | {"query_timeout": 3, "query_wait_timeout": 4, "server_connect_timeout": 2,
                                      "server_login_retry": 0.2, "idle_transaction_timeout": 4,
                                      "cancel_wait_timeout": 2}

    def test_every_client_gets_its_rows_or_a_clear_error(self):
        for seed in range(SEED, SEED + 4):
            with self.subTest(seed=seed):
                proxy = harness.FaultProxy(self.cluster.port, seed)
                self.addCleanup(proxy.stop)
                pooler = self.start_pooler(port=proxy.port)
                proxy.command("faulty")
                self.stress(pooler, 60, SECONDS // 4, seed, "faulty")
                proxy.command("calm")
                self.end_orphans()
                harness.eventually(lambda: self.works(pooler), "queries work again")
                self.stress(pooler, 30, 2, seed + 1000, "calm")
                self.assert_drained(pooler)
                self.finish(pooler)

    def end_orphans(self):
        """Backends whose connection is cut, but which sleep on: PostgreSQL would notice only afterwards."""
        self.cluster.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'")

    def works(self, pooler):
        """As many clients at once as there are servers: old connections are found out and replaced."""
        clients = []
        try:
            clients = [pooler.raw() for _ in range(POOL_SIZE)]
            return all("E" not in [message.tag for message in client.query("begin")] for client in clients)
        except (AssertionError, harness.raw.Closed):
            return False
        finally:
            for client in clients:
                client.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
