"""A pgproxy with HTTP endpoints, and who asks them: urllib, and a real Prometheus."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request

import harness
from harness import PATIENCE_SECONDS


class HttpTest(harness.PoolerTest):
    auto_start = False

    def start(self, options=None, **settings):
        self.http_port = harness.free_port()
        return self.start_pooler({"http_listen": f"127.0.0.1:{self.http_port}"} | settings, **options or {})

    def get(self, path, token=None, method="GET"):
        """Status and body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def json(self, path):
        status, body = self.get(path)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def samples(self, name):
        """Samples of a metric: {labels: value}."""
        status, body = self.get("/metrics")
        self.assertEqual(status, 200, body)
        return {labels: float(value) for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", body, re.MULTILINE)}

    def start_prometheus(self, **options):
        prometheus = Prometheus(self.http_port, **options)
        self.addCleanup(prometheus.stop)
        return prometheus


class Prometheus:
    """Scrapes one pgproxy each second, as job pgproxy, and evaluates `rules` as often."""

    def __init__(self, http_port, token=None, rules=None):
        directory = harness.scratch_directory()
        self.port = harness.free_port()
        authorization = f"  authorization: {{credentials: {token}}}\n" if token else ""
        rule_files = ""
        if rules is not None:
            (directory / "rules.yml").write_text(rules)
            rule_files = "rule_files: [rules.yml]\n"
        config = directory / "prometheus.yml"
        config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{rule_files}scrape_configs:\n"
                          f"- job_name: pgproxy\n{authorization}"
                          f"  static_configs: [{{targets: ['127.0.0.1:{http_port}']}}]\n")
        self.log = open(directory / "prometheus.log", "wb")
        self.process = harness.start(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data",
                                      f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)

    def ask(self, path, **parameters):
        """The data of an answer; None: it is not up yet."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def values(self, query):
        data = self.ask("query", query=query)
        return [float(row["value"][1]) for row in data["result"]] if data else []

    def firing(self):
        """The alerts that fire: a list of (name, labels, annotations)."""
        data = self.ask("alerts")
        return [(alert["labels"]["alertname"], alert["labels"], alert["annotations"])
                for alert in (data or {"alerts": []})["alerts"] if alert["state"] == "firing"]

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)
        self.log.close()
