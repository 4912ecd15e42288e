"""An application cannot tell transaction mode from a direct connection: objects that a session owns."""

import unittest

import raw
from scenario import A, B, NO_LOCKS, OCCUPY_QUIETLY, TransparencyTest, wait
from situations import Kind, tests_of

OWN_LOCKS = ("select classid, objid, objsubid, mode, count(*) from pg_locks where locktype = 'advisory'"
             " and pid = pg_backend_pid() and granted group by 1, 2, 3, 4 order by 1, 2, 3, 4")
CODE = """
create or replace function make_table() returns void language plpgsql as
  $$ begin create temp table made (n int); insert into made values (5); end $$;
create or replace function take_lock(n int) returns void language sql as 'select pg_advisory_lock(n)';
create or replace function drop_lock(n int) returns bool language sql as 'select pg_advisory_unlock(n)';
create or replace procedure run_it(sql text) language plpgsql as $$ begin execute sql; end $$;
"""
SHADOW = "drop table if exists shadowed; create table shadowed as select 'permanent' as n; grant select on shadowed to public"
DRAWN = "drop sequence if exists drawn; create sequence drawn; grant all on sequence drawn to public"


def table(name, *make, look="select * from t", undo=("drop table t",)):
    return Kind(name, make, (look,), undo)


@tests_of(
    table("temp table", "create temp table t (n int)", "insert into t values (1)",
          undo=("drop table t", "drop table pg_temp.t", "discard temp", "discard all")),
    table("on commit drop", "create temp table t (n int) on commit drop"),
    table("on commit delete", "create temporary table t (n int) on commit delete rows", "insert into t values (1)"),
    table("on commit preserve", "create local temp table if not exists t on commit preserve rows as select 1 as n"),
    table("select into", "select 1 as n into temp t"),
    table("in pg_temp", "create table pg_temp.t as select 1 as n", undo=("drop table if exists t", "discard temporary")))
class Tables(TransparencyTest):
    def test_a_temporary_schema_that_the_text_does_not_name(self):
        for begin, end in ((), ()), ((A("begin"),), (A("commit"),)), ((A("begin"),), (A("rollback"),)):
            self.check(f"search_path {len(begin)} {end}", [
                A("set search_path = pg_temp, public"), *begin, A("create table t as select 1 as n"), *end, A("table t"), B("table t"),
                A("table t"), A("drop table t"), A("table t"), A("show search_path"), B("show search_path")])


@tests_of(
    Kind("temp view", ("create temp view v as select 5 as n",), ("table v",), ("drop view v", "discard temp")),
    Kind("temp sequence", ("create temp sequence s",), ("select nextval('s')",), ("drop sequence s", "discard all")),
    Kind("function in pg_temp", ("create function pg_temp.f() returns int language sql as 'select 5'", "select pg_temp.f()"),
         ("select proname from pg_proc where proname = 'f' and pronamespace = pg_my_temp_schema()",),
         ("drop function pg_temp.f()", "discard temp")),
    Kind("domain in pg_temp", ("create domain pg_temp.d as int check (value > 0)",), ("select 5::d::int",),
         ("drop domain d", "discard all")),
    Kind("shadow", ("create temp table shadowed as select 'temporary' as n",), ("select n from shadowed", "select n from public.shadowed"),
         ("drop table shadowed",), setup=SHADOW),
    Kind("temp view by default", ("create temp table t (n int)", "create view v as select n from t"), ("table v",),
         ("drop table t cascade",)))
class Temporary(TransparencyTest):
    pass


@tests_of(
    Kind("hold", ("declare c cursor with hold for select generate_series(1, 30)",), ("fetch 1 from c", "select name from pg_cursors"),
         ("close c", "close all", "discard all")),
    Kind("binary hold", ("declare \"With hold\" no scroll cursor with hold for values (1), (2)",), ("move 1 in \"With hold\"",),
         ('close "With hold"',)),
    Kind("without hold", ("declare c cursor without hold for select generate_series(1, 30)",), ("fetch 1 from c",), ("close c",)),
    Kind("prepare", ("prepare p as select 5",), ("execute p", "select name, statement from pg_prepared_statements"),
         ("deallocate p", "deallocate all", "deallocate prepare p", "discard plans", "discard all")),
    Kind("prepare with parameters", ("prepare p(int, text) as select $1 + 1, $2",), ("execute p(4, 'x')",), ("deallocate p",)),
    Kind("listen", ("listen c", 'listen "Odd name"'), ("select pg_listening_channels()",), ("unlisten c", "unlisten *", "discard all")))
class Named(TransparencyTest):
    pass


@tests_of(
    Kind("lock", ("select pg_advisory_lock(1)",), (OWN_LOCKS, "select pg_try_advisory_xact_lock(1)"),
         ("select pg_advisory_unlock(1)", "select pg_advisory_unlock_all()", "discard all")),
    Kind("lock twice", ("select pg_advisory_lock(1)", "select pg_advisory_lock(1)", "select pg_advisory_unlock(1)"),
         (OWN_LOCKS, "select pg_try_advisory_xact_lock(1)"), ("select pg_advisory_unlock(1), pg_advisory_unlock(1), pg_advisory_unlock(1)",)),
    Kind("try lock shared", ("select pg_try_advisory_lock_shared(1, 2)",), (OWN_LOCKS, "select pg_try_advisory_xact_lock(1, 2)"),
         ("select pg_advisory_unlock_shared(1, 2)", "select pg_advisory_unlock(1, 2)")),
    Kind("lock of the transaction", ("select pg_advisory_xact_lock(1)",), (OWN_LOCKS,), ("select pg_advisory_unlock(1)",)),
    Kind("locks of rows", ("select count(pg_try_advisory_lock(n)) from generate_series(1, 9) n where n % 2 = 1",), (OWN_LOCKS,),
         ("select pg_advisory_unlock(n) from (values (1), (3), (5), (7), (9)) as t (n)",)))
class Locks(TransparencyTest):
    def check(self, name, steps, setup="", user=None):
        super().check(name, [wait(NO_LOCKS), *steps], setup, user)

    def test_a_lock_passes_on_at_the_end_of_its_owner(self):
        waits = "exists (select from pg_locks where locktype = 'advisory' and not granted)"
        for end in (A("select pg_advisory_unlock(1)"), A.leave(), A.vanish(), A("discard all"), A("select pg_advisory_unlock_all()")):
            self.check(end.label, [
                A("select pg_advisory_lock(1)"), B("select pg_try_advisory_lock(1)"), B.start("select pg_advisory_lock(1)", waits), end,
                B.finish(), B(OWN_LOCKS), A(OWN_LOCKS), A("select pg_try_advisory_lock(1)"), B("select pg_advisory_unlock(1)"),
                A("select pg_try_advisory_lock(1)")])

    def test_a_cancelled_wait_leaves_no_lock(self):
        waits = "exists (select from pg_locks where locktype = 'advisory' and not granted)"
        self.check("cancel", [A("select pg_advisory_lock(1)"), B.start("select pg_advisory_lock(1)", waits), B.cancel(), B.finish(),
                              A("select pg_advisory_unlock(1)"), B(OWN_LOCKS), A(OWN_LOCKS), B("select pg_try_advisory_xact_lock(1)")])

    def test_function_call_messages(self):
        self.check("fast path", [A.call(2880, 1), A(OWN_LOCKS), B(OWN_LOCKS), B("select pg_try_advisory_xact_lock(1)"), A.call(2885, 1),
                                 A(OWN_LOCKS), B("select pg_try_advisory_xact_lock(1)")])

    def test_locks_of_code_that_is_not_seen(self):
        for take, drop in (("select take_lock(1)", "select drop_lock(1)"), ("call run_it('select pg_advisory_lock(1)')",
                           "call run_it('select pg_advisory_unlock(1)')"), ("do $$ begin perform pg_advisory_lock(1); end $$",
                           "do $$ begin perform pg_advisory_unlock(1); end $$"), ("explain (analyze, costs off, timing off, summary off) select"
                           " pg_advisory_lock(1)", "select pg_advisory_unlock_all()")):
            for begin, end in ((), ()), ((A("begin"),), (A("rollback"),)):
                self.check(f"{take} {len(begin)}", [*begin, A(take), *end, A(OWN_LOCKS), B(OWN_LOCKS), B("select pg_try_advisory_xact_lock(1)"),
                                                    *begin, A(drop), *end, A(OWN_LOCKS), B("select pg_try_advisory_xact_lock(1)")], CODE)


@tests_of(
    Kind("table by function", ("select make_table()",), ("table made",), ("drop table made", "discard temp"), setup=CODE),
    Kind("table by procedure", ("call run_it('create temp table made as select 5 as n')",), ("table made",),
         ("call run_it('drop table made')",), setup=CODE),
    Kind("table by do", ("do $$ begin create temp table made as select 5 as n; end $$",), ("table made",), ("drop table made",)),
    Kind("listen by do", ("do $$ begin execute 'listen c'; end $$",), ("select pg_listening_channels()",), ("unlisten *",)))
class Code(TransparencyTest):
    pass


class Notifications(TransparencyTest):
    def test_a_client_that_notifies_itself_finds_its_own_pid(self):
        for ask in (A, A.x):
            self.check("self", [A("listen c"), ask("notify c, 'x'"), A("begin"), ask("notify c, 'y'"), A("select 1"), A("commit"),
                                ask("select pg_notify('c', 'z')"), A("unlisten c"), ask("notify c, 'x'"), A("begin"), A("notify c"),
                                A("listen c"), A("commit"), A("begin"), ask("notify c, 'lost'"), A("rollback")])

    def test_notifications_reach_who_listens_and_nobody_else(self):
        self.check("others", [A("listen c"), B("notify c, '1'"), A.hears(), B("listen d"), A("notify d, '2'"), B.hears(), A("notify c, '3'"),
                              B("select 1"), B("unlisten *"), A("notify d, '4'"), B("select 2"), A("begin"), A("listen e"), A("rollback"),
                              B("notify e"), A("select 3"), A("select pg_listening_channels()")])

    def test_a_listener_that_comes_back_listens_no_more(self):
        for end in (A.leave(), A.vanish()):
            self.check(end.label, [A("listen c"), end, A("select pg_listening_channels()"), B("notify c"), A("select 1")])


@tests_of(
    Kind("seed", ("select setseed(0.5)",), ("select random() < 0 or pg_typeof(random()) is null",)))
class Hidden(TransparencyTest):
    def test_random_numbers_follow_their_seed(self):
        for seed in ("select setseed(0.25)", "set seed = 0.25", "select set_config('seed', '0.25', false)",
                     "do $$ begin perform setseed(0.25); end $$"):
            for begin, end in ((), ()), ((A("begin"),), (A("rollback"),)):
                self.check(f"{seed} {len(begin)}", [*begin, A(seed), *end, A("select random()"), A("select 1"), A("select random()"),
                                                    A.x("select random()")])


class Draws(TransparencyTest):
    """Clients that draw keep their servers: noise clients do not, or they would have them all."""

    settings = TransparencyTest.settings | {"on_sequence_state": "pin"}
    occupy = OCCUPY_QUIETLY

    def judged(self, transcript):
        """pgproxy refuses with PostgreSQL's SQLSTATE, before the statement is run."""
        lines = []
        for line in transcript:
            if "C=55000" in line:
                while lines[-1].startswith("     "):
                    lines.pop()
                line = "     55000"
            lines.append(line)
        return lines

    def test_drawn_numbers_within_a_transaction(self):
        self.check("currval", [A("begin"), A("select nextval('drawn')"), A("select lastval(), currval('drawn')"), A("commit"),
                               B("begin"), B("select lastval()"), B("rollback"), B("begin"), B("select currval('drawn')"), B("rollback"),
                               A.pipeline("select nextval('drawn')", "select lastval()")], DRAWN)

    def test_drawn_numbers_of_others_are_never_told(self):
        self.check("before", [B("select nextval('drawn')"), A("select lastval()"), A("select currval('drawn')"), A.x("select lastval()"),
                              A("discard sequences"), A("select lastval()")], DRAWN)
        self.check("discarded", [A("select nextval('drawn')"), A("discard sequences"), A("select lastval()"), B("select lastval()"),
                                 A("select nextval('drawn')"), A("discard all"), A("select currval('drawn')")], DRAWN)


class Loaded(TransparencyTest):
    user = "boss"

    def test_a_loaded_library_stays(self):
        show = "show auto_explain.log_min_duration"
        for load in ("load 'auto_explain'", "do $$ begin load 'auto_explain'; end $$"):
            self.check(load, [A.connect(), A(load), A("set auto_explain.log_min_duration = '1h'"), A(show), A("set auto_explain.log_min_duration ="
                              " 'nonsense'"), A("reset auto_explain.log_min_duration"), A(show)])


class Copies(TransparencyTest):
    setup = "create table if not exists copied (d date); grant all on copied to public"

    def test_copy_with_session_state(self):
        self.check("copy", [
            A("set datestyle = 'German'"), A("copy (select date '2001-02-03') to stdout"), B("copy (select date '2001-02-03') to stdout"),
            A("create temp table t (d date, n text)"), A.copy_in("copy t from stdin", b"04.05.2006\tx\n"), A("table t"),
            B.copy_in("copy t from stdin", b"04.05.2006\tx\n"), A.copy_in("copy t from stdin", b"nonsense\n"),
            A.copy_in("copy t from stdin", b"", raw.copy_fail("no")), A("select count(*) from t"), A("set client_encoding = 'latin1'"),
            A.copy_in("copy t (n) from stdin", b"\xe9\n"), A("copy t to stdout"), A("select octet_length(n) from t"), A("drop table t"),
            A("copy (select chr(233)) to stdout"), B("copy (select chr(233)) to stdout")])

    def test_copy_in_a_transaction(self):
        self.check("transaction", [
            A("begin"), A("set local datestyle = 'German'"), A.copy_in("copy copied from stdin", b"04.05.2006\n"), A("table copied"),
            A("rollback"), A("table copied"), A("begin"), A("set datestyle = 'SQL, DMY'"), A.copy_in("copy copied from stdin", b"nonsense\n"),
            A("commit"), A("show datestyle"), A("copy (select date '2001-02-03') to stdout")])


class Statements(TransparencyTest):
    """Prepared statements of the protocol, as far as they are session state."""

    def named(self, actor, *parameters):
        return actor.send(f"bind {parameters}", raw.bind(*parameters, name="s"), raw.describe(), raw.execute(), raw.SYNC)

    def parse(self, actor, sql):
        return actor.send(f"parse {sql}", raw.parse(sql, "s"), raw.describe("S", "s"), raw.SYNC)

    def test_names_are_their_clients_own(self):
        both = [self.named(A, 1), self.named(B, 1)]
        self.check("names", [self.parse(A, "select $1::int"), self.named(B, 1), self.parse(B, "select -$1::int"), *both, *both,
                             self.parse(A, "select 3"), *both, A.send("close", raw.close("S", "s"), raw.SYNC), *both, self.parse(A, "select $1::text"),
                             *both])

    def test_sql_ends_statements_of_the_protocol(self):
        for end in ("deallocate s", "deallocate all", "discard all", "discard plans", "deallocate none"):
            self.check(end, [self.parse(A, "select $1::int"), self.parse(B, "select $1::text"), A(end), self.named(A, 1), self.named(B, 1),
                             A("begin"), A(end), A("rollback"), self.named(A, 1), B("execute s(5)"), A("execute s(5)")])

    def test_a_statement_knows_the_search_path_of_its_parse(self):
        tables = ("create schema if not exists one; create schema if not exists two; grant usage on schema one, two to public;"
                  "drop table if exists one.t, two.t; create table one.t as select 'one' as n; create table two.t as select 'two' as n;"
                  "grant select on one.t, two.t to public")
        self.check("path", [A("set search_path = one"), self.parse(A, "select n from t"), self.named(A), A("set search_path = two"), self.named(A),
                            B("set search_path = two"), self.parse(B, "select n from t"), self.named(B), self.named(A), A("reset search_path"),
                            self.named(A), B.x("select n from t"), A.x("select n from t")], tables)

    def test_a_statement_knows_the_role_of_its_run(self):
        self.check("role", [A("set role app2"), self.parse(A, "select current_user"), self.named(A), A("reset role"), self.named(A), B("set role app2"),
                            self.parse(B, "select current_user"), self.named(B), self.named(A)])

    def test_the_unnamed_statement_outlives_what_others_do(self):
        bind = [actor.send("bind", raw.bind(), raw.execute(), raw.SYNC) for actor in (A, B)]
        self.check("unnamed", [A.send("parse", raw.parse("select 'a', current_setting('work_mem')"), raw.SYNC), *bind, A.send("flush", raw.SYNC),
                               B.send("parse", raw.parse("select 'b'"), raw.SYNC), *bind, *bind, A("set work_mem = '7MB'"), *bind,
                               A.send("parse", raw.parse("select 'c'"), raw.SYNC), A.send("bad", raw.parse("selec"), raw.SYNC), *bind])


if __name__ == "__main__":
    unittest.main(verbosity=2)
