"""This SDK against the real server, as processes that are killed. Not among the tests that need nothing built:

NEURAXIS_BIN=target/debug/neuraxis PYTHONPATH=src:tests python -m unittest real_server
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional

import neuraxis as nx

HERE = Path(__file__).resolve().parent
PATIENCE_S = int(os.environ.get("PATIENCE_S", "60"))
CUTS = int(os.environ.get("CUTS", "40"))
KILLS = int(os.environ.get("KILLS", "12"))


class Processes:
    """A server and a worker, with a data directory."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.binary = os.environ["NEURAXIS_BIN"]
        self.effects = Path(folder) / "effects.txt"
        self.env = {**os.environ, "EFFECTS": str(self.effects), "PYTHONPATH": str(HERE.parent / "src")}
        self.listen = "127.0.0.1:0"
        self.url = ""
        self.server: Optional["subprocess.Popen[str]"] = None
        self.worker: Optional["subprocess.Popen[str]"] = None

    def start_server(self) -> None:
        """Starts the server on the same address as before, and waits until it is ready."""
        data = str(Path(self.folder) / "data")
        command = [self.binary, "up", "--data", data, "--listen", self.listen]
        with self.log("server") as log:
            self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.env)
        assert self.server.stdout is not None
        for line in self.server.stdout:
            found = re.match(r"ready (http://(\S+))", line)
            if found:
                self.url, self.listen = found.group(1), found.group(2)
                return
        raise AssertionError(f"the server ended: {(Path(self.folder) / 'server.log').read_text()[-2000:]}")

    def start_worker(self, url: str = "") -> None:
        """Starts a worker of `real_agent.py`."""
        url = url or self.url
        command = [sys.executable, "-m", "neuraxis", "worker", str(HERE / "real_agent.py"), "--url", url]
        with self.log("worker") as log:
            self.worker = subprocess.Popen(command, stderr=log, env=self.env, text=True)

    def log(self, name: str) -> Any:
        """The file of a process's lines."""
        return open(Path(self.folder) / f"{name}.log", "a", encoding="utf-8")

    def kill(self, which: str) -> None:
        """SIGKILL, and a new process in its place."""
        process = self.server if which == "server" else self.worker
        assert process is not None
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if which == "server":
            self.start_server()
        else:
            self.start_worker()

    def stop(self) -> None:
        """Ends both."""
        for process in (self.worker, self.server):
            if process is not None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def tail(self) -> str:
        """The last lines of both logs."""
        return "".join((Path(self.folder) / f"{name}.log").read_text()[-3000:] for name in ("server", "worker"))

    def counts(self, order: str) -> Dict[str, List[str]]:
        """The keys of an order's effects, by kind."""
        found: Dict[str, List[str]] = {}
        for line in self.effects.read_text().splitlines():
            kind, name, key = line.split()
            if name == order:
                found.setdefault(kind, []).append(key)
        return found


class Proxy:
    """Stands between worker and server, and cuts the connection after so many pieces of either direction."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.left = -1
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(near,), daemon=True).start()

    def carry(self, near: socket.socket) -> None:
        """Both directions of one connection, to its end."""
        with near, contextlib.suppress(OSError), socket.create_connection(self.target) as far:
            back = threading.Thread(target=self.pump, args=(far, near), daemon=True)
            back.start()
            self.pump(near, far)
            back.join()

    def pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                piece = one.recv(1 << 16)
                if not piece:
                    break
                other.sendall(piece)
                self.left -= 1
                if self.left == 0:
                    break
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class RealServer(unittest.TestCase):
    """One server and one worker for all tests."""

    folder: "tempfile.TemporaryDirectory[str]"
    processes: Processes

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.processes = Processes(cls.folder.name)
        cls.processes.start_server()
        cls.processes.start_worker()
        cls.client = nx.Client(cls.processes.url, timeout=PATIENCE_S)
        cls.until(lambda: any(worker["agents"] for worker in cls.client.request("GET", "/api/workers")["items"]))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.processes.stop()
        cls.folder.cleanup()

    client: nx.Client

    @staticmethod
    def until(condition: Any) -> Any:
        """Waits for other processes."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError("waited in vain")

    def pending(self, run: str) -> Dict[str, Any]:
        """The approval that a run waits for."""

        def find() -> Optional[Dict[str, Any]]:
            items = self.client.request("GET", f"/api/approvals?run={run}")["items"]
            return items[0] if items else None

        found: Dict[str, Any] = self.until(find)
        return found

    def decide(self, approval: Dict[str, Any], decision: str, **more: Any) -> None:
        body = {"decision": decision, "hash": approval["hash"], **more}
        self.client.request("POST", f"/api/approvals/{approval['id']}/decide", body)

    def test_agents(self) -> None:
        for agent in ("order-async", "order-sync"):
            result = self.client.run(agent, {"order": agent}, timeout=PATIENCE_S)
            self.assertEqual(result, [f"plan {agent}", "reserve", "charge", "reserve", "ship", None, True])
            self.assertEqual(
                Counter({kind: len(keys) for kind, keys in self.processes.counts(agent).items()}),
                Counter(charge=1, ship=1, reserve=2),
            )

    def test_keys_and_children(self) -> None:
        one = self.client.start("parent", {"text": "hello"}, key="k1")
        self.assertEqual(self.client.start("parent", {"text": "hello"}, key="k1"), one)
        self.assertEqual(self.client.result(one, timeout=PATIENCE_S), "hello")

    def test_large_values(self) -> None:
        big = "ü" * 300_000
        self.assertEqual(self.client.run("echo", {"text": big}, timeout=PATIENCE_S), big)

    def test_carry(self) -> None:
        self.assertEqual(self.client.run("counts", {"rounds": 30}, timeout=PATIENCE_S), 30)

    def test_approved(self) -> None:
        self.assertEqual(self.client.run("approved", {"order": "small", "cents": 100}, timeout=PATIENCE_S), "charge")
        run = self.client.start("approved", {"order": "large", "cents": 8400})
        self.decide(self.pending(run), "approve", reason="fine")
        self.assertEqual(self.client.result(run, timeout=PATIENCE_S), "charge")

    def test_denied(self) -> None:
        run = self.client.start("approved", {"order": "denied", "cents": 8400})
        self.decide(self.pending(run), "deny", reason="too much")
        with self.assertRaisesRegex(nx.RunFailed, "ApprovalDenied"):
            self.client.result(run, timeout=PATIENCE_S)
        self.assertEqual(self.processes.counts("denied"), {})

    def test_undone(self) -> None:
        with self.assertRaisesRegex(nx.RunFailed, "NonRetryable: out of stock"):
            self.client.run("undone", {"order": "undone"}, timeout=PATIENCE_S)
        self.assertEqual(sorted(self.processes.counts("undone")), ["charge", "take-back"])

    def test_cancelled(self) -> None:
        run = self.client.start("waits")
        self.until(lambda: self.client.get(run).status == "waiting")
        self.client.cancel(run, "by hand")
        with self.assertRaisesRegex(nx.RunFailed, "cancelled"):
            self.client.result(run, timeout=PATIENCE_S)

    def test_mistakes(self) -> None:
        with self.assertRaisesRegex(nx.RunFailed, "no parameter `orders`"):
            self.client.run("order-async", {"orders": "x"}, timeout=PATIENCE_S)
        with self.assertRaises(nx.ApiError) as caught:
            self.client.get("r_0000000000000000")
        self.assertEqual(caught.exception.status, 404)

    def test_killed(self) -> None:
        """Worker and server are killed at random instants: effects take place once, results are the same."""
        chance = random.Random(7)
        for place in range(KILLS):
            agent = ("order-async", "order-sync")[place % 2]
            which = ("worker", "server")[(place // 2) % 2]
            order = f"killed-{place}"
            with self.subTest(f"{order}: {agent}, {which}"):
                run = self.client.start(agent, {"order": order})
                time.sleep(chance.uniform(0, 0.06))
                self.processes.kill(which)
                try:
                    result = self.client.result(run, timeout=PATIENCE_S)
                except TimeoutError:
                    self.fail(json.dumps(dict(self.client.get(run).raw), indent=1) + self.processes.tail())
                self.assertEqual(result, [f"plan {order}", "reserve", "charge", "reserve", "ship", None, True])
                effects = self.processes.counts(order)
                self.assertEqual((len(effects["charge"]), len(effects["ship"])), (1, 1))
                self.assertEqual(len(set(effects["reserve"])), 2)

    def test_cut(self) -> None:
        """The connection is cut after every piece: executions go on and are told late, nothing is asked of people."""
        assert self.processes.worker is not None
        self.processes.worker.terminate()
        self.processes.worker.wait()
        proxy = Proxy(self.processes.listen)
        self.processes.start_worker(f"http://{proxy.address}")
        try:
            for place in range(1, CUTS + 1):
                agent = ("order-async", "order-sync")[place % 2]
                order = f"cut-{place}"
                with self.subTest(f"{order}: {agent}"):
                    self.until(lambda: self.client.request("GET", "/api/workers")["items"])
                    proxy.left = place
                    run = self.client.start(agent, {"order": order})
                    result = self.client.result(run, timeout=PATIENCE_S)
                    self.assertEqual(result, [f"plan {order}", "reserve", "charge", "reserve", "ship", None, True])
                    counts = {kind: len(keys) for kind, keys in self.processes.counts(order).items()}
                    self.assertEqual((counts["charge"], counts["ship"]), (1, 1))
                    self.assertEqual(len(set(self.processes.counts(order)["reserve"])), 2)
                    self.assertEqual(self.client.get(run).raw["approvals"], [])
        finally:
            proxy.listening.close()
            self.processes.worker.terminate()
            self.processes.worker.wait()
            self.processes.start_worker()


if __name__ == "__main__":
    unittest.main()
