"""Random session state: PostgreSQL answers as the simulator's model of it does, and so does PostgreSQL
behind pgproxy, where many clients share server connections."""

import os
import subprocess
import unittest

import harness
import raw

TEXTS = os.environ["PGPROXY_SESSION_TEXTS"]
SEEDS = range(1, 9)
CLIENTS = 4
SCHEMA = f"""
create role tester superuser login password '{harness.PASSWORD}';
create role r0 superuser; create role r1 superuser; create role r2 superuser;
alter role tester set timezone = 'UTC'; alter role tester set search_path = public;
create function public.note(int) returns int language sql volatile as 'select $1';
create function public.leave_lock(bigint) returns void language sql volatile as
    'select pg_advisory_lock($1)';
create function public.set_tenant(text) returns void language plpgsql volatile as
    $$ begin perform set_config('app.tenant', $1, false); end $$;
"""
STARTUPS = ({}, {"search_path": "tenantx", "application_name": "app"},
            {"app.tenant": "start", "work_mem": "6MB"}, {"statement_timeout": "77777", "DateStyle": "sql"})


def lines(seed, client, settings):
    output = subprocess.run([TEXTS, str(seed), str(client), *(f"{name}={value}" for name, value in settings.items())],
                            check=True, capture_output=True, text=True).stdout
    return [line.split("\t") for line in output.splitlines()]


def answer(messages):
    tokens = []
    for message in messages:
        if message.tag == "E":
            return "E:" + message.fields()["C"]
        if message.tag == "D":
            tokens.append("D:" + (message.row()[0] or ""))
        if message.tag == "C":
            tokens.append("C:" + message.body[:-1].decode())
    return " ".join(tokens)


class SessionTest(harness.PoolerTest):
    settings = {"default_pool_size": CLIENTS}
    secrets = {"tester": harness.PASSWORD}

    @classmethod
    def setUpClass(cls):
        harness.Cluster.shared().execute(SCHEMA, database="test")

    def setUp(self):
        super().setUp()
        self.cluster.execute("".join(
            f"drop sequence if exists public.s{client}; create sequence public.s{client};"
            for client in range(1, CLIENTS + 1)), database="test")

    def check(self, connect, seed):
        """Clients take turns; each hears what it expects, whatever the others do."""
        talks = []
        for client, settings in enumerate(STARTUPS, 1):
            connection = connect(settings)
            self.addCleanup(connection.close)
            talks.append((connection, lines(seed * 10 + client, client, settings)))
        for step in range(len(talks[0][1])):
            for number, (connection, talk) in enumerate(talks, 1):
                text, expected = talk[step]
                got = answer(connection.query(text))
                self.assertEqual(got, expected, f"client {number}, step {step}: {text}, after "
                                 f"{[line[0] for line in talk[max(step - 20, 0):step]]}")
        for connection, _ in talks:
            connection.send(raw.TERMINATE).read_to_end()


def make_test(seed, through):
    def test(self):
        if through:
            self.check(lambda settings: self.pooler.raw("tester", **settings), seed)
        else:
            self.check(lambda settings: self.cluster.raw("tester", **settings), seed)
    return test


for seed in SEEDS:
    setattr(SessionTest, f"test_postgresql_{seed}", make_test(seed, False))
    setattr(SessionTest, f"test_pgproxy_{seed}", make_test(seed, True))

if __name__ == "__main__":
    unittest.main(verbosity=2)
