"""An application cannot tell transaction mode from a direct connection: roles, startup settings, code that sets."""

import unittest

import raw
from scenario import A, B, TransparencyTest
from situations import Kind, tests_of

CODE = """
create or replace function set_by_function(value text) returns void language plpgsql as
  $$ begin perform set_config('work_mem', value, false); end $$;
create or replace function set_quietly() returns int language sql set work_mem = '5MB' as 'select 1';
create or replace procedure set_by_procedure(value text) language plpgsql as
  $$ begin execute format('set work_mem = %L', value); end $$;
"""



@tests_of(
    Kind("names", ("set names 'latin1'",), ("show client_encoding", "select 'é', chr(233)", "select length('é')"),
         ("set names default", "reset client_encoding", "discard all"), ("set client_encoding to 'WIN1252'",)),
    Kind("characteristics", ("set session characteristics as transaction isolation level serializable, read only, deferrable",),
         ("show transaction_isolation", "show transaction_read_only", "show transaction_deferrable", "delete from nothing"),
         ("reset default_transaction_read_only", "set session characteristics as transaction read write", "discard all"),
         ("set session characteristics as transaction isolation level repeatable read",)),
    Kind("set transaction", ("set transaction isolation level serializable", "set transaction read only"),
         ("show transaction_isolation", "show transaction_read_only")),
    Kind("read only by default", ("set default_transaction_read_only = on",),
         ("show transaction_read_only", "create temp table allowed ()", "drop table if exists allowed"),
         ("set transaction read write", "reset all")),
    Kind("constraints", ("set constraints all deferred",), ("select 1",)))
class OtherSets(TransparencyTest):
    setup = "create table if not exists nothing (); grant all on nothing to public"


@tests_of(
    Kind("role", ("set role app2",), ("select current_user, session_user", "show role"),
         ("reset role", "set role none", "reset all", "discard all", "set session authorization default"),
         ("set role to 'app'",)),
    Kind("role of transaction", ("set local role app2",), ("select current_user, session_user",), ("reset role",), ("set role app2",)),
    Kind("role by function", ("select set_config('role', 'app2', false)",), ("select current_user", "show role"),
         ("select set_config('role', 'none', false)",)),
    Kind("role and settings", ("set work_mem = '7MB'", "set role app2", "set timezone = 'UTC'"),
         ("select current_user", "show work_mem", "show timezone"), ("reset all", "reset role")))
class Role(TransparencyTest):
    pass


@tests_of(
    Kind("authorization", ("set session authorization app",),
         ("select current_user, session_user", "show is_superuser", "show session_authorization"),
         ("reset session authorization", "set session authorization default", "reset role", "reset all", "discard all"),
         ("set session authorization 'app2'",)),
    Kind("authorization and role", ("set session authorization app", "set role app2"),
         ("select current_user, session_user", "show role"), ("reset role", "reset session authorization"),
         ("set role app", "set work_mem = '6MB'")),
    Kind("authorization of transaction", ("set local session authorization app2",), ("select current_user, session_user",)),
    Kind("superuser settings", ("set log_min_duration_statement = '1h'", "set role app"),
         ("show log_min_duration_statement", "select current_user", "set log_min_duration_statement = '2h'"),
         ("reset role", "discard all")))
class SuperUser(TransparencyTest):
    user = "boss"


@tests_of(
    Kind("function", ("select set_by_function('7MB')",), ("show work_mem",), ("reset work_mem",),
         ("select set_by_function('8MB'), set_quietly()",)),
    Kind("procedure", ("call set_by_procedure('7MB')",), ("show work_mem",), ("reset work_mem",), ("call set_by_procedure('8MB')",)))
class Code(TransparencyTest):
    setup = CODE

    def test_a_function_with_settings_of_its_own_changes_nothing(self):
        self.check("set_quietly", [A("set work_mem = '7MB'"), A("select set_quietly()"), A("show work_mem"), B("show work_mem")])

    def test_code_that_is_known_to_be_clean_and_then_is_not(self):
        """What was found clean, often, may do something else with other arguments."""
        sometimes = ("create or replace function sometimes(n int) returns int language plpgsql as $$ begin"
                     " if n >= 10 then perform set_config('work_mem', n || 'MB', false); end if; return n; end $$")
        self.check("sometimes", [
            *(A(f"select sometimes({n})") for n in range(12)), A("show work_mem"), B("show work_mem"), B("select sometimes(13)"),
            A("show work_mem"), B("show work_mem")], sometimes)
        replaced = "create or replace function sometimes(n int) returns int language sql as 'select n'"
        self.check("replaced", [
            *(A(f"select sometimes({n})") for n in range(20, 26)),
            B("create or replace function public.sometimes(n int) returns int language plpgsql as $$ begin"
              " perform set_config('work_mem', n || 'MB', false); return n; end $$"),
            A("select sometimes(27)"), A("show work_mem"), B("show work_mem"), A("select sometimes(28)"), A("show work_mem")],
            "drop function if exists sometimes(int); " + replaced + "; alter function sometimes owner to app")


STARTUP = {"options": "-c work_mem=7MB --search_path=pg_catalog,\\ public -c app.tenant=blue -cTimeZone=Asia/Tokyo", "DateStyle": "German"}
SHOWN = ("show work_mem", "show search_path", "show timezone", "show datestyle")


@tests_of(
    Kind("startup", ("set work_mem = '9MB'", "set app.tenant = 'red'", "set timezone = 'UTC'", "set datestyle to iso"), SHOWN[:1] + SHOWN[2:] + (
        "select coalesce(current_setting('app.tenant', true), '') in ('red', 'blue')",),
         ("reset work_mem", "set work_mem to default", "reset all", "discard all", "set time zone default", "reset app.tenant"), startup=STARTUP))
class Startup(TransparencyTest):
    def test_reset_goes_back_to_what_the_client_logged_in_with(self):
        for settings in (STARTUP, {"statement_timeout": "12345", "search_path": '"Odd, name", public'},
                         {"options": "-c default_transaction_isolation=serializable -c default_transaction_read_only=on"},
                         {"application_name": "mine", "client_encoding": "latin1", "IntervalStyle": "iso_8601"},
                         {"options": "-c standard_conforming_strings=off -c bytea_output=escape -c role=app2"},
                         {"options": "-c client_min_messages=error", "timezone": "-7", "geqo": "off", "extra_float_digits": "3"}):
            look = [actor(sql) for actor in (A, B) for sql in (
                "show statement_timeout", "show search_path", "show transaction_isolation", "show transaction_read_only",
                "show application_name", "show client_encoding", "show standard_conforming_strings", "show bytea_output",
                "show client_min_messages", "show timezone", "show geqo", "select current_user", "show work_mem", "show datestyle",
                "select interval '1 day', 0.1::float8, chr(233), 'a'::bytea")]
            change = [A(f"set {name} = {value}") for name, value in (
                ("statement_timeout", "5555"), ("search_path", "pg_catalog"), ("default_transaction_isolation", "'repeatable read'"),
                ("default_transaction_read_only", "off"), ("application_name", "'other'"), ("client_encoding", "utf8"),
                ("standard_conforming_strings", "on"), ("bytea_output", "hex"), ("client_min_messages", "warning"), ("timezone", "'UTC'"),
                ("geqo", "on"), ("role", "none"), ("work_mem", "'9MB'"), ("datestyle", "'iso'"))]
            come = A.connect(**settings)
            for back in ("reset all", "discard all", "set session authorization default"):
                self.check(f"{settings} {back}", [come, *look, *change, *look, A(back), *look])
            self.check(f"{settings} rollback", [come, *change, A("begin"), A("reset all"), A("rollback"), *look, A("begin"),
                                                A("reset all"), A("commit"), *look])
            self.check(f"{settings} one by one", [come, *change, *(A("reset " + step.label.split()[1]) for step in change), *look])

    def test_a_login_with_bad_settings_fails_as_in_postgresql(self):
        for settings in ({"work_mem": "much"}, {"no_such_setting": "1"}, {"options": "-c timezone=Nowhere"},
                         {"client_encoding": "nonsense"}, {"options": "-c log_min_duration_statement=1"}):
            self.check(f"{settings}", [A.connect(**settings), B("select 1")])

    def test_logins_that_differ_alternate(self):
        look = [actor(sql) for actor in (A, B) for sql in ("show work_mem", "show timezone", "show application_name")]
        self.check("two", [A.connect(work_mem="7MB", TimeZone="Asia/Tokyo"), B.connect(work_mem="8MB", application_name="b"), *look, *look,
                           A("set work_mem = '8MB'"), B("set work_mem = '7MB'"), *look, A("reset all"), B("discard all"), *look,
                           A.leave(), A.connect(), *look])


class ShortTimeouts(TransparencyTest):
    """What the client does to itself must not befall what pgproxy does on its servers."""

    def judged(self, transcript):
        """A millisecond may be over before PostgreSQL has described the rows, or behind that."""
        return [line for line, next_line in zip(transcript, [*transcript[1:], ""])
                if not (line.startswith("     T ") and "C=57014" in next_line)]

    def test_a_statement_timeout_of_a_millisecond(self):
        for begin, end in ((), ()), ((A("begin"),), (A("rollback"),)):
            self.check(f"timeout {len(begin)}", [
                A("set work_mem = '7MB'"), A("set statement_timeout = 1"), *begin, A("select pg_sleep(1)"), *end, B("select pg_sleep(0.01)"),
                A.patiently("select pg_sleep(0)"), B("show statement_timeout"), A.patiently("show statement_timeout"),
                A.patiently("show work_mem"), A("select pg_sleep(1)"), A.patiently("set work_mem = '8MB'"), A.patiently("create temp table t ()"),
                A.patiently("drop table t"), A.patiently("select pg_advisory_lock(3)"), A.patiently("select pg_advisory_unlock_all()"),
                A.patiently("reset statement_timeout"), A("select pg_sleep(0.01)"), A("show work_mem")])

    def test_other_timeouts_of_a_millisecond(self):
        self.check("lock_timeout", [A("set lock_timeout = 1"), B("begin"), B("lock table only_one in access exclusive mode"), A("table only_one"),
                                    B("commit"), A.patiently("show lock_timeout"), B("show lock_timeout"), A("create temp table t ()"), A("drop table t")],
                   "create table if not exists only_one (); grant all on only_one to public")
        self.check("idle in transaction", [A("set idle_in_transaction_session_timeout = '1h'"), A("begin"), A("select 1"), A("commit"),
                                           A("show idle_in_transaction_session_timeout"), B("show idle_in_transaction_session_timeout")])


EVIL = """
drop schema if exists evil cascade; create schema evil; grant all on schema evil to public;
create function evil.fail() returns text language plpgsql as $$ begin raise exception 'evil'; end $$;
create function evil.current_setting(text) returns text language sql as 'select evil.fail()';
create function evil.current_setting(text, bool) returns text language sql as 'select evil.fail()';
create function evil.set_config(text, text, bool) returns text language sql as 'select evil.fail()';
create function evil.pg_my_temp_schema() returns oid language sql as 'select evil.fail()::oid';
create function evil.pg_backend_pid() returns int language sql as 'select evil.fail()::int';
create function evil.pg_listening_channels() returns setof text language sql as 'select evil.fail()';
create function evil.evil(text, text) returns bool language sql as 'select evil.fail()::bool';
create function evil.evil(name, name) returns bool language sql as 'select evil.fail()::bool';
create function evil.evil(oid, oid) returns bool language sql as 'select evil.fail()::bool';
create function evil.evil(int, int) returns bool language sql as 'select evil.fail()::bool';
create operator evil.= (leftarg = text, rightarg = text, function = evil.evil);
create operator evil.<> (leftarg = text, rightarg = text, function = evil.evil);
create operator evil.= (leftarg = name, rightarg = name, function = evil.evil);
create operator evil.= (leftarg = oid, rightarg = oid, function = evil.evil);
create operator evil.<> (leftarg = oid, rightarg = oid, function = evil.evil);
create operator evil.= (leftarg = int, rightarg = int, function = evil.evil);
create operator evil.> (leftarg = int, rightarg = int, function = evil.evil);
create operator evil.<> (leftarg = int, rightarg = int, function = evil.evil);
create view evil.pg_settings as select evil.fail(); create view evil.pg_locks as select evil.fail();
create view evil.pg_class as select evil.fail(); create view evil.pg_cursors as select evil.fail();
create view evil.pg_proc as select evil.fail(); create view evil.pg_prepared_statements as select evil.fail();
create domain evil.text as pg_catalog.text check (value = 'evil'); create domain evil.oid as pg_catalog.oid check (value > 0);
grant select on all tables in schema evil to public;
"""


class Evil(TransparencyTest):
    setup = EVIL

    def test_names_that_shadow_those_of_the_catalog(self):
        for path in ("evil, pg_catalog", "evil, public, pg_catalog", "pg_temp, evil, pg_catalog"):
            for begin, end in ((), ()), ((A("begin"),), (A("commit"),)), ((A("begin"),), (A("rollback"),)):
                self.check(f"{path} {len(begin)} {end}", [
                    A(f"set search_path = {path}"), *begin, A("set work_mem = '7MB'"), A("do $$ begin set local work_mem = '9MB'; end $$"),
                    A("create temp table t (n int)"), A("declare c cursor with hold for select 1"), A("listen c"), A("prepare p as select 5"),
                    A("select pg_advisory_lock(5)"), *end, A("show search_path"), A("show work_mem"), A("select evil.fail()"), A("drop table t"), A("close c"),
                    A("unlisten *"), A("deallocate p"), A("select pg_advisory_unlock(5)"), A("reset work_mem"), A("show work_mem"), B("show search_path"),
                    A("select current_setting('work_mem')"), A("reset search_path"), A("select current_setting('work_mem') = '4MB'"),
                    B("select current_setting('work_mem') = '4MB'")])

    def test_temporary_tables_that_shadow_the_catalog(self):
        names = ("pg_class", "pg_locks", "pg_settings", "pg_proc", "pg_cursors", "pg_prepared_statements", "pg_namespace", "pg_type")
        self.check("temp", [*(A(f"create temp table {name} (evil int)") for name in names), A("set work_mem = '7MB'"), A("table pg_locks"),
                            A("select pg_advisory_lock(5)"), B("select count(*) from pg_locks where locktype = 'advisory'"),
                            A("select pg_advisory_unlock(5)"), *(A(f"drop table pg_temp.{name}") for name in names), A("show work_mem"), B("show work_mem"),
                            A("select count(*) from pg_locks where locktype = 'advisory'")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
