// node-postgres asks the console, as text and prepared; prints "ok".
import assert from 'node:assert/strict';
import { address, fails, load } from './checks.mjs';

const pg = load('pg');

const client = new pg.Client({ ...address, user: 'admin', database: 'pgproxy' });
await client.connect();
const rows = async (text, values, name) => (await client.query({ text, values, name })).rows;

assert.match((await rows('show version'))[0].version, /^pgproxy /);
for (const name of [undefined, 'ask']) {
  for (const _ of [1, 2]) {
    const [row, ...others] = await rows('show clients where application_name = $1', ["it's me"], name);
    assert.equal(others.length, 0);
    assert.deepEqual([row.type, row.user, row.wait], ['C', 'app', 0]);
  }
}
assert.equal((await rows('show pools where cl_active = $1', [1]))[0].database, 'test');
await fails('42703', client.query('show pools where usr = $1', ['u']));
assert.deepEqual(await rows('show state where key = $1', ['paused']), [{ key: 'paused', value: 'no' }]);
await client.end();
console.log('ok');
process.exit();
