"""Debian's PostgreSQL JDBC driver."""

import shutil
import subprocess
import unittest

import checks
import harness

DRIVER = "/usr/share/java/postgresql.jar"  # libpostgresql-jdbc-java
SOURCES = harness.pathlib.Path(__file__).parent / "jdbc"


class Jdbc(checks.ChecksTest):

    def test_jdbc(self):
        classes = harness.scratch_directory()
        for program in ("javac", "java"):
            self.assertTrue(shutil.which(program), f"{program} is missing: install openjdk-17-jdk-headless")
        subprocess.run(["javac", "-Xlint:all", "-Werror", "-encoding", "UTF-8", "-cp", DRIVER, "-d", classes, *SOURCES.glob("*.java")],
                       check=True)
        self.assert_checks(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8",
                            "-cp", f"{classes}:{DRIVER}", "Checks", harness.PASSWORD])


if __name__ == "__main__":
    unittest.main(verbosity=2)
