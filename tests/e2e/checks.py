"""Programs in other languages that run checks and print "ok NAME" or "FAILED NAME: why" for each."""

import re
import subprocess

import noise

TIMEOUT_SECONDS = 240


class ChecksTest(noise.ClientTest):

    def run_checks(self, command, target, where, **options):
        """The names of the program's checks, all of which must succeed."""
        try:
            run = subprocess.run([*command, str(target.port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 check=False, timeout=TIMEOUT_SECONDS, **options)
        except subprocess.TimeoutExpired as timeout:
            self.fail(f"{where}: does not end\n{(timeout.stdout or b'').decode()}")
        names = re.findall(r"^ok (\w+)$", run.stdout, re.MULTILINE)
        rest = re.sub(r"^ok \w+\n", "", run.stdout, flags=re.MULTILINE)
        if run.returncode != 0 or rest or not names:
            self.fail(f"{where}: exit status {run.returncode}, {len(names)} checks are ok\n{rest}")
        return names

    def assert_checks(self, command, **options):
        """All checks succeed at PostgreSQL, and the same ones at pgproxy."""
        direct = self.run_checks(command, noise.Direct(self.cluster), "PostgreSQL itself", **options)
        with noise.Noise(self.pooler):
            through = self.run_checks(command, self.pooler, "through pgproxy", **options)
        self.assertEqual(through, direct)
