"""*Kill it*: a run survives its server and its worker; effects happen once."""

import http.server
import json
import signal
import threading
import time

from common import Journey, wait_for

AGENT = '''
import json, os, urllib.request
import neuraxis as nx

PAYMENTS = os.environ["PAYMENTS"]


def post(path, body, key):
    request = urllib.request.Request(PAYMENTS + path, json.dumps(body).encode(), {"idempotency-key": key})
    return json.load(urllib.request.urlopen(request, timeout=30))


@nx.step(effect="read")
def find_order(order: str) -> dict:
    return {"id": order, "cents": 8400}


@nx.step(effect="idempotent", retry=nx.Retry(attempts=5, initial="50ms"))
def refund(order: str, cents: int, *, key: nx.Key) -> dict:
    return post("/refunds", {"order": order, "cents": cents}, key)


@nx.step(effect="idempotent", retry=nx.Retry(attempts=5, initial="50ms"))
def notify(order: str, *, key: nx.Key) -> dict:
    return post("/notify", {"order": order}, key)


@nx.agent(name="refund")
async def refund_agent(order: str):
    found = await find_order(order)
    paid = await refund(found["id"], found["cents"])
    await notify(order)
    return paid
'''


class Payments(http.server.ThreadingHTTPServer):
    """Honours idempotency keys; the first request of all gets 503; `/notify` answers once `gate` is open."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.booked, self.lock, self.gate = [], {}, threading.Lock(), threading.Event()
        self.notifying = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["idempotency-key"]
        server = self.server
        with server.lock:
            server.requests.append((self.path, key))
            status = 503 if len(server.requests) == 1 else 200
            if status == 200:
                server.booked.setdefault(key, (self.path, body))
        if self.path == "/notify":
            server.notifying.set()
            server.gate.wait(60)
        answer = json.dumps({"ok": status == 200, **body}).encode()
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            pass

    def log_message(self, *args):
        pass


class KillIt(Journey):
    def setUp(self):
        super().setUp()
        self.payments = Payments()
        self.addCleanup(self.payments.server_close)
        self.addCleanup(self.payments.shutdown)
        self.agent = self.dir / "agent.py"
        self.agent.write_text(AGENT)
        import os
        os.environ["PAYMENTS"] = self.payments.url

    def test_the_server_dies_at_the_third_step(self):
        server = self.server()
        self.worker(self.agent, server.url)
        run = self.cli(server, "run", "refund", "--input", '{"order":"A17"}', "--key", "A17", "--detach").strip()
        self.assertTrue(self.payments.notifying.wait(60), "notify was never called")
        server.kill(signal.SIGKILL)
        self.payments.gate.set()
        again = self.server(listen=server.address)
        shown = self.cli(again, "runs", "watch", run[:8])
        self.assertIn("✔ find_order", shown)
        self.assertRegex(shown, r"✔ refund \d+ms \(try 2; .*503")
        self.assertRegex(shown, rf"{run[:8]}  recovered at step 3 · 2 reused, 0 repeated · completed")
        effects = sorted(path for path, _ in self.payments.booked.values())
        self.assertEqual(effects, ["/notify", "/refunds"], "each effect under one key")
        # Started again with its key, it is the same run.
        same = self.json(again, "run", "refund", "--input", '{"order":"A17"}', "--key", "A17", "--detach")
        self.assertEqual((same["run"], same["existing"]), (run, True))

    def test_the_worker_dies_at_the_third_step(self):
        server = self.server()
        worker = self.worker(self.agent, server.url)
        run = self.cli(server, "run", "refund", "--input", '{"order":"A17"}', "--key", "A17", "--detach").strip()
        self.assertTrue(self.payments.notifying.wait(60), "notify was never called")
        worker.kill(signal.SIGKILL)
        self.payments.gate.set()
        self.worker(self.agent, server.url)
        shown = self.cli(server, "runs", "watch", run[:8])
        self.assertRegex(shown, r"recovered at step 3 · 2 reused, 0 repeated · completed")
        self.assertEqual(len({key for path, key in self.payments.requests if path == "/notify"}), 1)
