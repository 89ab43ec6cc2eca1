"""The conformance vectors against the real server, one fresh data directory each. Not among the tests that need nothing
built:

    NEURAXIS_BIN=target/debug/neuraxis PYTHONPATH=src:tests python -m unittest real_vectors
"""

from __future__ import annotations

import json
import tempfile
import unittest
from typing import Any, Dict, Optional

from websockets.sync.client import ClientConnection, connect

import neuraxis as nx
import vectors
from real_server import Processes

PATIENCE_S = 20


class RealServerMeetsVectors(unittest.TestCase):
    def test_all(self) -> None:
        for vector in vectors.load("server"):
            with self.subTest(vector["name"]), tempfile.TemporaryDirectory() as folder:
                processes = Processes(folder)
                processes.start_server()
                try:
                    Player(vector, processes.url).play()
                finally:
                    processes.stop()


class Player:
    """Plays one vector: its worker frames over a socket, what people do over the API."""

    def __init__(self, vector: Dict[str, Any], url: str) -> None:
        self.vector = vector
        self.url = url
        self.client = nx.Client(url, timeout=PATIENCE_S)
        self.bindings = vectors.Bindings(vector)
        self.socket: Optional[ClientConnection] = None
        self.run = ""

    def connection(self) -> ClientConnection:
        if self.socket is None:
            url = self.url.replace("http", "ws", 1) + "/api/workers/connect"
            self.socket = connect(
                url, subprotocols=["neuraxis.worker.v1"], max_size=1 << 20, proxy=None, ping_interval=2
            )  # type: ignore[list-item]
        return self.socket

    def play(self) -> None:
        for place, entry in enumerate(self.vector["sequence"]):
            where = f"{self.vector['name']} at {place}"
            if "worker" in entry:
                for frame in entry["worker"] if isinstance(entry["worker"], list) else [entry["worker"]]:
                    self.connection().send(json.dumps(self.bindings.fill(frame)))
            elif "server" in entry:
                vectors.expect(self.bindings, entry["server"], lambda: self.receive(where, entry), where)
            else:
                self.act(self.bindings.fill(entry))
        if self.socket is not None:
            self.socket.close()

    def receive(self, where: str, entry: Any) -> Any:
        try:
            return json.loads(self.connection().recv(timeout=PATIENCE_S))
        except TimeoutError:
            raise AssertionError(f"{where}: the server sent nothing; expected {entry}") from None

    def act(self, entry: Dict[str, Any]) -> None:
        what = entry["do"]
        if what == "start":
            self.run = self.client.start(entry["agent"], entry["input"], key=entry.get("key"))
        elif what == "signal":
            self.client.signal(self.run, entry["name"], entry["payload"])
        elif what == "cancel":
            self.client.cancel(self.run, entry["reason"])
        elif what == "decide":
            approval = self.client.request("GET", f"/api/approvals/{entry['approval']}")
            body = {"decision": entry["decision"], "hash": approval["hash"]}
            body.update({key: entry[key] for key in ("reason", "args") if key in entry})
            self.client.request("POST", f"/api/approvals/{entry['approval']}/decide", body)
        elif what in ("disconnect", "lose_process") and self.socket is not None:
            self.socket.socket.close()
            self.socket = None


if __name__ == "__main__":
    unittest.main()
