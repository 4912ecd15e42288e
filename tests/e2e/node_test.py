"""The npm packages pg and postgres, as pinned by node/package-lock.json."""

import os
import pathlib
import shutil
import unittest

import checks
import harness

PROGRAMS = pathlib.Path(__file__).parent / "node"
MODULES = pathlib.Path(os.environ.get("PGPROXY_NODE_MODULES", "node_modules"))


class Node(checks.ChecksTest):

    def run_program(self, name):
        self.assertTrue(shutil.which("node"), "node is missing: scripts/test installs it")
        self.assertTrue((MODULES / "pg").exists(), f"no drivers in {MODULES}: scripts/test puts them there")
        self.assert_checks(["node", PROGRAMS / name, harness.PASSWORD])

    def test_pg(self):
        self.run_program("pg.mjs")

    def test_postgres_js(self):
        self.run_program("postgres.mjs")


if __name__ == "__main__":
    unittest.main(verbosity=2)
