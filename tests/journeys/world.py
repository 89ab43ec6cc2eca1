"""What agents of the journeys act on: a payment service that fails as real ones do, and a maildir. It outlives kills."""

import collections
import hashlib
import http.server
import json
import pathlib
import socket
import struct
import threading
import time

FAULTS = ("unavailable", "busy", "lost-before", "error-after", "lost-after")


class Payments(http.server.ThreadingHTTPServer):
    """Books refunds under idempotency keys. At most `most_faults` attempts of a key go wrong, drawn from the key."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, most_faults=3, think=0.02):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.most_faults, self.think = most_faults, think
        self.attempts, self.faults = collections.Counter(), collections.Counter()
        self.booked, self.conflicts = {}, []
        self.requested, self.booking = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, key):
        """Whether and how this attempt goes wrong."""
        with self.lock:
            self.attempts[key] += 1
            attempt = self.attempts[key]
            drawn = hashlib.sha256(f"{key} {attempt}".encode()).digest()
            if attempt > self.most_faults or drawn[0] >= 115:
                return None
            fault = FAULTS[drawn[1] % len(FAULTS)]
            self.faults[fault] += 1
            return fault

    def book(self, key, body):
        """The booking under this key; the first one stands."""
        with self.lock:
            booked = self.booked.setdefault(key, body)
            if booked != body:
                self.conflicts.append((key, booked, body))
                return None
            return {"refund": "rf_" + hashlib.sha256(key.encode()).hexdigest()[:12], **body}

    def handle_error(self, request, client_address):
        """A client that is killed closes its connection: that is the test."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        world, key = self.server, self.headers["idempotency-key"]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fault = world.fault(key)
        world.requested.set()
        time.sleep(world.think)
        if fault == "unavailable":
            return self.answer(503, {"error": "the booking system is not available"}, retry_after="0")
        if fault == "busy":
            return self.answer(429, {"error": "too many requests"}, retry_after="0")
        if fault == "lost-before":
            return self.reset()
        booked = world.book(key, body)
        world.booking.set()
        time.sleep(world.think)
        if booked is None:
            return self.answer(422, {"error": "the key was used with another body"})
        if fault == "lost-after":
            return self.reset()
        if fault == "error-after":
            return self.answer(500, {"error": "something went wrong"})
        return self.answer(200, booked)

    def answer(self, status, body, retry_after=None):
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            if retry_after is not None:
                self.send_header("retry-after", retry_after)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass

    def reset(self):
        """Closes the connection by RST, as a crashing peer does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = open("/dev/null", "wb")

    def log_message(self, *args):
        pass


class Maildir:
    """Where the agents' mails lie; the test looks in it, as a person would."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        for part in ("tmp", "new"):
            (self.path / part).mkdir(parents=True)

    def mails(self):
        return [json.loads(mail.read_text()) for mail in sorted((self.path / "new").iterdir())]

    def count(self):
        return sum(1 for _ in (self.path / "new").iterdir())
