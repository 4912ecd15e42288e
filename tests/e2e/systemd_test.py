"""systemd's side: the units, what pgproxy tells and takes over, what is installed."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import unittest

import harness
import raw

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(harness.PROGRAM).resolve().parent
MAX_EXPOSURE = 15  # tenths, as systemd-analyze security counts; 20 is "OK" to it


class Units(unittest.TestCase):
    def setUp(self):
        self.directory = harness.scratch_directory()
        for unit in ("pgproxy.service", "pgproxy.socket"):
            text = (SOURCE / "systemd" / unit).read_text()
            self.assertEqual(text.count("/usr/local/bin/pgproxy"), 2 if unit.endswith("service") else 0)
            (self.directory / unit).write_text(text.replace("/usr/local/bin/pgproxy", str(pathlib.Path(harness.PROGRAM).resolve())))

    def analyze(self, *arguments):
        return subprocess.run(["systemd-analyze", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=harness.PATIENCE_SECONDS)

    def test_verify_finds_nothing(self):
        for unit in ("pgproxy.service", "pgproxy.socket"):
            with self.subTest(unit):
                found = self.analyze("verify", "--man=no", self.directory / unit)
                ours = [line for line in found.stdout.splitlines() if "pgproxy" in line]
                self.assertEqual((found.returncode, ours), (0, []), found.stdout)

    def test_verify_would_find_something(self):
        service = self.directory / "pgproxy.service"
        service.write_text(service.read_text() + "\n[Service]\nNoSuchThing=yes\n")
        self.assertIn("NoSuchThing", self.analyze("verify", "--man=no", service).stdout)

    def test_the_service_may_do_little(self):
        service = self.directory / "pgproxy.service"
        found = self.analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", service)
        self.assertEqual(found.returncode, 0, found.stdout)
        service.write_text(re.sub("(?m)^(Protect|Restrict|SystemCall|NoNew).*$", "", service.read_text()))
        self.assertNotEqual(self.analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", service).returncode, 0)

    def test_ten_thousand_clients_have_descriptors(self):
        limit = int(re.search(r"(?m)^LimitNOFILE=(\d+)$", (SOURCE / "systemd/pgproxy.service").read_text())[1])
        ini = self.directory / "production.ini"
        ini.write_text((SOURCE / "conf/production.ini").read_text())
        clients = int(re.search(r"(?m)^max_client_conn = (\d+)$", ini.read_text())[1])
        self.assertGreaterEqual(clients, 10_000)
        self.assertGreater(limit, clients + 1000)


class Installing(unittest.TestCase):
    def test_install_brings_program_units_and_documents(self):
        if not (BUILD / "cmake_install.cmake").exists():
            self.skipTest("not a build tree")
        root = harness.scratch_directory()
        subprocess.run(["cmake", "--install", BUILD], check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"DESTDIR": str(root)})
        installed = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        program, = [path for path in installed if path.endswith("/bin/pgproxy")]
        version = subprocess.run([root / program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
        self.assertTrue(version.startswith("pgproxy "))
        for end in ("lib/systemd/system/pgproxy.service", "lib/systemd/system/pgproxy.socket", "/pgproxy.ini.example",
                    "/README.md", "/docs/settings.md", "/conf/pgproxy.ini"):
            self.assertTrue([path for path in installed if path.endswith(end)], f"{end} is not among {installed}")
        service, = [path for path in installed if path.endswith("pgproxy.service")]
        self.assertIn(f"\nExecStart=/{program} ", (root / service).read_text())


class Notifying(harness.PoolerTest):
    auto_start = False

    def setUp(self):
        super().setUp()
        self.path = harness.scratch_directory() / "notify"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(str(self.path))
        self.manager.settimeout(harness.PATIENCE_SECONDS)
        os.chmod(self.path, 0o777)
        self.told = []

    def wait_until_told(self, word, count=1):
        while sum(word in text for text in self.told) < count:
            self.told.append(self.manager.recv(4096).decode())

    def start(self, **environment):
        before = {name: os.environ.get(name) for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
        os.environ.update({"NOTIFY_SOCKET": str(self.path)} | environment)
        try:
            self.pooler = self.start_pooler({"drain_timeout": 0})
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})

    def test_ready_watchdog_and_stopping(self):
        self.start(WATCHDOG_USEC="100000")
        self.wait_until_told("READY=1")
        self.assertNotIn("WATCHDOG=1", "".join(self.told))
        self.wait_until_told("WATCHDOG=1", count=5)
        self.assertNotIn("STOPPING=1", "".join(self.told))
        client = self.client()
        client.query("begin")
        self.forget(self.pooler)
        self.pooler.process.send_signal(signal.SIGTERM)
        self.wait_until_told("STOPPING=1")
        self.wait_until_told("WATCHDOG=1", count=sum("WATCHDOG=1" in text for text in self.told) + 2)
        client.query("commit")
        self.assertEqual(self.pooler.process.wait(harness.PATIENCE_SECONDS), 0)

    def test_without_a_watchdog_it_says_nothing_of_one(self):
        self.start()
        self.wait_until_told("READY=1")
        self.client().query("select 1")
        self.forget(self.pooler)
        self.assertEqual(self.pooler.stop(), 0)
        self.wait_until_told("STOPPING=1")
        self.assertNotIn("WATCHDOG=1", "".join(self.told))


class Activation(harness.PoolerTest):
    """A socket that listens already, as systemd hands it over."""

    auto_start = False

    def test_the_socket_outlives_the_process(self):
        self.pooler = self.start_pooler()  # for its configuration
        self.forget(self.pooler)
        self.pooler.stop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            for _ in range(2):
                process = self.activate(listening)
                client = raw.RawClient(("127.0.0.1", port))
                self.addCleanup(client.close)
                client.login("app", "test", harness.PASSWORD)
                self.assertEqual(raw.rows(client.query("select 1")), [("1",)])
                client.query("begin")
                process.send_signal(signal.SIGTERM)
                harness.eventually(lambda: self.pooler.log_text().count("got SIGTERM") > self.drains, "it drains")
                self.drains += 1
                waiting = socket.create_connection(("127.0.0.1", port), timeout=harness.PATIENCE_SECONDS)
                self.addCleanup(waiting.close)  # in the kernel's queue: for the next process
                client.query("commit")
                self.assertEqual(client.read_to_end()[-1].fields()["C"], "57P01")
                self.assertEqual(process.wait(harness.PATIENCE_SECONDS), 0)

    drains = 0

    def activate(self, listening):
        os.set_inheritable(listening.fileno(), True)
        script = f'exec 3<&{listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$1"'
        with open(self.pooler.log, "ab") as log:
            process = harness.start(["bash", "-c", script, harness.PROGRAM, self.pooler.ini], stdout=log, stderr=log,
                                    pass_fds=[listening.fileno()])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


class Descriptors(harness.PoolerTest):
    auto_start = False

    def test_too_low_a_limit_is_an_error_with_the_command_to_run(self):
        self.pooler = self.start_pooler({"max_client_conn": 500})
        self.assertGreater(self.limit(self.pooler), 500)
        self.forget(self.pooler)
        self.pooler.stop()
        run = subprocess.run(["bash", "-c", 'ulimit -n 100; exec "$0" "$1"', harness.PROGRAM, self.pooler.ini],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                             timeout=harness.PATIENCE_SECONDS, **harness.RUN_AS)
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertRegex(run.stdout, r'only 100 file descriptors are allowed, \d+ are needed(.|\n)*hint: Run "ulimit -n \d+"')

    def test_a_soft_limit_is_raised(self):
        self.pooler = self.start_pooler({"max_client_conn": 300})
        self.forget(self.pooler)
        self.pooler.stop()
        with open(self.pooler.log, "ab") as log:
            process = harness.start(["bash", "-c", 'ulimit -Sn 100; exec "$0" "$1"', harness.PROGRAM, self.pooler.ini],
                                    stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.pooler.process = process
        harness.eventually(self.pooler._is_up, "pgproxy accepts connections")
        self.assertGreater(self.limit(self.pooler), 300)

    def limit(self, pooler):
        limits = pathlib.Path(f"/proc/{pooler.process.pid}/limits").read_text()
        return int(re.search(r"Max open files +(\d+)", limits)[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
