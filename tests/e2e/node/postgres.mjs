// postgres.js: prepares every query, sends queries without waiting for answers.
import assert from 'node:assert/strict';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { TURNS, address, fails, load, numbers, run } from './checks.mjs';

const postgres = load('postgres');

/** Runs the work with postgres.js over this many connections. */
async function withSql(work, options = {}) {
  const sql = postgres({ ...address, max: 1, onnotice: () => {}, ...options });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 20 });
  }
}

const withTwo = (work) => withSql((one) => withSql((two) => work(one, two)));

async function preparedStatements() {
  await withTwo(async (one, two) => {
    for (const turn of numbers(TURNS)) {
      assert.deepEqual([...await one`select ${turn}::int + 1 as n`], [{ n: turn + 1 }]);
      assert.deepEqual([...await two`select ${turn}::int - 1 as n`], [{ n: turn - 1 }]);
    }
  });
}

async function preparedStatementsFollowTheirSearchPath() {
  await withTwo(async (red, blue) => {
    for (const [colour, sql] of Object.entries({ red, blue })) {
      const schema = `postgres_${colour}`;
      await sql.unsafe(`drop schema if exists ${schema} cascade; create schema ${schema}; set search_path = ${schema};
        create table painted as select '${colour}' as colour`);
    }
    for (const _ of numbers(TURNS)) {
      for (const [colour, sql] of Object.entries({ red, blue })) assert.equal((await sql`select colour from painted`)[0].colour, colour);
    }
  });
}

async function unpreparedStatements() {
  await withSql(async (sql) => {
    for (const turn of numbers(TURNS)) assert.equal((await sql`select ${turn}::int as n`)[0].n, turn);
  }, { prepare: false });
}

async function pipelinedQueriesAreAnsweredInOrder() {
  await withSql(async (sql) => {
    for (const _ of numbers(3)) {
      const answers = await Promise.all(numbers(300).map((n) => (n % 3 ? sql`select ${n}::int as n` : sql`select ${n}::int as n, ${n}::text as t`)));
      assert.deepEqual(answers.map(([{ n }]) => n), numbers(300));
    }
  }, { max_pipeline: 100 });
}

async function errorsAmongPipelinedQueries() {
  await withSql(async (sql) => {
    const outcomes = await Promise.allSettled(numbers(60).map((n) => sql`select 12 / (${n}::int % 4) as n`));
    outcomes.forEach((outcome, n) => {
      if (n % 4) assert.equal(outcome.value[0].n, 12 / (n % 4));
      else assert.equal(outcome.reason.code, '22012');
    });
  });
}

async function transactionsAndSavepoints() {
  await withSql(async (sql) => {
    await sql`drop table if exists js_saved`;
    await sql`create table js_saved (n int primary key)`;
    for (const turn of numbers(TURNS)) {
      await sql.begin(async (inner) => {
        await inner`insert into js_saved values (${turn})`;
        await fails('23505', inner.savepoint((deeper) => deeper`insert into js_saved values (${turn})`));
        await inner.savepoint((deeper) => deeper`insert into js_saved values (${turn + 100})`);
      });
      await fails('22012', sql.begin(async (inner) => {
        await inner`insert into js_saved values (${turn + 200})`;
        await inner`select 1 / 0`;
      }));
    }
    assert.equal((await sql`select count(*)::int from js_saved`)[0].count, 2 * TURNS);
    const level = await sql.begin('isolation level serializable read only', (inner) => inner`show transaction_isolation`);
    assert.equal(level[0].transaction_isolation, 'serializable');
  });
}

async function pipelinedTransactions() {
  await withSql(async (sql) => {
    const [first, second] = await sql.begin((inner) => [inner`select 1 as n`, inner`select 2 as n`]);
    assert.deepEqual([first[0].n, second[0].n], [1, 2]);
  });
}

async function cursors() {
  await withSql(async (sql) => {
    for (const _ of numbers(3)) {
      let sum = 0;
      await sql`select n from generate_series(1, 250) n`.cursor(40, (rows) => rows.forEach(({ n }) => { sum += n; }));
      assert.equal(sum, 250 * 251 / 2);
      for await (const [{ n }] of sql`select n from generate_series(1, 100000) n`.cursor()) if (n === 5) break;
      assert.equal((await sql`select 7 as n`)[0].n, 7);
    }
  });
}

async function copyStreams() {
  await withSql(async (sql) => {
    const lines = numbers(20_000).map((n) => `${n}\tline ${n}\n`);
    await sql`drop table if exists js_copied`;
    await sql`create table js_copied (n int, t text)`;
    await pipeline(Readable.from(lines), await sql`copy js_copied from stdin`.writable());
    const chunks = await (await sql`copy (select * from js_copied order by n) to stdout`.readable()).toArray();
    assert.equal(Buffer.concat(chunks).toString(), lines.join(''));
  });
}

async function notifications() {
  await withSql(async (sql) => {
    const heard = [];
    let arrived;
    const { unlisten } = await sql.listen('js_news', (payload) => {
      heard.push(payload);
      arrived();
    });
    for (const turn of numbers(TURNS)) {
      const arrival = new Promise((resolve) => { arrived = resolve; });
      await sql.notify('js_news', `turn ${turn}`);
      await arrival;
    }
    assert.deepEqual(heard, numbers(TURNS).map((turn) => `turn ${turn}`));
    await unlisten();
  });
}

async function simpleProtocolWithManyStatements() {
  await withSql(async (sql) => {
    const results = await sql`select 1 as n; select 2 as n`.simple();
    assert.deepEqual(results.map(([{ n }]) => n), [1, 2]);
    await fails('22012', sql`select 1; select 1 / 0`.simple());
    assert.equal((await sql`select 3 as n`)[0].n, 3);
  });
}

async function cancel() {
  await withTwo(async (sql, observer) => {
    for (const turn of numbers(3)) {
      const query = sql.unsafe(`select pg_sleep(60) /* js turn ${turn} */`);
      const cancelled = fails('57014', query.execute());
      const mark = `%js turn ${turn} %`;
      for (let active = 0; !active;)
        [{ active }] = await observer`select count(*)::int as active from pg_stat_activity
          where state = 'active' and query like ${mark} and pid <> pg_backend_pid()`;
      // What cancel() calls, but does not wait for: PostgreSQL closes the connection once all its signals are
      // sent. It sends two, and a late one would cancel the next turn's query before the observer sees it.
      await query.canceller(query);
      await cancelled;
      assert.equal((await sql`select 1 as n`)[0].n, 1);
    }
  });
}

/** postgres.js asks pg_type for array types once it has connected (fetch_types). */
async function types() {
  await withSql(async (sql) => {
    const bytes = Buffer.from(numbers(256));
    const day = new Date(86_400_123);
    for (const _ of numbers(TURNS)) {
      const [row] = await sql`select ${[1, 2]}::int[] as numbers, ${bytes}::bytea as bytes, ${day}::timestamptz as day,
        ${sql.json({ a: [1] })}::jsonb as object, ${0.1 + 0.2}::float8 as float, ${'é€😀'}::text as text, ${null}::int as nothing`;
      assert.deepEqual({ ...row }, { numbers: [1, 2], bytes, day, object: { a: [1] }, float: 0.1 + 0.2, text: 'é€😀', nothing: null });
    }
    const people = [{ name: 'a', age: 1 }, { name: 'b', age: 2 }];
    await sql`drop table if exists js_people`;
    await sql`create table js_people (name text, age int)`;
    assert.deepEqual([...await sql`insert into js_people ${sql(people)} returning *`], people);
  });
}

async function settings() {
  await withSql(async (sql) => {
    await sql`set app.tenant = 'postgres.js'`;
    for (const _ of numbers(TURNS)) {
      assert.equal((await sql`show app.tenant`)[0]['app.tenant'], 'postgres.js');
      assert.equal((await sql`show search_path`)[0].search_path, 'pg_catalog');
      assert.equal((await sql`show application_name`)[0].application_name, 'javascript');
    }
  }, { connection: { search_path: 'pg_catalog', application_name: 'javascript' } });
}

async function aTableThatChanges() {
  await withTwo(async (owner, reader) => {
    await owner.unsafe('drop table if exists js_changing; create table js_changing (v int); insert into js_changing values (7)');
    const read = () => reader`select * from js_changing`;
    for (const _ of numbers(TURNS)) assert.deepEqual([...await read()], [{ v: 7 }]);
    await owner.unsafe("alter table js_changing alter v type text using 'four', add w int default 5");
    for (const _ of numbers(TURNS)) {
      try {
        assert.deepEqual([...await read()], [{ v: 'four', w: 5 }]);
      } catch (error) { // PostgreSQL's own answer to a plan that no longer holds
        assert.equal(error.code, '0A000', error);
      }
    }
  });
}

async function manyConnections() {
  await withSql(async (sql) => {
    const answers = await Promise.all(numbers(400).map((n) => sql`select ${n}::int + ${n % 7}::int as n`));
    assert.deepEqual(answers.map(([{ n }]) => n), numbers(400).map((n) => n + n % 7));
  }, { max: 8 });
}

await run({ preparedStatements, preparedStatementsFollowTheirSearchPath, unpreparedStatements, pipelinedQueriesAreAnsweredInOrder,
  errorsAmongPipelinedQueries, transactionsAndSavepoints, pipelinedTransactions, cursors, copyStreams, notifications,
  simpleProtocolWithManyStatements, cancel, types, settings, aTableThatChanges, manyConnections });
