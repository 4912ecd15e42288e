"""The status page, in a real browser."""

import re
import shutil
import unittest

import raw
from browser import PROGRAM, Browser
from endpoints import HttpTest
from harness import eventually

NASTY = "<script>title=1</script><img src=x onerror=window.ran=1>"


class Page(HttpTest):
    @classmethod
    def setUpClass(cls):
        assert shutil.which(PROGRAM), f"{PROGRAM} is missing: scripts/test installs it"
        super().setUpClass()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        super().setUp()
        self.browser.use()
        self.browser.open("about:blank")  # the last test's page still asks for its pgproxy, and complains
        self.browser.complaints.clear()

    def start(self, **settings):
        here = f"host=127.0.0.1 port={self.cluster.port} dbname=test"
        return super().start({"databases": {"shop": here, f"'{NASTY}'": here}}, **settings)

    def open(self):
        self.url = f"http://127.0.0.1:{self.http_port}/"
        self.browser.open(self.url)

    def wait_for(self, pattern):
        """The text of the page, once it has something that matches."""
        return eventually(lambda: re.search(pattern, self.browser.text()) and self.browser.text(), f"the page says {pattern}")

    def wait_for_state(self, words):
        eventually(lambda: self.browser.value("document.getElementById('state').textContent") == words, f"state {words}")

    def of_all(self, selector, what):
        return self.browser.value(f"[...document.querySelectorAll({selector!r})].map(element => element.{what})")

    def test_what_runs_is_shown(self):
        self.pooler = self.start(slow_query_threshold=0.1)
        self.open()
        self.wait_for("Nobody has logged in yet")
        holders = self.fill_pool(database="shop")
        waiting = self.client(database="shop").send(raw.query("select 1"))
        text = self.wait_for(r"shop / app\s+1 waiting")
        self.assertIn("active 3", text)
        self.assertEqual(self.of_all("#pools .bar .waiting", "style.width"), ["33.3333%"])
        self.assertIn("100%", self.of_all("#pools .bar .active", "style.width"))
        for holder in holders:
            holder.query("rollback")
        waiting.read_until()
        self.client(database="shop").query("select pg_sleep(0.2)")
        self.wait_for(r"shop / app\s+transaction")
        self.assertRegex(self.wait_for("pg_sleep"), rf"127.0.0.1:{self.cluster.port}\s+healthy")
        eventually(lambda: len(self.of_all("#charts polyline", "points.length")) >= 4, "charts are drawn")
        self.wait_for(r"transactions \d+")
        self.assertEqual(self.browser.complaints, [])

    def test_texts_of_clients_are_text(self):
        self.pooler = self.start(slow_query_threshold=0.1)
        client = self.client(database=NASTY, application_name="<b>bold</b>")
        client.query('select pg_sleep(0.2) as "<i>italic</i>"')
        self.open()
        text = self.wait_for("<i>italic</i>")
        self.assertIn(f"{NASTY} / app", text)
        self.assertIn("<b>bold</b>", text)
        self.assertEqual(self.of_all("main script, main img, main b:not(.bar b), main i:not(.bar i, .legend i)", "outerHTML"), [])
        self.assertIsNone(self.browser.value("window.ran"))
        # And if one day they were not: the browser would not run them.
        self.assertIsNone(self.browser.value(
            "(() => { const added = document.createElement('script'); added.textContent = 'window.ran = 1';"
            " document.body.append(added); return window.ran; })()"))
        self.assertRegex("".join(self.browser.complaints), "Content Security Policy")

    def test_an_outage_is_shown_and_its_end(self):
        self.pooler = self.start()
        self.client(database="shop").query("select 1")
        self.open()
        self.wait_for("shop / app")
        self.finish(self.pooler)
        text = self.wait_for("pgproxy does not answer")
        self.assertIn("shop / app", text)  # as it was
        self.wait_for_state("no answer")
        settings = {name: self.pooler.settings[name] for name in ("http_listen",)}
        self.pooler = self.start_pooler(settings)
        self.wait_for_state("working")
        self.wait_for("Nobody has logged in yet")
        self.assertNotIn("does not answer", self.browser.text())

    def test_troubles_come_with_a_hint(self):
        self.pooler = self.start(on_exhausted="reject")
        self.fill_pool(database="shop")
        self.assert_sqlstate(self.client(database="shop").send(raw.query("select 1")).read_to_end(), "53300")
        self.open()
        self.assertRegex(self.wait_for("1 problem"), r"pool shop/app\s+exhausted\s[^\0]*default_pool_size = \d")

    def test_errors_of_pgproxy_are_shown(self):
        self.pooler = self.start()
        self.open()
        self.wait_for(r"Errors that clients got from pgproxy\s+None so far")
        self.assert_refused("3D000", database=f"{NASTY}?")
        self.assertIn(f"3D000 · {NASTY}? / app", self.wait_for("3D000"))
        self.assertEqual(self.of_all("#errors script, #errors img", "outerHTML"), [])
        error = self.json("/status")["errors"][0]
        shown = self.browser.value("document.getElementById('errors').innerText")
        for column in ("sqlstate", "message", "hint", "client"):
            self.assertTrue(error[column])
            self.assertIn(error[column], shown)
        self.assertIsNone(self.browser.value("window.ran"))

    def test_a_drain_is_shown(self):
        self.pooler = self.start()
        client = self.client(database="shop")
        client.query("begin")
        self.open()
        self.wait_for_state("working")
        self.pooler.process.terminate()
        self.wait_for_state("draining")
        client.query("commit")
        self.assertEqual(self.pooler.process.wait(60), 0)
        self.forget(self.pooler)

    def test_a_token_is_asked_for_and_kept_by_the_tab_only(self):
        self.pooler = self.start(http_token="hush")
        self.client(database="shop").query("select 1")
        self.open()
        self.wait_for("A token is needed")

        def enter(token):
            self.browser.value(f"document.getElementById('token').value = {token!r}")
            self.browser.value("document.querySelector('#door button').click()")
        enter("wrong")
        self.assertNotIn("shop / app", self.wait_for("That is not the one"))
        enter("hush")
        self.assertNotIn("A token is needed", self.wait_for("shop / app"))
        self.assertEqual(self.browser.value("location.href"), self.url)
        self.browser.call("Page.reload")
        self.wait_for("shop / app")
        self.assertEqual(self.browser.value("[document.cookie, localStorage.length]"), ["", 0])

    def test_it_fits_a_phone_and_the_night(self):
        self.pooler = self.start(slow_query_threshold=0.1)
        self.client(database=NASTY).query("select pg_sleep(0.2), " + ", ".join(f'1 as "{"x" * 60}"' for _ in range(20)))
        self.open()
        self.wait_for("pg_sleep")
        grounds = set()
        for width in (320, 390, 1280):
            for scheme in ("light", "dark"):
                self.browser.use(width, 800, scheme)
                self.assertLessEqual(self.browser.value("document.documentElement.scrollWidth"), width)
                grounds.add((scheme, self.browser.value("getComputedStyle(document.body).backgroundColor")))
        self.assertEqual(len(grounds), 2)
        self.assertEqual(len({ground for _, ground in grounds}), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
