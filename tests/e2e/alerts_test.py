"""The alert rules of conf/: their own tests, by promtool, and a real Prometheus that evaluates them over a real pgproxy."""

import pathlib
import re
import subprocess
import unittest

import harness
import psycopg
import raw
from endpoints import HttpTest
from harness import PATIENCE_SECONDS, eventually

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "conf/pgproxy.rules.yml"
RULES_TEST = ROOT / "tests/alerts/pgproxy_rules_test.yml"


def rules():
    """{alert: its text}."""
    parts = re.split(r"^ *- alert: (\w+)\n", RULES.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def promtool(*arguments):
    run = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False,
                         timeout=PATIENCE_SECONDS)
    return run.returncode, run.stdout + run.stderr


class Alerts(HttpTest):
    def test_promtool_accepts_the_rules_and_their_tests_pass(self):
        for arguments in (["check", "rules", RULES], ["test", "rules", RULES_TEST]):
            status, output = promtool(*arguments)
            self.assertEqual(status, 0, output)
        tested = RULES_TEST.read_text()
        self.assertEqual([alert for alert in rules() if alert not in tested], [])

    def test_each_alert_names_what_to_set_and_asks_for_metrics_that_there_are(self):
        settings = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
        pooler = self.start()
        with pooler.connect() as client:
            client.execute("select 1")
        families = set(re.findall(r"^# TYPE (\S+)", self.get("/metrics")[1], re.MULTILINE))
        self.assertGreater(len(rules()), 10)
        for alert, text in rules().items():
            summary, description = re.search(r"summary: (.*)\n *description: >-\n(.*)", text, re.DOTALL).groups()
            self.assertTrue(summary, alert)
            words = set(re.findall(r"\w+", description))
            # What is switched off has its name as a label.
            self.assertTrue(words & settings or "$labels.name" in description, f"{alert} names no setting")
            named = re.findall(r"\b(?:pgproxy|process)_\w+", text.split("labels: {severity", 1)[0])
            self.assertEqual([name for name in named if name not in families], [], alert)

    def test_prometheus_evaluates_them(self):
        """Without the time that they wait."""
        self.pooler = self.start({"databases": {"gone": f"host=127.0.0.1 port={harness.free_port()}"}}, auto_recover=0)
        prometheus = self.start_prometheus(rules=re.sub(r"^ *for: .*\n", "", RULES.read_text(), flags=re.MULTILINE))

        def fire(*names):
            eventually(lambda: set(names) <= {name for name, _, _ in prometheus.firing()}, f"{names} fire")
        fire("PgproxyConfigurationDegraded")  # the tests' pgproxy does without checks
        self.assertEqual({name for name, _, _ in prometheus.firing()}, {"PgproxyConfigurationDegraded"})
        with self.assertRaises(psycopg.OperationalError):
            self.pooler.connect(database="gone")
        fire("PgproxyServerFailed")
        holders = self.fill_pool()
        waiting = self.client().send(raw.query("select 1"))
        fire("PgproxyClientsWaiting")
        for client in (*holders, waiting):
            client.close()
        for name, labels, annotations in prometheus.firing():
            for text in annotations.values():
                self.assertNotRegex(text, r"\{\{|<error|<no value>", name)
            self.assertEqual(labels["job"], "pgproxy", name)
        self.finish(self.pooler)
        fire("PgproxyDown")


if __name__ == "__main__":
    unittest.main(verbosity=2)
