"""Connections are cut at every frame: nothing is lost, nothing that was granted is repeated."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Dict, List

import neuraxis as nx
from harness import PATIENCE_S, Harness
from neuraxis import _worker


class Cut(Harness):
    """The same run, once for each frame after which the connection is cut."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.first, _worker.BACKOFF_FIRST = _worker.BACKOFF_FIRST, 0.001

    async def asyncTearDown(self) -> None:
        _worker.BACKOFF_FIRST = self.first
        await super().asyncTearDown()

    def declare(self) -> Dict[str, List[str]]:
        effects: Dict[str, List[str]] = {"once": [], "idempotent": [], "tool": []}
        shop = nx.toolset("shop")

        @nx.tool("shop", effect="once")
        def ship(order: str, *, key: nx.Key) -> str:
            effects["tool"].append(key)
            return "shipped"

        @nx.step
        def plan(order: str) -> str:
            return f"plan {order}"

        @nx.step(effect="idempotent")
        async def reserve(order: str, *, key: nx.Key) -> str:
            effects["idempotent"].append(key)
            await asyncio.sleep(0)
            return "reserved"

        @nx.step(effect="once")
        def charge(order: str, *, key: nx.Key) -> str:
            effects["once"].append(key)
            return "charged"

        async def body(order: str) -> Any:
            planned = await plan(order)
            first = await reserve(order)
            charged, second = await nx.gather(charge(order), reserve(order))
            return [planned, first, charged, second, await shop.ship(order=order), await nx.signal("end", within="1s")]

        def sync_body(order: str) -> Any:
            planned = plan(order)
            first = reserve(order)
            charged, second = nx.sync.gather(lambda: charge(order), lambda: reserve(order))
            return [planned, first, charged, second, shop.ship.sync(order=order), nx.sync.signal("end", within="1s")]

        nx.agent(name="order")(body)
        nx.agent(name="order-sync")(sync_body)
        return effects

    async def cut_after(self, agent: str, effects: Dict[str, List[str]], place: int) -> bool:
        """Cuts after the `place`-th frame of either direction; whether the run had that many."""
        for names in effects.values():
            names.clear()
        count = 0

        def on_frame(direction: str, frame: Dict[str, Any]) -> None:
            nonlocal count
            count += 1
            if count == place:
                asyncio.get_running_loop().call_soon(self.listener.drop)

        await self.until(lambda: bool(self.server.sessions))
        self.server.on_frame = on_frame
        run = await self.run_agent(agent, {"order": "A17"})
        self.server.on_frame = lambda direction, frame: None
        self.assertEqual(run.status, "completed", (agent, place, run.error))
        self.assertEqual(run.result, ["plan A17", "reserved", "charged", "reserved", "shipped", None])
        self.assertEqual(self.server.pending(), [], (agent, place))
        self.assertEqual(len(effects["once"]), 1, (agent, place))
        self.assertEqual(len(effects["tool"]), 1, (agent, place))
        self.assertEqual(len(set(effects["idempotent"])), 2, (agent, place))
        return count >= place

    async def test_every_frame(self) -> None:
        effects = self.declare()
        await self.work()
        for agent in ("order", "order-sync"):
            place = 1
            while await self.cut_after(agent, effects, place):
                place += 1
            self.assertGreater(place, 20)

    async def test_the_server_is_gone_for_a_while(self) -> None:
        entered, release = threading.Event(), threading.Event()
        count: List[int] = []

        @nx.step(effect="once")
        def charge() -> str:
            count.append(1)
            entered.set()
            assert release.wait(20)
            return "charged"

        @nx.agent
        async def order() -> str:
            return await charge()

        worker = await self.work()
        run = self.server.start("order")
        await asyncio.wait_for(asyncio.to_thread(entered.wait), PATIENCE_S)
        self.listener.drop()
        await self.until(lambda: not self.server.sessions)
        release.set()
        await self.until(lambda: run.ended)
        self.assertEqual((run.result, len(count)), ("charged", 1))
        self.assertEqual(worker.grants.executing(), [])


class Shutdown(Harness):
    async def test_executions_end_and_runs_are_given_back(self) -> None:
        entered, release = threading.Event(), threading.Event()

        @nx.step(effect="once")
        def charge() -> str:
            entered.set()
            assert release.wait(20)
            return "charged"

        @nx.agent
        async def order() -> str:
            return await charge()

        @nx.agent
        async def waits() -> None:
            await nx.sleep("100d")

        worker = await self.work()
        run, waiting = self.server.start("order"), self.server.start("waits")
        await asyncio.wait_for(asyncio.to_thread(entered.wait), PATIENCE_S)
        worker.stop()
        await self.until(lambda: waiting.status == "queued")
        self.assertEqual(run.status, "running")
        release.set()
        assert self.serving is not None
        await asyncio.wait_for(self.serving, PATIENCE_S)
        await self.until(lambda: not self.server.sessions)
        self.assertIn(run.status, ("queued", "completed"))
        self.assertEqual([record.state for record in run.segment.records], ["completed"])


class SilentServer(Harness):
    lease_ms = 150

    async def test_a_silent_server_is_left(self) -> None:
        @nx.agent
        async def nothing() -> None: ...

        await self.work()
        connection = self.listener.connections[0]
        connection.deaf = True
        await self.until(lambda: bool(self.server.sessions) and self.listener.connections[-1] is not connection)
        await self.run_agent("nothing")


class Tokens(Harness):
    token = "secret"

    async def test_a_wrong_token_ends_the_worker(self) -> None:
        @nx.agent
        async def nothing() -> None: ...

        with self.assertRaisesRegex(nx.TurnedAway, "check the token"):
            await asyncio.wait_for(nx.serve_async(self.url, "wrong", signals=False), PATIENCE_S)

    async def test_the_right_one(self) -> None:
        @nx.agent
        async def nothing() -> None: ...

        await self.work()
        self.assertIsNone(await self.result_of("nothing"))
