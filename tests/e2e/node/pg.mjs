// node-postgres, with pg-cursor and pg-copy-streams.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { TURNS, address, fails, load, numbers, run } from './checks.mjs';

const pg = load('pg');
const Cursor = load('pg-cursor');
const copy = load('pg-copy-streams');

/** Runs the work with so many connected clients, which end with it. */
async function withClients(count, work, options = {}) {
  const clients = numbers(count).map(() => new pg.Client({ ...address, ...options }));
  try {
    await Promise.all(clients.map((client) => client.connect()));
    await work(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

const value = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0];

async function parameterizedQueries() {
  await withClients(2, async (one, two) => {
    for (const turn of numbers(TURNS)) {
      assert.equal(await value(one, 'select $1::int * 2', [turn]), 2 * turn);
      assert.equal(await value(two, "select $1::text || '!'", [`${turn}`]), `${turn}!`);
    }
  });
}

async function namedQueries() {
  await withClients(2, async (one, two) => {
    for (const turn of numbers(TURNS)) { // the same name, not the same statement
      assert.equal(await value(one, { name: 'named', text: 'select $1::int + 1', values: [turn] }), turn + 1);
      assert.equal(await value(two, { name: 'named', text: 'select $1::int - 1', values: [turn] }), turn - 1);
    }
    await fails('26000', one.query('execute never_prepared'));
    await fails('42601', one.query({ name: 'wrong', text: 'selec 1' }));
    assert.equal(await value(one, { name: 'wrong', text: 'select 5' }), 5);
  });
}

async function namedQueriesFollowTheirSearchPath() {
  await withClients(2, async (red, blue) => {
    for (const [colour, client] of Object.entries({ red, blue })) {
      await client.query(`drop schema if exists node_${colour} cascade; create schema node_${colour}; set search_path = node_${colour};
        create table painted as select '${colour}' as colour`);
    }
    for (const _ of numbers(TURNS)) {
      assert.equal(await value(red, { name: 'painted', text: 'select colour from painted' }), 'red');
      assert.equal(await value(blue, { name: 'painted', text: 'select colour from painted' }), 'blue');
    }
  });
}

async function pipelinedQueries() {
  await withClients(1, async (client) => {
    for (const _ of numbers(3)) {
      const named = (n) => ({ name: `piped ${n % 3}`, text: `select $1::int + ${n % 3}`, values: [n] });
      const answers = await Promise.all(numbers(300).map((n) => (n % 2 ? value(client, named(n)) : value(client, 'select $1::int', [n]))));
      assert.deepEqual(answers, numbers(300).map((n) => (n % 2 ? n + n % 3 : n)));
      const outcomes = await Promise.allSettled(numbers(60).map((n) => value(client, 'select 12 / $1::int', [n % 4])));
      outcomes.forEach((outcome, n) => assert.equal(n % 4 ? outcome.value : outcome.reason.code, n % 4 ? 12 / (n % 4) : '22012'));
    }
  }, { pipeline: true });
}

async function simpleProtocolWithManyStatements() {
  await withClients(1, async (client) => {
    const results = await client.query('begin; create temp table t (n int) on commit drop; insert into t values (1), (2); select n from t; commit');
    assert.deepEqual(results.map((result) => result.command), ['BEGIN', 'CREATE', 'INSERT', 'SELECT', 'COMMIT']);
    assert.deepEqual(results[3].rows, [{ n: 1 }, { n: 2 }]);
    await fails('22012', client.query('select 1; select 1/0; select 2'));
    assert.equal(await value(client, 'select 3'), 3);
  });
}

async function transactionsAndSavepoints() {
  await withClients(1, async (client) => {
    await client.query('drop table if exists pg_saved; create table pg_saved (n int primary key)');
    for (const turn of numbers(TURNS)) {
      await client.query('begin');
      await client.query('insert into pg_saved values ($1)', [turn]);
      await client.query('savepoint here');
      await fails('23505', client.query('insert into pg_saved values ($1)', [turn]));
      await fails('25P02', client.query('select 1'));
      await client.query('rollback to savepoint here');
      await client.query(turn % 2 ? 'commit' : 'rollback');
    }
    assert.equal(await value(client, 'select count(*)::int from pg_saved'), TURNS / 2);
  });
}

async function cursors() {
  await withClients(1, async (client) => {
    for (const _ of numbers(4)) {
      const cursor = client.query(new Cursor('select n from generate_series(1, $1) n', [250]));
      let sum = 0;
      for (let rows = await cursor.read(40); rows.length; rows = await cursor.read(40)) rows.forEach(({ n }) => { sum += n; });
      assert.equal(sum, 250 * 251 / 2);
      await cursor.close();
      const half = client.query(new Cursor('select generate_series(1, 1000000)'));
      assert.equal((await half.read(10)).length, 10);
      await half.close();
    }
  });
}

async function copyStreams() {
  await withClients(1, async (client) => {
    const lines = numbers(20_000).map((n) => `${n}\tline ${n}\n`);
    await client.query('drop table if exists pg_copied; create table pg_copied (n int, t text)');
    await pipeline(Readable.from(lines), client.query(copy.from('copy pg_copied from stdin')));
    const chunks = await client.query(copy.to('copy (select * from pg_copied order by n) to stdout')).toArray();
    assert.equal(Buffer.concat(chunks).toString(), lines.join(''));
    await fails('22P02', pipeline(Readable.from(['no number\tx\n']), client.query(copy.from('copy pg_copied from stdin'))));
    assert.equal(await value(client, 'select count(*)::int from pg_copied'), 20_000);
  });
}

async function notifications() {
  await withClients(2, async (listener, notifier) => {
    await listener.query('listen pg_news');
    for (const turn of numbers(TURNS)) {
      const heard = once(listener, 'notification');
      await notifier.query('select pg_notify($1, $2)', ['pg_news', `turn ${turn}`]);
      const [{ channel, payload }] = await heard;
      assert.deepEqual([channel, payload], ['pg_news', `turn ${turn}`]);
    }
    await listener.query('unlisten *');
  });
}

async function noticesAndErrors() {
  await withClients(1, async (client) => {
    const heard = once(client, 'notice');
    await client.query("do $$ begin raise notice 'heard' using hint = 'this'; end $$");
    const [notice] = await heard;
    assert.deepEqual([notice.message, notice.hint], ['heard', 'this']);
    await client.query('drop table if exists pg_strict; create table pg_strict (n int constraint positive check (n > 0))');
    await assert.rejects(client.query('insert into pg_strict values ($1)', [-1]),
      { code: '23514', schema: 'public', table: 'pg_strict', constraint: 'positive', severity: 'ERROR' });
  });
}

async function types() {
  await withClients(1, async (client) => {
    const bytes = Buffer.from(numbers(256));
    for (const _ of numbers(TURNS)) {
      const { rows: [row] } = await client.query({
        name: 'types', rowMode: 'array', values: [[1, null, 3], bytes, new Date(86_400_123), { a: [1] }, true, 0.1 + 0.2, 'é€😀', null, '9007199254740993'],
        text: 'select $1::int[], $2::bytea, $3::timestamptz, $4::jsonb, $5::bool, $6::float8, $7::text, $8::int, $9::int8' });
      assert.deepEqual(row, [[1, null, 3], bytes, new Date(86_400_123), { a: [1] }, true, 0.1 + 0.2, 'é€😀', null, '9007199254740993']);
    }
  });
}

async function settings() {
  await withClients(2, async (one, two) => {
    await one.query("set app.tenant = 'one'");
    await two.query("select set_config('app.tenant', 'two', false)");
    await one.query('set statement_timeout = 12000');
    for (const _ of numbers(TURNS)) {
      assert.equal(await value(one, 'show app.tenant'), 'one');
      assert.equal(await value(two, 'show app.tenant'), 'two');
      assert.equal(await value(one, 'show statement_timeout'), '12s');
      assert.equal(await value(two, 'show statement_timeout'), '50s');
      assert.equal(await value(two, 'show application_name'), 'node');
    }
  }, { statement_timeout: 50_000, application_name: 'node' });
}

/** pg has no cancel of its own: applications end the backend's query by its process id. */
async function cancelledByProcessId() {
  await withClients(2, async (sleeper, other) => {
    for (const turn of numbers(3)) {
      const sleeping = fails('57014', sleeper.query(`select pg_sleep(60) /* pg turn ${turn} */`));
      const active = "from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()";
      for (let cancelled = 0; !cancelled;)
        cancelled = await value(other, `select count(pg_cancel_backend(pid))::int ${active}`, [`%pg turn ${turn} %`]);
      await sleeping;
      assert.equal(await value(sleeper, 'select 1'), 1);
    }
  });
}

async function aPool() {
  const pool = new pg.Pool({ ...address, max: 8 });
  const answers = await Promise.all(numbers(200).map((n) => value(pool, { name: `statement ${n % 5}`, text: `select $1::int + ${n % 5}`, values: [n] })));
  assert.deepEqual(answers, numbers(200).map((n) => n + n % 5));
  await pool.end();
}

await run({ parameterizedQueries, namedQueries, namedQueriesFollowTheirSearchPath, pipelinedQueries,
  simpleProtocolWithManyStatements, transactionsAndSavepoints, cursors, copyStreams, notifications, noticesAndErrors, types, settings,
  cancelledByProcessId, aPool });
