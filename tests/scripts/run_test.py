#!/usr/bin/env python3
"""scripts/run as a person uses it, at a terminal: run_test.py ROOT."""

import os
import pathlib
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
import urllib.request

ROOT = pathlib.Path(sys.argv.pop(1))
CTRL_C = b"\x03"


class Run:
    """scripts/run on a terminal of its own, read up to where it stays."""

    def __init__(self, demo):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["PGPROXY_DEMO_DIR"] = str(demo)
            os.execv(ROOT / "scripts" / "run", ["scripts/run"])
        self.output = ""
        while "Ctrl-C stops everything" not in self.output:
            if not self.read():
                raise AssertionError(f"scripts/run ended:\n{self.output}")

    def read(self):
        """Adds what is printed to output; false at the end."""
        try:
            chunk = os.read(self.terminal, 65536)
        except OSError:  # what Linux says when the other side of a terminal is closed
            return False
        self.output += chunk.decode(errors="replace")
        return bool(chunk)

    def line(self, name):
        """The shell command after NAME in what it printed."""
        return shlex.split(re.search(rf"^  {name} +(.+?)\r?$", self.output, re.MULTILINE).group(1))

    def stop(self):
        """Presses Ctrl-C; returns the exit status."""
        os.write(self.terminal, CTRL_C)
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def processes_of(demo):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(demo).encode() in path.read_bytes():
                found.append(path.read_bytes())
        except OSError:
            pass  # ended meanwhile
    return found


def answer(command, sql):
    return subprocess.run([*command, "-XAtc", sql], check=True, capture_output=True, text=True).stdout


class RunTest(unittest.TestCase):
    def test_it_shows_the_way_stays_and_leaves_nothing_running(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            os.chmod(directory, 0o755)
            demo = pathlib.Path(directory, "demo")
            run = Run(demo)
            self.assertIn("(streaming)", run.output)
            answer(run.line("psql"), "create table kept as select 42 as answer")
            self.assertIn("app", answer(run.line("console")[:2], "show pools"))
            page, = run.line("page")
            for path, text in [("", "<title>pgproxy</title>"), ("status", '"role": "primary"')]:
                with urllib.request.urlopen(page + path, timeout=60) as response:
                    self.assertIn(text, response.read().decode())
            self.assertEqual(0, run.stop(), run.output)
            self.assertEqual([], processes_of(demo))

            again = Run(demo)
            self.assertEqual("42\n", answer(again.line("psql"), "select answer from kept"))
            self.assertEqual(0, again.stop(), again.output)
            self.assertEqual([], processes_of(demo))


if __name__ == "__main__":
    unittest.main()
