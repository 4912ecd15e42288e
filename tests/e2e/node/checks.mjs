// What the programs for each driver share: NAME.mjs PASSWORD PORT runs its checks one after another and
// prints "ok NAME" or "FAILED NAME: why" for each. PGPROXY_NODE_MODULES: where `npm ci` put the drivers.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

export const load = createRequire(`${process.env.PGPROXY_NODE_MODULES}/`);
const [password, port] = process.argv.slice(2);
export const address = { host: '127.0.0.1', port: Number(port), user: 'app', password, database: 'test', ssl: false };
export const TURNS = 12; // so that every server has its turn

export const numbers = (count) => [...Array(count).keys()];

/** Runs the checks, functions by name, and ends the process. */
export async function run(checks) {
  for (const [name, check] of Object.entries(checks)) {
    const lost = setTimeout(() => {
      console.log(`FAILED ${name}: does not end`);
      process.exit(1);
    }, 60_000);
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAILED ${name}: ${error.stack.replaceAll('\n', '\n  ')}`);
      process.exitCode = 1;
    }
    clearTimeout(lost);
  }
  process.exit();
}

/** The work fails with this SQLSTATE. */
export const fails = (sqlstate, work) => assert.rejects(work, { code: sqlstate });
