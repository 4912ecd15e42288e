"""Headless Chromium, spoken to by the DevTools protocol over a pair of pipes."""

import base64
import fcntl
import json
import os
import subprocess

import harness
from harness import PATIENCE_SECONDS, eventually

PROGRAM = "chromium"


class Browser:
    """One browser with one page."""

    def __init__(self):
        self.directory = harness.scratch_directory()
        command_out, self._commands = os.pipe()
        self._answers, answer_in = os.pipe()
        # The browser reads commands from 3 and writes to 4: neither may be in the other's way.
        inherited = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (command_out, answer_in)]
        for fd in (command_out, answer_in):
            os.close(fd)

        def take_pipes():
            for fd, wanted in zip(inherited, (3, 4)):
                os.dup2(fd, wanted)
        self.log = open(self.directory / "browser.log", "wb")
        self.process = subprocess.Popen(
            [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-extensions",
             "--remote-debugging-pipe", f"--user-data-dir={self.directory}/profile", "about:blank"],
            **harness.RUN_AS, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=take_pipes,
            pass_fds=(3, 4), env=os.environ | {"HOME": str(self.directory)}, cwd=self.directory)
        for fd in inherited:
            os.close(fd)
        self._input, self._last_id, self._session = b"", 0, None
        self.complaints = []  # what the console says: errors of scripts, of loading, of the security policy
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _read(self):
        while b"\0" not in self._input:
            received = os.read(self._answers, 1 << 20)
            assert received, f"the browser has ended: {(self.directory / 'browser.log').read_text()[-2000:]}"
            self._input += received
        message, self._input = self._input.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]
            if answer.get("method") == "Log.entryAdded":
                self.complaints.append(answer["params"]["entry"]["text"])
            if answer.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(answer["params"]["exceptionDetails"]))

    def open(self, url):
        self.call("Page.navigate", url=url)
        eventually(lambda: self.value("document.readyState") == "complete" and self.value("location.href") == url,
                   f"{url} is loaded")

    def value(self, expression):
        """What a script's expression is."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer}"
        return answer["result"].get("value")

    def text(self):
        """What a reader sees."""
        return self.value("document.body.innerText")

    def use(self, width=1280, height=900, scheme="light"):
        """As on a screen of this size, with this preference."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, file):
        """All of the page, however long."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(data))

    def close(self):
        os.close(self._commands)  # which ends it
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            self.process.kill()
            os.close(self._answers)
            self.log.close()
