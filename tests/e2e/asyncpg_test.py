"""asyncpg: its statement cache, its pool, what it asks of the catalogs, beside other clients."""

import asyncio
import unittest

import asyncpg
import noise
from harness import PASSWORD

TURNS = 12  # so that every server has its turn


class Asyncpg(noise.ClientTest):

    def both(self, work, connections=1, **options):
        """work(connection...) has the same outcome at PostgreSQL and, among others, at pgproxy."""
        async def with_connections(target):
            async with asyncpg.create_pool(**self.address(target), min_size=connections, max_size=connections, **options) as pool:
                opened = [await pool.acquire() for _ in range(connections)]
                try:
                    return await work(*opened)
                finally:
                    for connection in opened:
                        await pool.release(connection)
        super().both(lambda target: asyncio.run(asyncio.wait_for(with_connections(target), 60)))

    @staticmethod
    def address(target):
        return {"host": "127.0.0.1", "port": target.port, "user": "app", "password": PASSWORD, "database": "test"}

    def test_statement_cache(self):
        async def work(one, two):
            for turn in range(2 * TURNS):
                self.assertEqual(await one.fetchval("select $1::int + 1", turn), turn + 1)
                self.assertEqual(await two.fetchval("select $1::int - 1", turn), turn - 1)
            statement = await one.prepare("select $1::int as n, $2::text as t")
            for turn in range(TURNS):
                self.assertEqual(tuple(await statement.fetchrow(turn, "é")), (turn, "é"))
                with self.assertRaises(asyncpg.DivisionByZeroError):
                    await one.fetchval("select 1 / $1::int", 0)
            return [attribute.type.name for attribute in statement.get_attributes()]
        self.both(work, connections=2)

    def test_a_small_statement_cache_closes_what_it_drops(self):
        async def work(connection):
            for turn in range(4):
                for number in range(6):
                    self.assertEqual(await connection.fetchval(f"select $1::int + {number}", turn), turn + number)
        self.both(work, statement_cache_size=2)

    def test_a_table_that_changes(self):
        """asyncpg answers a stale plan outside of a transaction by preparing anew."""
        async def work(owner, reader):
            await owner.execute("drop table if exists asyncpg_changing; create table asyncpg_changing (v int);"
                                "insert into asyncpg_changing values (7)")
            for _ in range(TURNS):
                self.assertEqual(await reader.fetchval("select * from asyncpg_changing"), 7)
            await owner.execute("alter table asyncpg_changing alter v type text using 'four', add w int default 5")
            for _ in range(TURNS):
                self.assertEqual(tuple(await reader.fetchrow("select * from asyncpg_changing")), ("four", 5))
        self.both(work, connections=2)

    def test_executemany(self):
        async def work(connection):
            await connection.execute("drop table if exists asyncpg_many; create table asyncpg_many (n int primary key, t text)")
            await connection.executemany("insert into asyncpg_many values ($1, $2)", [(n, f"row {n}") for n in range(10_000)])
            with self.assertRaises(asyncpg.UniqueViolationError):
                await connection.executemany("insert into asyncpg_many values ($1, $2)", [(n, "twice") for n in (20_000, 20_001, 77)])
            return tuple(await connection.fetchrow("select count(*), sum(n) from asyncpg_many"))
        self.both(work)

    def test_cursors(self):
        async def work(connection):
            for _ in range(4):
                async with connection.transaction():
                    self.assertEqual([row[0] async for row in connection.cursor("select generate_series(1, $1::int)", 120, prefetch=50)],
                                     list(range(1, 121)))
                    cursor = await connection.cursor("select generate_series(1, 100)")
                    await cursor.forward(10)
                    self.assertEqual((await cursor.fetchrow())[0], 11)
            with self.assertRaises(asyncpg.NoActiveSQLTransactionError):
                await connection.cursor("select 1")
        self.both(work)

    def test_copy(self):
        rows = [(n, f"row\t{n}\n") for n in range(5000)]

        async def work(connection):
            await connection.execute("drop table if exists asyncpg_copied; create table asyncpg_copied (n int, t text)")
            await connection.copy_records_to_table("asyncpg_copied", records=rows)
            with self.assertRaises(asyncpg.BadCopyFileFormatError):
                async def source():
                    yield b"too\tmany\tcolumns\n"
                await connection.copy_to_table("asyncpg_copied", source=source())
            copied = bytearray()

            async def sink(data):
                copied.extend(data)
            await connection.copy_from_query("select * from asyncpg_copied where n < $1 order by n", 100, output=sink)
            self.assertEqual([tuple(row) for row in await connection.fetch("select * from asyncpg_copied order by n")], rows)
            return bytes(copied)
        self.both(work)

    def test_listeners(self):
        async def work(listener, notifier):
            heard = asyncio.Queue()
            await listener.add_listener("asyncpg_news", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
            payloads = []
            for turn in range(TURNS):
                await notifier.execute("select pg_notify('asyncpg_news', $1)", f"turn {turn}")
                payloads.append(await heard.get())
            await listener.reset(timeout=20)  # with UNLISTEN *
            await notifier.execute("notify asyncpg_news, 'unheard'")
            self.assertEqual(await listener.fetchval("select count(*) from pg_listening_channels()"), 0)
            self.assertTrue(heard.empty())
            return payloads
        self.both(work, connections=2)

    def test_transactions_and_savepoints(self):
        async def work(connection):
            await connection.execute("drop table if exists asyncpg_kept; create table asyncpg_kept (n int)")
            for turn in range(TURNS):
                async with connection.transaction(isolation="serializable"):
                    await connection.execute("insert into asyncpg_kept values ($1)", turn)
                    with self.assertRaises(asyncpg.DivisionByZeroError):
                        async with connection.transaction():
                            await connection.execute("insert into asyncpg_kept values ($1)", -turn)
                            await connection.execute("select 1 / $1::int", 0)
                with self.assertRaises(asyncpg.ReadOnlySQLTransactionError):
                    async with connection.transaction(readonly=True):
                        await connection.execute("insert into asyncpg_kept values (1000)")
            return await connection.fetchval("select sum(n) from asyncpg_kept")
        self.both(work)

    def test_types_that_it_asks_the_catalogs_about(self):
        """The question comes with set_config('jit', 'off', false) and back, over a named statement."""
        async def work(connection):
            await connection.execute("drop type if exists asyncpg_pair, asyncpg_mood; create type asyncpg_mood as enum ('sad', 'happy');"
                                     "create type asyncpg_pair as (mood asyncpg_mood, numbers int[])")
            for _ in range(TURNS):
                pair = await connection.fetchval("select $1::asyncpg_pair", ("happy", [1, None, 3]))
                self.assertEqual(tuple(pair), ("happy", [1, None, 3]))
                self.assertEqual(await connection.fetchval("select array['sad', 'happy']::asyncpg_mood[]"), ["sad", "happy"])
                await connection.reload_schema_state()
            return await connection.fetchval("show jit")
        self.both(work, server_settings={"jit": "on"})

    def test_settings_and_the_reset_of_the_pool(self):
        """A released connection goes back to what it was at startup, not to what the server has."""
        async def reuse(target):
            seen = []

            async def see(connection, *questions):
                for question in (*questions, "show work_mem", "show statement_timeout", "show application_name"):
                    seen.append(await connection.fetchval(question))
            async with asyncpg.create_pool(**self.address(target), min_size=1, max_size=1,
                                           server_settings={"work_mem": "7MB", "statement_timeout": "50s",
                                                            "application_name": "asyncpg"}) as pool:
                for turn in range(TURNS):
                    async with pool.acquire() as connection:
                        await see(connection, "select coalesce(current_setting('app.tenant', true), '')")
                        await connection.execute(f"set work_mem = '{10 + turn}MB'; set app.tenant = 'asyncpg'")
                        await connection.execute("select set_config('statement_timeout', '33s', false)")
                        await connection.execute("set application_name = 'changed'")
                        await see(connection, "show app.tenant")
            return seen
        super().both(lambda target: asyncio.run(asyncio.wait_for(reuse(target), 60)))

    def test_session_advisory_locks_end_with_the_release(self):
        async def lock(target):
            async with asyncpg.create_pool(**self.address(target), min_size=2, max_size=2) as pool:
                for _ in range(TURNS):
                    async with pool.acquire() as holder, pool.acquire() as other:
                        self.assertTrue(await holder.fetchval("select pg_try_advisory_lock(4711)"))
                        self.assertFalse(await other.fetchval("select pg_try_advisory_lock(4711)"))
        super().both(lambda target: asyncio.run(asyncio.wait_for(lock(target), 60)))

    def test_many_tasks_over_a_pool(self):
        async def tasks(target):
            async with asyncpg.create_pool(**self.address(target), min_size=10, max_size=10) as pool:
                return await asyncio.gather(*(pool.fetchval(f"select $1::int + {n % 5}", n) for n in range(500)))
        super().both(lambda target: asyncio.run(asyncio.wait_for(tasks(target), 60)))

    def test_a_timeout_cancels(self):
        async def work(connection):
            for _ in range(3):
                with self.assertRaises(asyncio.TimeoutError):
                    await connection.fetch("select pg_sleep(60)", timeout=0.3)
                self.assertEqual(await connection.fetchval("select 'after'"), "after")
        self.both(work)


if __name__ == "__main__":
    unittest.main(verbosity=2)
