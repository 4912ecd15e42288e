"""Rows and copies far larger than any buffer pass in bounded memory, both ways, at the reader's pace."""

import os
import unittest

import harness
import raw
from raw import query

MOST_GROWTH_KIB = 64 * 1024
SANITIZED = bool(os.environ.get("PGPROXY_SANITIZED"))  # shadow memory makes resident size meaningless


class BoundedMemory(harness.PoolerTest):
    def setUp(self):
        super().setUp()
        self.at_start_kib = self.pooler.resident_kib()

    def assert_bounded(self):
        if not SANITIZED:
            self.assertLess(self.pooler.peak_resident_kib() - self.at_start_kib, MOST_GROWTH_KIB)

    def count_bytes(self, client, up_to="Z"):
        """Reads frames without keeping them; the payload bytes of rows and copy data."""
        total = 0
        while True:
            header = client.read_bytes(5)
            left = int.from_bytes(header[1:], "big") - 4
            if header[:1] in (b"D", b"d"):
                total += left
            while left > 0:
                if not client.unread:
                    client.unread += client.socket.recv(1 << 20)
                taken = min(left, len(client.unread))
                del client.unread[:taken]
                left -= taken
            if header[:1].decode() in up_to:
                return total

    def test_a_row_of_200_megabytes(self):
        client = self.client()
        client.send(query("select repeat('x', 200000000)"))
        self.assertEqual(self.count_bytes(client), 200_000_000 + 6)
        self.assert_bounded()

    def test_a_copy_out_of_300_megabytes(self):
        client = self.client()
        client.send(query("copy (select repeat('x', 999) from generate_series(1, 300000)) to stdout"))
        self.assertEqual(self.count_bytes(client), 300_000_000)
        self.assert_bounded()

    def test_a_copy_in_of_300_megabytes(self):
        self.cluster.execute("create table if not exists sink (t text); create or replace function drop_row() returns"
                             " trigger language plpgsql as 'begin return null; end';"
                             "create or replace trigger sinks before insert on sink for each row execute function"
                             " drop_row(); grant all on sink to public", database="test")
        client = self.client()
        client.send(query("copy sink from stdin")).read_until("G")
        line = b"x" * 99_999 + b"\n"
        message = raw.copy_data(line) * 10
        for _ in range(300):
            client.send(message)
        reply = client.send(raw.COPY_DONE).read_until("Z")
        self.assertEqual(raw.tags(reply), "CZ")
        self.assert_bounded()

    def test_a_parameter_of_100_megabytes(self):
        client = self.client()
        size = 100_000_000
        client.send(raw.parse("select length($1)") + b"B" + (4 + 2 + 2 + 2 + 4 + size + 2).to_bytes(4, "big")
                    + b"\0\0" + b"\0\0" + b"\0\1" + size.to_bytes(4, "big"))
        for _ in range(100):
            client.send(b"x" * 1_000_000)
        client.send(b"\0\0" + raw.execute() + raw.SYNC)
        self.assertEqual(raw.rows(client.read_until("Z")), [(str(size),)])
        self.assertEqual(client.value("select 1"), "1")

    def test_a_reader_that_stops_stops_its_server_and_nobody_else(self):
        slow = raw.RawClient(self.pooler.address(), receive_buffer_bytes=4096)
        self.addCleanup(slow.close)
        slow.login("app", "test")
        slow.send(query("select repeat('x', 1000) from generate_series(1, 200000)"))
        harness.eventually(lambda: self.cluster.execute(
            "select count(*) from pg_stat_activity where usename = 'app' and wait_event = 'ClientWrite'") == [(1,)],
            "the server waits for us")
        other = self.client()
        for number in range(100):
            self.assertEqual(other.value(f"select {number}"), str(number))
        self.assert_bounded()
        self.assertEqual(self.count_bytes(slow), 200_000 * 1006)

    def test_a_writer_of_half_a_message_delays_nobody(self):
        half, other = self.clients(2)
        message = query("select 'whole'")
        half.send(message[:9])
        for number in range(20):
            self.assertEqual(other.value(f"select {number}"), str(number))
        half.send(message[9:])
        self.assertEqual(raw.rows(half.read_until("Z")), [("whole",)])

    def test_a_half_closed_client_is_gone_but_harms_nobody(self):
        client = self.client()
        client.send(query("select 1")).half_close()
        self.assertIn(raw.tags(client.read_to_end()), ("", "TDCZ"))
        self.pooler.wait_for_pool("nothing is left", sv_active=0, cl_active=0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
