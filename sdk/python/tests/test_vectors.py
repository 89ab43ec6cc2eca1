"""The conformance vectors: the reference server meets them, and so does this SDK with async and with sync agents."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, Dict, List

import vectors
from neuraxis._worker import Worker
from reference.clock import ManualClock
from reference.server import Server
from reference.transport import Listener

PATIENCE_S = 20


class ReferenceMeetsVectors(unittest.TestCase):
    """The vector's worker frames go in; its server frames must come out."""

    def test_all(self) -> None:
        for vector in vectors.load("server"):
            with self.subTest(vector["name"]):
                self.play(vector)

    def play(self, vector: Dict[str, Any]) -> None:
        clock = ManualClock()
        server = Server(clock)
        bindings = vectors.Bindings(vector)
        sent: List[Dict[str, Any]] = []
        session = server.connect(sent.append)
        for place, entry in enumerate(vector["sequence"]):
            where = f"{vector['name']} at {place}"
            if "worker" in entry:
                frames = entry["worker"] if isinstance(entry["worker"], list) else [entry["worker"]]
                for frame in frames:
                    server.receive(session, bindings.fill(frame))
            elif "server" in entry:

                def next_sent() -> Dict[str, Any]:
                    assert sent, f"{where}: the server sent nothing more; expected {entry['server']}"
                    return sent.pop(0)

                vectors.expect(bindings, entry["server"], next_sent, where)
            elif entry["do"] in ("disconnect", "lose_process"):
                server.disconnected(session)
                sent.clear()
                session = server.connect(sent.append)
            else:
                self.act(server, clock, bindings, entry)
        rest = [frame for frame in sent if frame["t"] not in vectors.PASSED_OVER]
        self.assertEqual(rest, [], vector["name"])

    @staticmethod
    def act(server: Server, clock: ManualClock, bindings: vectors.Bindings, entry: Dict[str, Any]) -> None:
        entry = bindings.fill(entry)
        run = next(iter(server.runs.values()), None)
        if entry["do"] == "start":
            server.start(entry["agent"], entry["input"], entry.get("key"))
        elif entry["do"] == "advance":
            clock.advance(entry["ms"])
        elif entry["do"] == "signal":
            assert run is not None
            server.signal(run, entry["name"], entry["payload"])
        elif entry["do"] == "cancel":
            assert run is not None
            server.cancel(run, entry["reason"])
        elif entry["do"] == "decide":
            server.decide(
                entry["approval"],
                entry["decision"],
                by=entry["by"],
                reason=entry.get("reason", ""),
                args=entry.get("args"),
            )


class WorkerMeetsVectors(unittest.IsolatedAsyncioTestCase):
    """The vector's server frames go in; its worker frames must come out."""

    async def test_async_agents(self) -> None:
        for vector in vectors.load("worker"):
            with self.subTest(vector["name"]):
                await self.play(vector, sync=False)

    async def test_sync_agents(self) -> None:
        for vector in vectors.load("worker"):
            with self.subTest(vector["name"]):
                await self.play(vector, sync=True)

    async def play(self, vector: Dict[str, Any], sync: bool) -> None:
        program = vectors.Program(vector, sync)
        bindings = vectors.Bindings(vector)
        peer = vectors.Peer()
        listener = Listener(peer)  # type: ignore[arg-type]
        worker = Worker(program.registry, await listener.start(), None, runs=8)
        serving = asyncio.ensure_future(worker.serve())
        try:
            for place, entry in enumerate(vector["sequence"]):
                await self.act(entry, f"{vector['name']} at {place}", bindings, peer, listener, program, worker)
            if listener.connections:
                await asyncio.wait_for(listener.connections[-1].barrier(), PATIENCE_S)
            rest = []
            while not peer.received.empty():
                frame = peer.received.get_nowait()
                if frame["t"] not in vectors.PASSED_OVER:
                    rest.append(frame)
            self.assertEqual(rest, [], vector["name"])
        finally:
            worker.stop()
            await asyncio.wait_for(serving, PATIENCE_S)
            await listener.stop()

    async def act(
        self,
        entry: Dict[str, Any],
        where: str,
        bindings: vectors.Bindings,
        peer: vectors.Peer,
        listener: Listener,
        program: vectors.Program,
        worker: Worker,
    ) -> None:
        if "server" in entry:
            for frame in entry["server"] if isinstance(entry["server"], list) else [entry["server"]]:
                assert peer.send is not None, where
                peer.send(bindings.fill(frame))
        elif "worker" in entry:
            count = len(entry["worker"]) if isinstance(entry["worker"], list) else 1
            received: List[Dict[str, Any]] = []
            while len(received) < count:
                try:
                    frame = await asyncio.wait_for(peer.received.get(), PATIENCE_S)
                except asyncio.TimeoutError:
                    raise AssertionError(f"{where}: the worker sent nothing; expected {entry['worker']}") from None
                if frame["t"] not in vectors.PASSED_OVER:
                    received.append(frame)
            vectors.expect(bindings, entry["worker"], lambda: received.pop(0), where)
        elif entry["do"] == "disconnect":
            await asyncio.wait_for(listener.connections[-1].barrier(), PATIENCE_S)
            listener.drop()
        elif entry["do"] == "finish":
            program.holds.of(entry["hold"]).set()
        elif entry["do"] == "shutdown":
            worker.stop()


if __name__ == "__main__":
    unittest.main()
