"""Scenarios: what clients do, step by step, and word for word what they are answered.

A scenario is played once straight to PostgreSQL and once through pgproxy, and both transcripts must
be equal: "an application cannot tell". The way through pgproxy is made as hard as it gets: before
each step other clients of the same pool, with settings of their own, occupy all free servers, leave
traces on each, and give back exactly one of them: if there is a choice, one that the step's client
did not use last. So a client's next step always meets a server that was somebody else's, whatever
the order in which pgproxy hands out servers.
"""

import contextlib
import dataclasses
import difflib
import os
import random
import re
import select
import struct
import sys
import typing

import harness
import raw

POOL_SIZE = 3
# PROTOCOL: a pooler that hands the same client the same server hides every defect. The noise below
# sees to that already; in turn on top of it.
CHECKOUT_ORDER = {"server_round_robin": 1}
PATIENCE_SECONDS = 15  # for one answer
# Tests the scenarios themselves: PostgreSQL against PostgreSQL.
IS_DIRECT = os.environ.get("PGPROXY_SCENARIOS") == "direct"
FIRST_USER_OID = 16384  # FirstNormalObjectId: oids from here on differ between runs
NOISE = "create sequence if not exists public.noise; grant usage on sequence public.noise to public"
# What the noise clients log in with; none of it may ever be seen by anybody else.
NOISE_SETTINGS = (
    {"TimeZone": "Asia/Tokyo", "search_path": "noisy, pg_catalog", "app.tenant": "noise", "work_mem": "11MB"},
    {"DateStyle": "German", "statement_timeout": "59s", "app.tenant": "more noise", "application_name": "noise"},
    {"client_encoding": "LATIN1", "standard_conforming_strings": "off", "IntervalStyle": "iso_8601",
     "default_transaction_isolation": "repeatable read", "extra_float_digits": "0"},
)


OCCUPY = raw.query("begin; set local work_mem = '13MB'; set local app.local = 'noise';"
                   "select pg_catalog.nextval('public.noise'), pg_catalog.pg_backend_pid()")
OCCUPY_QUIETLY = raw.query("begin; select 0, pg_catalog.pg_backend_pid()")
RELEASE = raw.statement("commit") + raw.SYNC  # leaves an unnamed statement, too


class Step(typing.NamedTuple):
    """`action` is given the Run and returns the messages that this step of `actor` got."""
    actor: str
    label: str
    action: typing.Callable
    logs_in: bool = False


class Actor:
    """Writes steps: A("select 1") is a step in which client A sends a Query."""

    def __init__(self, name):
        self.name = name

    def _step(self, label, action):
        return Step(self.name, label, action)

    def __call__(self, sql):
        return self._step(sql, lambda run: run[self.name].ask(raw.query(sql)))

    def x(self, sql, *parameters):
        """The extended protocol with the unnamed statement."""
        messages = raw.parse(sql) + raw.bind(*parameters) + raw.describe() + raw.execute() + raw.SYNC
        return self._step(f"[{sql}] {parameters}", lambda run: run[self.name].ask(messages))

    def send(self, label, *messages, syncs=1):
        """Any bytes, answered by `syncs` ReadyForQuery."""
        return self._step(label, lambda run: run[self.name].send(*messages).read_cycles(syncs))

    def pipeline(self, *statements):
        """All in one pipeline with one Sync at its end."""
        messages = b"".join(raw.parse(sql) + raw.bind() + raw.execute() for sql in statements)
        return self.send(" | ".join(statements), messages, raw.SYNC)

    def call(self, oid, *arguments):
        """A FunctionCall message."""
        return self.send(f"function {oid} {arguments}", raw.function_call(oid, *arguments))

    def copy_in(self, sql, data, end=raw.COPY_DONE):
        def action(run):
            begun = run[self.name].send(raw.query(sql)).read_until("GZ")
            if begun[-1].tag == "Z":
                return begun
            return begun + run[self.name].ask(raw.copy_data(data), end)
        return self._step(sql, action)

    def patiently(self, sql):
        """Asks again as long as a timeout of a millisecond was shorter than the machine's pause."""
        def action(run):
            while True:
                reply = run[self.name].ask(raw.query(sql))
                if not any(message.tag == "E" and message.fields()["C"] == "57014" for message in reply):
                    return reply
        return self._step(sql, action)

    def start(self, sql, until):
        """Sends a Query and waits until the superuser finds that `until` is true, or for an early answer."""
        def action(run):
            party = run.parties[self.name]
            party.client.send(raw.query(sql))
            party.status = "?"
            run.wait(until, party.client.socket)
            return []
        return self._step(f"{sql} ...", action)

    def cancel(self):
        """A CancelRequest; the request's connection is closed when PostgreSQL has got it."""
        def action(run):
            client = run[self.name]
            with run.new_connection() as connection:
                connection.send(raw.cancel_packet(client.pid, client.secret)).read_to_end()
            return []
        return self._step("cancel", action)

    def finish(self, tags="Z"):
        return self._step("... finishes", lambda run: run[self.name].read_until(tags))

    def hears(self):
        """Waits for a NotificationResponse."""
        return self._step("hears", lambda run: run[self.name].read_until("A"))

    def connect(self, **settings):
        return Step(self.name, f"connect {settings}", lambda run: run.login(self.name, settings), True)

    def leave(self):
        """Terminate; straight to PostgreSQL the session has ended when the connection is closed."""
        def action(run):
            with run.forget(self.name) as client:
                return client.send(raw.TERMINATE).read_to_end()
        return self._step("leave", action)

    def vanish(self):
        def action(run):
            run.forget(self.name).vanish()
            return []
        return self._step("vanish", action)


def wait(until):
    """Waits until the superuser finds that it is true."""
    def action(run):
        run.wait(until)
        return []
    return Step("", f"until {until}", action)


A, B = Actor("A"), Actor("B")
IS_SLEEPING = "exists (select from pg_stat_activity where wait_event = 'PgSleep')"
NO_LOCKS = "not exists (select from pg_locks where locktype = 'advisory')"


def cancelled(actor):
    """A long query, and the cancel that ends it."""
    return [actor.start("select pg_sleep(60)", IS_SLEEPING), actor.cancel(), actor.finish()]


@dataclasses.dataclass
class Party:
    """One client of a run, and what it believes."""
    client: raw.RawClient
    parameters: dict
    login: list = dataclasses.field(default_factory=list)  # what it was answered, if it is like any other
    status: str = "I"  # of the last ReadyForQuery; "?" in the middle of a query
    # With startup settings: what a RESET goes back to may be announced behind its ReadyForQuery, so
    # that only what the client believes in the end is compared.
    has_settings: bool = False


class Run:
    """One way through a scenario; this one goes straight to PostgreSQL."""

    def __init__(self, cluster, user, database="test"):
        self.user, self.database = user, database
        self.cluster = cluster
        if not self.superusers:
            self.superusers.append(cluster.raw("postgres", database))
        self.superuser = self.superusers[0]
        self.parties = {}

    superusers = []
    spares = {}  # user: sessions that DISCARD ALL made new, which is cheaper than a new one

    def new_connection(self):
        return raw.RawClient(self.cluster.socket)

    def __getitem__(self, actor):
        return self.parties[actor].client

    def login(self, actor, settings):
        spares = self.spares.setdefault(self.user, [])
        if not settings and spares and type(self) is Run:
            spare, messages = spares.pop()
            self.parties[actor] = Party(spare, {}, login=messages)
            return messages
        messages = self._new_login(actor, settings)
        self.parties[actor].login = [] if settings else messages
        return messages

    def _new_login(self, actor, settings):
        client = self.new_connection()
        client.socket.settimeout(PATIENCE_SECONDS)
        self.parties[actor] = Party(client, {})
        return client.login(self.user, self.database, harness.PASSWORD, **settings)

    def forget(self, actor):
        """The client, who is no party to the scenario any more."""
        return self.parties.pop(actor).client

    def wait(self, until, *answers):
        harness.eventually(lambda: select.select(answers, [], [], 0)[0] or self.superuser.value(f"select {until}") == "t",
                           until, PATIENCE_SECONDS)

    def before(self, step):
        pass

    def after(self, step):
        pass

    def play(self, steps, setup):
        """The transcript."""
        lines = []
        reply = self.superuser.query(setup)
        if any(message.tag == "E" for message in reply):
            raise AssertionError(raw.error(reply))
        try:
            for step in steps:
                self.before(step)
                lines.append(f"{step.actor}: {step.label}")
                lines += ["     " + line for line in self._perform(step)]
                if lines[-1].endswith("no answer"):
                    break
                self.after(step)
            lines += self.beliefs()
        finally:
            self.end()
        return lines

    def beliefs(self):
        """What clients with startup settings were told of their sessions' settings."""
        for actor, party in sorted(self.parties.items()):
            if not party.has_settings or party.status == "?":
                continue
            step = Actor(actor)(";")
            self.before(step)
            self._perform(step)
            self.after(step)
            yield from (f"{actor} believes {name} = {value}" for name, value in sorted(party.parameters.items()))

    def end(self):
        for party in self.parties.values():
            if party.login and party.status != "?" and self._is_renewed(party.client):
                self.spares[self.user].append((party.client, party.login))
                continue
            with party.client, contextlib.suppress(OSError):
                party.client.send(raw.TERMINATE).read_to_end()
        self.parties.clear()

    @classmethod
    def close_spares(cls):
        for spares in cls.spares.values():
            for client, _ in spares:
                client.close()
            spares.clear()

    @staticmethod
    def _is_renewed(client):
        with contextlib.suppress(OSError, raw.Closed):
            client.query("rollback")
            return client.query("discard all")[-1] == ("Z", b"I")
        return False

    def _perform(self, step):
        """The step's lines; its client logs in when it has not yet."""
        if step.logs_in:
            return self._log_in(step)
        lines = []
        if step.actor and step.actor not in self.parties:
            lines = ["connected: " + line for line in self._log_in(Actor(step.actor).connect())]
        return lines + self._attempt(step)

    def _log_in(self, step):
        # What kind of authentication there was is no business of the scenario.
        lines = sorted(line for line in self._attempt(step) if line[0] not in "RKZ")
        party = self.parties.get(step.actor)
        if party:
            party.has_settings = not party.login
        return lines

    def _attempt(self, step):
        party = self.parties.get(step.actor)
        try:
            messages = step.action(self)
        except (raw.Closed, ConnectionError):
            return ["closed"]
        except TimeoutError:
            party.status = "?"
            return ["no answer"]
        party = self.parties.get(step.actor, party)  # it may have come or gone with this step
        return in_order(line for message in messages for line in describe(message, party))


def in_order(lines):
    """Neighbouring ParameterStatus have no order."""
    result, statuses = [], []
    for line in lines:
        if line.startswith("S "):
            statuses.append(line)
            continue
        result += sorted(statuses) + [line]
        statuses = []
    return result + sorted(statuses)


def describe(message, party):
    """What an application learns from a message, without what differs from session to session."""
    tag, body = message
    if tag == "S":
        name, value = body.decode("utf8", "backslashreplace").split("\0")[:2]
        if party.parameters.get(name) != value:
            party.parameters[name] = value
            if not party.has_settings:
                yield f"S {name} = {value}"
    elif tag == "Z":
        party.status = body.decode()
        yield f"Z {party.status}"
    elif tag == "A":
        pid, = struct.unpack_from("!I", body)
        yield f"A {'own' if pid == party.client.pid else 'not own'} {normalised(body[4:])}"
    elif tag in "EN":
        fields = {part[:1].decode(): part[1:] for part in body.split(b"\0") if part}
        yield f"{tag} " + ", ".join(f"{code}={normalised(value)}" for code, value in fields.items() if code not in "FLR")
    elif tag == "T":
        yield "T " + ", ".join(columns(body))
    elif tag == "D":
        yield "D " + ", ".join(values(body))
    else:
        yield f"{tag} {normalised(body)}" if tag not in "RK" else tag


def columns(body):
    """name:type/format of a RowDescription."""
    at = 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        end = body.index(b"\0", at)
        _, _, oid, size, modifier, form = struct.unpack_from("!ihihih", body, end + 1)
        kind = oid if oid < FIRST_USER_OID else "user"
        yield f"{normalised(body[at:end])}:{kind}({size},{modifier})/{form}"
        at = end + 19


def values(body):
    at = 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        length, = struct.unpack_from("!i", body, at)
        at += 4
        yield "NULL" if length < 0 else repr(normalised(body[at:at + length]))
        at += max(length, 0)


def normalised(data):
    text = data.decode("utf8", "backslashreplace").rstrip("\0").replace("\0", "|")
    return re.sub(r"\bpg_(toast_)?temp_\d+\b", r"pg_\1temp_N", text)


class Noise:
    """The other clients of the pool, and the console to see what is free."""

    def __init__(self, pooler, user, database, occupy=OCCUPY):
        self.pooler, self.user, self.occupation = pooler, user, occupy
        self.clients = [pooler.raw(user, database, **settings) for settings in NOISE_SETTINGS]
        self.console = raw.RawClient(pooler.address())
        self.console.login("admin", harness.SECTION, harness.PASSWORD)
        self.holders = []

    def close(self):
        for client in [*self.clients, self.console]:
            client.close()

    def show(self, what):
        reply = self.console.query(f"show {what}")
        names = harness.columns(next(message for message in reply if message.tag == "T"))
        return [dict(zip(names, row)) for row in raw.rows(reply)]

    def busy(self, parties):
        """How many servers belong to these clients and stay theirs: pinned, or in a transaction."""
        ports = {str(party.client.socket.getsockname()[1]): party for party in parties}
        for _ in range(200):  # a question to the server may still be under way
            linked = [row for row in self.show("clients") if row["port"] in ports and row["link"]]
            if all(row["pinned"] or ports[row["port"]].status != "I" for row in linked):
                break
        return len(linked)

    def occupy(self, count):
        """Takes all free servers; their pids in the order of the clients that hold them."""
        self.holders = self.clients[:count]
        for client in self.holders:
            client.send(self.occupation)
        return [raw.rows(client.read_until("Z"))[0][1] for client in self.holders]

    def release(self, *clients):
        for client in clients:
            self.holders.remove(client)
            client.send(RELEASE)
        for client in clients:
            client.read_until("Z")


class PooledRun(Run):
    """The way through pgproxy, with noise."""

    def __init__(self, cluster, user, pooler, noise, seed, database="test"):
        super().__init__(cluster, user, database)
        self.pooler, self.noise = pooler, noise
        self.random = random.Random(seed)
        self.used = {}  # actor: pids in the order of their last use

    def new_connection(self):
        return raw.RawClient(self.pooler.address())

    def before(self, step):
        # Now and then the client finds its last server as it left it.
        if not step.actor or self.random.random() < 0.15:
            return
        pids = self.noise.occupy(POOL_SIZE - self.noise.busy(self.parties.values()))
        if not pids:
            return
        mine = self.used.setdefault(step.actor, [])
        others = [pid for actor, used in self.used.items() if actor != step.actor for pid in used[-1:]]
        # What this client has not had for longest, and another had last.
        chosen = min(pids, key=lambda pid: (mine.index(pid) if pid in mine else -1, pid not in others))
        if chosen in mine:
            mine.remove(chosen)
        mine.append(chosen)
        self.noise.release(self.noise.holders[pids.index(chosen)])

    def after(self, step):
        self.noise.release(*list(self.noise.holders))

    def end(self):
        self.noise.release(*list(self.noise.holders))
        for party in self.parties.values():
            with party.client, contextlib.suppress(OSError):
                party.client.send(raw.TERMINATE).read_to_end()


class TransparencyTest(harness.PoolerTest):
    """check() plays scenarios both ways, all of them with one pgproxy."""

    settings = {"default_pool_size": POOL_SIZE} | CHECKOUT_ORDER
    secrets = {"boss": harness.PASSWORD}
    auto_start = False
    longMessage = False
    user = "app"
    setup = ""
    occupy = OCCUPY  # what noise clients do

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cluster = harness.Cluster.shared()
        cluster.execute("do $$ begin if not exists (select from pg_roles where rolname = 'boss') then"
                        f" create role boss superuser login password '{harness.PASSWORD}';"
                        " grant app2 to app; end if; end $$")
        cluster.execute(NOISE, database="test")
        cluster.execute(cls.setup, database="test")

    def setUp(self):
        super().setUp()
        self.pooler = self.start_pooler()
        self.noises = {}

    def finish(self, pooler):
        Run.close_spares()
        super().finish(pooler)

    def noise(self, user):
        if user not in self.noises:
            self.noises[user] = Noise(self.pooler, user, "test", self.occupy)
            self.addCleanup(self.noises[user].close)
        return self.noises[user]

    def check(self, name, steps, setup="", user=None):
        """Both ways give the same transcript."""
        user = user or self.user
        with self.subTest(name):
            direct = Run(self.cluster, user).play(steps, f"{NOISE}; {setup}")
            self.assertNotIn("     no answer", direct, "\n".join(direct))
            try:
                pooled = self.second_run(name, user).play(steps, f"{NOISE}; {setup}")
                direct, pooled = self.judged(direct), self.judged(pooled)
                self.assertEqual(direct, pooled, "\n".join(difflib.unified_diff(
                    direct, pooled, "PostgreSQL", "pgproxy", lineterm="", n=12)))
            except Exception:
                self.start_anew()
                raise

    def judged(self, transcript):
        """What of a transcript is to be the same."""
        return transcript

    def second_run(self, name, user):
        if IS_DIRECT:
            return Run(self.cluster, user)
        return PooledRun(self.cluster, user, self.pooler, self.noise(user), name)

    def start_anew(self):
        """What one scenario left on the servers shall not make the next ones fail."""
        for noise in self.noises.values():
            noise.close()
        self.noises.clear()
        self.forget(self.pooler)
        self.pooler.stop()
        sys.stderr.write(f"\n--- log of {self.id()} ---\n{self.pooler.log_text()[-4000:]}\n")
        self.pooler = self.start_pooler()
