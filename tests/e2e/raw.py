"""PostgreSQL's v3 protocol as bare bytes: what a driver would never send, and exactly what comes back.

Messages are named as in the PostgreSQL documentation, 55.7.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
from typing import NamedTuple

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSSENC_REQUEST = struct.pack("!ii", 8, 80877104)
TIMEOUT_SECONDS = 30  # a lost reply fails the test instead of hanging it


class Message(NamedTuple):
    tag: str
    body: bytes

    def fields(self):
        """Fields of an ErrorResponse or NoticeResponse by their one-letter code."""
        return {part[:1].decode(): part[1:].decode() for part in self.body.split(b"\0") if part}

    def row(self):
        """Columns of a DataRow as text; None for NULL."""
        columns, offset = [], 2
        for _ in range(struct.unpack_from("!h", self.body)[0]):
            length = struct.unpack_from("!i", self.body, offset)[0]
            offset += 4
            columns.append(None if length < 0 else self.body[offset:offset + length].decode())
            offset += max(length, 0)
        return tuple(columns)


class Closed(Exception):
    """The other side closed the connection."""


def frame(tag, body=b""):
    return tag.encode() + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


def startup_packet(code=0x00030000, terminator=b"\0", **parameters):
    body = struct.pack("!i", code)
    for name, value in parameters.items():
        body += text(name) + text(value)
    body += terminator
    return struct.pack("!i", len(body) + 4) + body


def cancel_packet(pid, secret):
    return struct.pack("!iiI", 12 + len(secret), 80877102, pid) + secret


def query(sql):
    return frame("Q", text(sql))


def parse(sql, name="", oids=()):
    return frame("P", text(name) + text(sql) + struct.pack(f"!h{len(oids)}i", len(oids), *oids))


def bind(*parameters, name="", portal=""):
    body = text(portal) + text(name) + struct.pack("!hh", 0, len(parameters))
    for value in parameters:
        encoded = None if value is None else str(value).encode()
        body += struct.pack("!i", -1) if encoded is None else struct.pack("!i", len(encoded)) + encoded
    return frame("B", body + struct.pack("!h", 0))


def describe(kind="P", name=""):
    return frame("D", kind.encode() + text(name))


def execute(portal="", row_limit=0):
    return frame("E", text(portal) + struct.pack("!i", row_limit))


def close(kind="S", name=""):
    return frame("C", kind.encode() + text(name))


def statement(sql, *parameters):
    """Parse, Bind, Execute with the unnamed statement and portal; no Sync."""
    return parse(sql) + bind(*parameters) + execute()


def function_call(oid, *arguments):
    body = struct.pack("!ihh", oid, 0, len(arguments))
    for argument in arguments:
        encoded = str(argument).encode()
        body += struct.pack("!i", len(encoded)) + encoded
    return frame("F", body + struct.pack("!h", 0))


SYNC = frame("S")
FLUSH = frame("H")
TERMINATE = frame("X")
COPY_DONE = frame("c")


def copy_data(data):
    return frame("d", data)


def copy_fail(reason):
    return frame("f", text(reason))


class Scram:
    """The client's side of SCRAM-SHA-256 (RFC 5802, 7677)."""

    def __init__(self, password):
        self.password = password.encode()
        self.first = b"n=,r=" + base64.b64encode(os.urandom(18))
        self.server_signature = b""

    def initial_response(self):
        data = b"n,," + self.first
        return frame("p", text("SCRAM-SHA-256") + struct.pack("!i", len(data)) + data)

    def response(self, server_first):
        fields = dict(part.split(b"=", 1) for part in server_first.split(b","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = b"c=biws,r=" + fields[b"r"]
        transcript = b",".join((self.first, server_first, without_proof))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), transcript, "sha256")
        proof = bytes(left ^ right for left, right in zip(client_key, signature))
        self.server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), transcript, "sha256")
        return frame("p", without_proof + b",p=" + base64.b64encode(proof))

    def is_proved_by(self, server_final):
        return server_final == b"v=" + base64.b64encode(self.server_signature)


class RawClient:
    """One connection. `address` is (host, port) or the path of a unix socket."""

    def __init__(self, address, receive_buffer_bytes=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT_SECONDS)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(address)
        self.unread = bytearray()
        self.parameters = {}
        self.pid, self.secret = 0, b""

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))
        return self

    def send_bytewise(self, data):
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for offset in range(len(data)):
            self.socket.sendall(data[offset:offset + 1])
        return self

    def read_bytes(self, count):
        while len(self.unread) < count:
            try:
                received = self.socket.recv(65536)
            except ConnectionResetError:
                received = b""
            if not received:
                raise Closed(bytes(self.unread))
            self.unread += received
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data

    def read(self):
        """The next message; ParameterStatus and BackendKeyData are remembered on the way."""
        tag, length = struct.unpack("!ci", self.read_bytes(5))
        message = Message(tag.decode("latin1"), self.read_bytes(length - 4))
        if message.tag == "S":
            name, value = message.body.decode().split("\0")[:2]
            self.parameters[name] = value
        elif message.tag == "K":
            self.pid, self.secret = struct.unpack_from("!I", message.body)[0], message.body[4:]
        return message

    def read_until(self, tags="Z"):
        """Messages up to and with the first whose tag is one of `tags`."""
        messages = [self.read()]
        while messages[-1].tag not in tags:
            messages.append(self.read())
        return messages

    def read_cycles(self, count):
        return [message for _ in range(count) for message in self.read_until("Z")]

    def read_to_end(self):
        """Whole messages up to the close of the connection."""
        messages = []
        try:
            while True:
                messages.append(self.read())
        except Closed:
            return messages

    def ask(self, *messages):
        return self.send(*messages).read_until("Z")

    def query(self, sql):
        return self.ask(query(sql))

    def rows(self, sql):
        return [message.row() for message in self.query(sql) if message.tag == "D"]

    def value(self, sql):
        return self.rows(sql)[0][0]

    def login(self, user, database, password=None, **settings):
        """Logs in with whatever of trust, cleartext, md5 and SCRAM is asked; returns all messages."""
        self.send(startup_packet(user=user, database=database, **settings))
        return self.authenticate(user, password)

    def authenticate(self, user, password):
        messages, scram = [], None
        while True:
            messages += self.read_until("RZE")
            last = messages[-1]
            if last.tag != "R":
                return messages
            kind, rest = struct.unpack_from("!i", last.body)[0], last.body[4:]
            if kind == 3:
                self.send(frame("p", text(password)))
            elif kind == 5:
                inner = hashlib.md5((password + user).encode()).hexdigest().encode()
                self.send(frame("p", text("md5" + hashlib.md5(inner + rest[:4]).hexdigest())))
            elif kind == 10:
                scram = Scram(password)
                self.send(scram.initial_response())
            elif kind == 11:
                self.send(scram.response(rest))
            elif kind == 12 and not scram.is_proved_by(rest):
                raise AssertionError("wrong server signature")

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def vanish(self):
        """Closes with a reset instead of a Terminate."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def tags(messages):
    """The messages' tags as one string, without those that may come at any time."""
    return "".join(message.tag for message in messages if message.tag not in "SNA")


def rows(messages):
    return [message.row() for message in messages if message.tag == "D"]


def error(messages):
    """The fields of the only ErrorResponse among the messages."""
    errors = [message.fields() for message in messages if message.tag == "E"]
    if len(errors) != 1:
        raise AssertionError(f"{len(errors)} errors among {tags(messages)}: {errors}")
    return errors[0]
