"""A worker of this SDK and a reference server, on a socket, in one event loop."""

from __future__ import annotations

import asyncio
import logging
import unittest
from typing import Any, Callable, Optional

from neuraxis import _logging
from neuraxis._registry import registry
from neuraxis._worker import Worker
from reference.clock import LoopClock
from reference.server import Run, Server
from reference.transport import Listener

PATIENCE_S = 30


class Harness(unittest.IsolatedAsyncioTestCase):
    """`self.server` is up before each test; `await self.work()` starts a worker with what is declared by then."""

    credit = 256
    lease_ms = 10_000
    token: Optional[str] = None

    async def asyncSetUp(self) -> None:
        for table in (registry.agents, registry.steps, registry.tools):
            table.clear()
        logging.getLogger("neuraxis").setLevel(logging.CRITICAL)
        self.server = Server(LoopClock(), credit=self.credit, lease_ms=self.lease_ms)
        self.listener = Listener(self.server, self.token)
        self.url = await self.listener.start()
        self.changed = asyncio.Event()
        self.server.on_change = self.changed.set
        self.handler = _logging.attach(logging.INFO)
        self.worker: Optional[Worker] = None
        self.serving: "Optional[asyncio.Future[None]]" = None

    async def asyncTearDown(self) -> None:
        await self.stop_worker()
        logging.getLogger().removeHandler(self.handler)
        logging.getLogger("neuraxis").setLevel(logging.NOTSET)
        await self.listener.stop()

    async def work(self, **options: Any) -> Worker:
        """Starts a worker, and waits until it is connected."""
        self.worker = Worker(registry, self.url, self.token, **options)
        self.serving = asyncio.ensure_future(self.worker.serve())
        await self.until(lambda: bool(self.server.sessions))
        return self.worker

    async def stop_worker(self) -> None:
        """Stops the worker in good order."""
        if self.worker is not None and self.serving is not None:
            self.worker.stop()
            await asyncio.wait_for(self.serving, PATIENCE_S)
        self.worker = self.serving = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that a frame brings about."""

        async def wait() -> None:
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), PATIENCE_S)

    async def run_agent(self, agent: str, value: Any = None, key: Optional[str] = None) -> Run:
        """Starts a run and waits for its end."""
        run = self.server.start(agent, value, key)
        await self.until(lambda: run.ended)
        return run

    async def result_of(self, agent: str, value: Any = None) -> Any:
        """Starts a run, waits for its end; its result."""
        run = await self.run_agent(agent, value)
        self.assertEqual((run.status, run.error), ("completed", None))
        return run.result
