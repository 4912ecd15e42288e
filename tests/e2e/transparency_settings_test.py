"""An application cannot tell transaction mode from a direct connection: settings and the role."""

import unittest

import raw
from scenario import A, B, TransparencyTest
from situations import Kind, tests_of

RESETS = ("reset {0}", "set {0} to default", "reset all", "discard all")
TENANTS = """
drop table if exists tenants cascade; create table tenants (tenant text, n int);
insert into tenants values ('red', 1), ('blue', 2), ('noise', 3); alter table tenants enable row level security;
create policy own on tenants using (tenant = current_setting('app.tenant', true)); grant select on tenants to public;
"""

def resets(name):
    return tuple(reset.format(name) for reset in RESETS)


def setting(name, value, other, *look, **more):
    """SET name = value, in the words of SQL."""
    return Kind(name, (f"set {name} = {value}",), (f"show {name}", *look), resets(name), (f"set {name} = {other}",), **more)


def assigned(name, make, other, setting_name="work_mem", undo=None):
    """work_mem, set in some way."""
    return Kind(name, (make,), (f"show {setting_name}",), undo or (f"reset {setting_name}",), (other,))


@tests_of(
    setting("work_mem", "'7MB'", "'8MB'"),
    setting("datestyle", "'German, DMY'", "iso", "select date '2001-02-03', date '4.5.2006'"),
    setting("standard_conforming_strings", "off", "on", r"select 'a\\b', E'a\\b'"),
    setting("application_name", "'it''s me'", "''"),
    setting("bytea_output", "escape", "hex", r"select '\x00ff'::bytea"),
    setting("default_transaction_isolation", "'serializable'", "'repeatable read'", "show transaction_isolation"),
    setting("client_min_messages", "error", "debug1"))
class Plain(TransparencyTest):
    pass


@tests_of(
    assigned("set session", "set session work_mem to '7MB'", "set session work_mem to 8192"),
    assigned("set local", "set local work_mem to '7MB'", "set local work_mem to 8192"),
    assigned("set_config", "select set_config('work_mem', '7MB', false)", "select set_config('work_mem', '8MB', false)"),
    assigned("set_config local", "select set_config('work_mem', '7MB', true)", "select set_config('work_mem', '8MB', true)"),
    assigned("set from current", "set work_mem from current", "set work_mem = '8MB'"),
    assigned("update pg_settings", "update pg_settings set setting = '7168' where name = 'work_mem'",
             "update pg_settings set setting = '8192' where name = 'work_mem'"),
    assigned("do", "do $$ begin perform set_config('work_mem', '7MB', false); end $$", "do $$ begin set work_mem = '8MB'; end $$"),
    Kind("both", ("set work_mem = '7MB'", "set local work_mem = '9MB'"), ("show work_mem",), other=(
        "set local work_mem = '10MB'", "set work_mem = '8MB'")))
class Ways(TransparencyTest):
    pass


@tests_of(
    Kind("tenant", ("set app.tenant = 'red'",), ("select n from tenants", "select coalesce(current_setting('app.tenant', true), '')"),
         resets("app.tenant"), ("set app.tenant = 'blue'",), TENANTS),
    Kind("tenant of transaction", ("select set_config('app.tenant', 'red', true)", "select n from tenants"),
         ("select n from tenants",), (), ("select set_config('app.tenant', 'blue', true)",), TENANTS),
    Kind("odd custom name", ('set "APP"."Te$nant" = \'r\'\'ed\'', "set session.x = 1"),
         ('select coalesce(current_setting(\'app.te$nant\', true), \'\'), coalesce(current_setting(\'session.x\', true), \'\')',),
         ("reset all",)))
class Custom(TransparencyTest):
    pass


@tests_of(
    Kind("quoted search_path", ('set search_path = "Odd, schema", "with ""quotes""", "$user", public, pg_catalog',),
         ("show search_path", "select current_schemas(true)"), resets("search_path"), ("set search_path to tables_here",),
         'create schema if not exists "Odd, schema"; grant all on schema "Odd, schema" to public;'
         'create schema if not exists tables_here'),
    Kind("empty search_path", ("set search_path = ''",), ("show search_path", "select current_schema() is null", "table tenants"),
         ("reset search_path",), ("set schema 'public'",), TENANTS),
    Kind("search_path of the transaction", ("set local search_path = tables_here",), ("show search_path", "select name from found"),
         ("reset search_path",), ("set search_path = tables_here",),
         "create schema if not exists tables_here; grant usage on schema tables_here to public; drop table if exists tables_here.found;"
         "create table tables_here.found as select 'here' as name; grant select on tables_here.found to public"),
    Kind("temporary schema first", ("set search_path = pg_temp, public",), ("show search_path",), ("reset all",)))
class SearchPath(TransparencyTest):
    pass


def zone(name, make):
    return Kind(f"zone {name}", (make,), ("show timezone", "select timestamptz '2001-02-03 04:05:06+00'"), ("set time zone local",))


@tests_of(
    zone("name", "set time zone 'Europe/Rome'"), zone("number", "set time zone -7"), zone("posix", "set timezone = 'PST8PDT'"),
    zone("interval", "set time zone interval '-08:00' hour to minute"), zone("session", "set session time zone 2.5"),
    zone("of transaction", "set local time zone 'UTC'"), zone("default", "set time zone default"))
class TimeZone(TransparencyTest):
    pass


class Parameters(TransparencyTest):
    def test_set_config_with_bound_parameters(self):
        for local in ("false", "true"):
            make = [A.x("select set_config($1, $2, $3)", "work_mem", "7MB", local),
                    B.x("select set_config($1, $2, $3)", "app.tenant", "blue", local)]
            look = [A("show work_mem"), B("show work_mem"), B("select coalesce(current_setting('app.tenant', true), '')")]
            self.check(f"outside, local {local}", [*make, *look, *look])
            self.check(f"inside, local {local}", [A("begin"), B("begin"), *make, *look, A("commit"), B("rollback"), *look, *look])

    def test_set_config_of_a_named_statement(self):
        sql = "select set_config('work_mem', $1, false)"
        use = [A.send(f"bind {value}", raw.bind(value, name="s"), raw.execute(), raw.SYNC) for value in ("7MB", "8MB", "bad", "9MB")]
        self.check("named", [A.send(sql, raw.parse(sql, "s"), raw.SYNC),
                             *(step for one in use for step in (one, A("show work_mem"), B("show work_mem")))])

    def test_function_call_messages(self):
        self.check("set_config", [A.call(2078, "work_mem", "7MB", "f"), A("show work_mem"), B("show work_mem"),
                                  A.call(2078, "work_mem", "8MB", "t"), A("show work_mem"), A.call(2078, "no_such", "8MB", "t"),
                                  A("begin"), A.call(2078, "work_mem", "8MB", "t"), A("show work_mem"), A("rollback"), A("show work_mem")])

    def test_values_that_postgresql_refuses_change_nothing(self):
        for bad in ("set work_mem = 'much'", "set no_such_setting = 1", "set timezone = 'Nowhere/Land'", "set role no_such_role",
                    "set session_replication_role = replica", "select set_config('no_such_setting', '1', false)", "set app. = 1",
                    "set search_path to", "reset no_such_setting", "set server_version = '1'", "show no_such_setting",
                    "set default_transaction_read_only = on, off", "set datestyle = 'ISO', 'German', 'nonsense'"):
            for begin, end in ((), ()), ((A("begin"),), (A("commit"),)):
                self.check(f"{bad} {len(begin)}", [
                    A("set work_mem = '7MB'"), *begin, A(bad), *end, A("show work_mem"), A("show timezone"), B("show work_mem")])

    def test_sets_in_a_pipeline_of_many_syncs(self):
        sets = b"".join(raw.statement(f"set work_mem = '{n}MB'") + raw.SYNC + raw.statement("show work_mem") + raw.SYNC for n in range(5, 15))
        self.check("pipeline", [A.send("many", sets, syncs=20), A("show work_mem"), B("show work_mem"),
                                A.send("queries", b"".join(raw.query(f"set work_mem = '{n}MB'") for n in range(5, 15)), syncs=10),
                                A("show work_mem"), B("show work_mem")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
