"""The worker against the reference server: what agents see, and what the server gets."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import logging
import sys
import threading
from typing import Any, Dict, List

import neuraxis as nx
from harness import Harness

undone: List[Any] = []
TENANT: "contextvars.ContextVar[str]" = contextvars.ContextVar("tenant", default="none")


def cancel_refund(order: str, result: str, *, key: nx.Key) -> None:
    """Undoes `refund`; at the top of the module, as `undo=` wants it."""
    undone.append((order, result, bool(key)))


class Story(Harness):
    """The example of the guide: a tool, an effect behind an approval, undo."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        undone.clear()
        shop = nx.toolset("shop")

        @nx.tool("shop", effect="read")
        def find_order(parcel: str) -> Dict[str, Any]:
            return {"id": "A17", "cents": 8400}

        @nx.tool("shop", effect="idempotent")
        async def restock(order: str, *, key: nx.Key) -> str:
            if order == "A17" and self.out_of_order:
                raise nx.NonRetryable("the shop is closed")
            return key

        @nx.step(effect="idempotent", retries=5)
        def refund(order: str, cents: int, *, key: nx.Key) -> str:
            return f"{order}:{cents}:{len(key) > 0}"

        async def body(parcel: str) -> str:
            order = await shop.find_order(parcel=parcel)
            paid = await refund(
                order["id"],
                order["cents"],
                undo=cancel_refund,
                approve=nx.Approval("lead", within="4h", over_cents=5000, edit=True),
            )
            await shop.restock(order=order["id"])
            return paid

        def sync_body(parcel: str) -> str:
            order: Any = shop.find_order.sync(parcel=parcel)
            paid = refund.sync(
                order["id"], order["cents"], undo=cancel_refund, approve=nx.Approval("lead", over_cents=5000, edit=True)
            )
            shop.restock.sync(order=order["id"])
            return paid

        nx.agent(name="redirect-and-refund")(body)
        nx.agent(name="redirect-and-refund-sync")(sync_body)
        self.out_of_order = False
        await self.work()

    async def test_approved_with_other_arguments(self) -> None:
        for agent in ("redirect-and-refund", "redirect-and-refund-sync"):
            run = self.server.start(agent, {"parcel": "P88"})
            await self.until(lambda: bool(self.server.pending()))
            self.server.decide(self.server.pending()[0], "approve", args={"order": "A17", "cents": 4000})
            await self.until(lambda: run.ended)
            self.assertEqual((run.status, run.result), ("completed", "A17:4000:True"))

    async def test_denied(self) -> None:
        for agent in ("redirect-and-refund", "redirect-and-refund-sync"):
            run = self.server.start(agent, {"parcel": "P88"})
            await self.until(lambda: bool(self.server.pending()))
            self.server.decide(self.server.pending()[0], "deny", reason="too much")
            await self.until(lambda: run.ended)
            self.assertEqual(run.status, "failed")
            self.assertEqual(run.error, {"name": "ApprovalDenied", "message": "too much", "retryable": False})

    async def test_undone_when_a_later_step_fails(self) -> None:
        self.out_of_order = True
        run = self.server.start("redirect-and-refund", {"parcel": "P88"})
        await self.until(lambda: bool(self.server.pending()))
        self.server.decide(self.server.pending()[0], "approve")
        await self.until(lambda: run.ended)
        self.assertEqual(run.status, "failed")
        self.assertEqual(undone, [("A17", "A17:8400:True", True)])

    async def test_a_wrong_input_fails_the_run(self) -> None:
        run = await self.run_agent("redirect-and-refund", {"parsel": "P88"})
        self.assertEqual(run.status, "failed")
        assert run.error is not None
        self.assertIn("no parameter `parsel`", run.error["message"])


class Agents(Harness):
    async def test_values_keep_their_types(self) -> None:
        @nx.step
        def pair(n: int) -> "tuple[int, int]":
            return n, n + 1

        @nx.agent
        async def typed() -> List[Any]:
            now = await nx.now()
            self.assertIsInstance(now, datetime.datetime)
            chance = await nx.random()
            return [await pair(1), now.tzinfo is not None, 0 <= chance < 1, len(await nx.uuid())]

        await self.work()
        self.assertEqual(await self.result_of("typed"), [[1, 2], True, True, 36])

    async def test_a_result_that_is_no_json_fails_the_step(self) -> None:
        @nx.step
        def broken() -> Any:
            return {"x": {1}}

        @nx.agent
        async def catches() -> str:
            try:
                await broken()
            except nx.StepFailed as error:
                return f"{error.name} {error.message}"
            return "?"

        await self.work()
        self.assertIn(
            "ValueRefused the result of `broken`: at `/x`: a `set` has no JSON form", await self.result_of("catches")
        )

    async def test_rules_of_use(self) -> None:
        @nx.step
        async def inner() -> int:
            return 1

        @nx.step
        async def outer() -> int:
            return await inner()

        @nx.agent
        async def nested() -> str:
            try:
                await outer()
            except nx.StepFailed as error:
                return error.message
            return "?"

        @nx.agent
        async def at_once() -> str:
            try:
                await asyncio.gather(inner(), inner())
            except nx.UsageError as error:
                return str(error)
            return "?"

        @nx.agent
        async def blocking() -> str:
            try:
                inner.sync()
            except nx.UsageError as error:
                return str(error)
            return "?"

        await self.work()
        self.assertIn("while step `outer` executes", await self.result_of("nested"))
        self.assertIn("`await nx.gather(", await self.result_of("at-once"))
        self.assertIn("await the call without `.sync`", await self.result_of("blocking"))

    async def test_sys_exit_ends_steps_and_runs_only(self) -> None:
        @nx.step
        def leaves() -> None:
            sys.exit(3)

        @nx.step(effect="idempotent", retries=0)
        async def leaves_async() -> None:
            sys.exit(3)

        @nx.agent
        async def agent(how: str) -> None:
            if how == "agent":
                sys.exit(3)
            await (leaves() if how == "step" else leaves_async())

        @nx.agent
        def agent_sync() -> None:
            sys.exit(3)

        await self.work()
        for name, value in (
            ("agent", {"how": "agent"}),
            ("agent", {"how": "step"}),
            ("agent", {"how": "async"}),
            ("agent-sync", None),
        ):
            run = await self.run_agent(name, value)
            self.assertEqual(run.status, "failed")
            assert run.error is not None
            self.assertIn("SystemExit", run.error["name"] + run.error["message"])

    async def test_context_reaches_steps_and_branches(self) -> None:
        @nx.step
        def tenant() -> str:
            return TENANT.get()

        @nx.step
        async def tenant_async() -> str:
            return TENANT.get()

        @nx.step(effect="idempotent")
        def tenant_granted() -> str:
            return TENANT.get()

        @nx.agent
        async def asks() -> Any:
            TENANT.set("acme")
            return [
                await tenant(),
                await tenant_async(),
                await tenant_granted(),
                *await nx.gather(tenant(), tenant_granted()),
            ]

        @nx.agent
        def asks_sync() -> Any:
            TENANT.set("acme")
            return [
                tenant(),
                tenant_async(),
                tenant_granted(),
                *nx.sync.gather(lambda: tenant(), lambda: tenant_granted()),
            ]

        await self.work()
        self.assertEqual(await self.result_of("asks"), ["acme"] * 5)
        self.assertEqual(await self.result_of("asks-sync"), ["acme"] * 5)

    async def test_gather_stops_what_waits_and_lets_end_what_executes(self) -> None:
        released = threading.Event()
        ended: List[str] = []

        @nx.step(effect="once")
        def slow() -> str:
            assert released.wait(20)
            ended.append("slow")
            return "slow"

        @nx.step
        def fails() -> None:
            released.set()
            raise nx.NonRetryable("no")

        async def slow_then_more() -> None:
            await slow()
            await nx.sleep("100d")

        @nx.agent
        async def branches() -> Any:
            try:
                await nx.gather(a=slow_then_more(), b=nx.sleep("100d"), c=fails())
            except nx.StepFailed as error:
                return [error.step, list(ended)]
            return "?"

        @nx.agent
        def branches_sync() -> Any:
            def body() -> None:
                slow()
                nx.sleep("100d")

            try:
                nx.gather(body, lambda: nx.sleep("100d"), lambda: fails())
            except nx.StepFailed as error:
                return [error.step, list(ended)]
            return "?"

        await self.work()
        self.assertEqual(await self.result_of("branches"), ["fails", ["slow"]])
        ended.clear()
        released.clear()
        self.assertEqual(await self.result_of("branches-sync"), ["fails", ["slow"]])

    async def test_carry(self) -> None:
        @nx.step
        def page(n: int) -> int:
            return n * 10

        @nx.agent
        async def pages(last: int, state: Any = None) -> Any:
            state = state or {"n": 0, "sum": 0}
            state["sum"] += await page(state["n"])
            if state["n"] == last:
                return [state, nx.run_info().incarnation]
            state["n"] += 1
            await nx.carry(state)

        @nx.agent
        def pages_sync(last: int, state: Any = None) -> Any:
            n = 0 if state is None else state
            page(n)
            if n == last:
                return n
            nx.sync.carry(n + 1)

        await self.work()
        self.assertEqual(await self.result_of("pages", {"last": 50}), [{"n": 50, "sum": 12750}, 1])
        self.assertEqual(await self.result_of("pages-sync", {"last": 50}), 50)

    async def test_children_events_and_people(self) -> None:
        @nx.agent
        async def pack(order: str) -> str:
            return f"packed {order}"

        @nx.agent
        async def ship(order: str) -> Any:
            packed = await nx.child(pack, {"order": order})
            await nx.emit("parcel.packed", {"order": order})
            decision = await nx.approval("dispatch", "lead", {"order": order}, message="send it?")
            payload = await nx.signal("truck", within="1d")
            return [packed, decision.approved, decision.by, payload]

        await self.work()
        run = self.server.start("ship", {"order": "A17"})
        await self.until(lambda: bool(self.server.pending()))
        self.server.decide(self.server.pending()[0], "approve", by="ada")
        self.server.signal(run, "truck", {"plate": "B-1"})
        await self.until(lambda: run.ended)
        self.assertEqual(run.result, ["packed A17", True, "ada", {"plate": "B-1"}])
        self.assertEqual(self.server.events, [("parcel.packed", {"order": "A17"})])

    async def test_timeouts(self) -> None:
        attempts: List[int] = []

        @nx.step(timeout=0.05, retry=nx.Retry(attempts=2, initial=0, jitter=0))
        async def ahead() -> str:
            attempts.append(1)
            if len(attempts) < 2:
                await asyncio.Event().wait()
            return "second"

        blocked = threading.Event()

        @nx.step(effect="idempotent", timeout=0.05, retry=nx.Retry(attempts=1))
        def stuck() -> None:
            blocked.wait(20)

        @nx.agent
        async def patient() -> Any:
            second = await ahead()
            try:
                await stuck()
            except nx.StepFailed as error:
                return [second, error.name]

        await self.work()
        self.assertEqual(await self.result_of("patient"), ["second", "Timeout"])
        blocked.set()

    async def test_cancelled_runs_unwind(self) -> None:
        seen: List[str] = []

        @nx.agent
        async def waits() -> None:
            try:
                await nx.sleep("100d")
            except nx.Cancelled as error:
                seen.append(str(error))
                raise

        @nx.agent
        async def waits_elsewhere() -> None:
            self.server.on_change()
            seen.append("entered")
            await asyncio.Event().wait()

        @nx.agent
        def waits_sync() -> None:
            try:
                nx.sleep("100d")
            finally:
                seen.append("finally")

        await self.work()
        for agent in ("waits", "waits-sync"):
            run = self.server.start(agent)
            await self.until(lambda: any(r.state == "waiting" for r in run.segment.records))
            self.server.cancel(run, "by hand")
            await self.until(lambda: run.ended)
            self.assertEqual(run.status, "cancelled")
        self.assertEqual(seen, ["by hand", "finally"])
        run = self.server.start("waits-elsewhere")
        await self.until(lambda: "entered" in seen)
        self.server.cancel(run, "by hand")
        await self.until(lambda: run.ended)
        self.assertEqual(run.status, "cancelled")

    async def test_logs_and_heartbeats_name_their_step(self) -> None:
        log = logging.getLogger("shop")
        beats: List[Any] = []
        self.server.on_frame = lambda direction, frame: beats.append(frame) if frame["t"] == "heartbeat" else None

        @nx.step(effect="idempotent")
        def talks() -> None:
            nx.heartbeat({"done": 1})
            log.info("hello %s", "step")

        @nx.step
        async def talks_async() -> None:
            log.warning("x" * 5000)

        @nx.agent
        async def talkative() -> None:
            log.info("hello agent")
            await talks()
            await talks_async()

        await self.work()
        run = await self.run_agent("talkative")
        lines = [(line["level"], line["message"][:12], line.get("call"), line.get("name")) for line in self.server.logs]
        named = [("info", "hello agent", None, None), ("info", "hello step", 1, "talks"), ("warning", "x" * 12, 2, "talks_async")]
        self.assertEqual(lines, named)
        self.assertEqual(len(self.server.logs[2]["message"]), 4096)
        self.assertEqual(beats, [{"t": "heartbeat", "run": run.id, "inc": 1, "call": 1, "name": "talks", "detail": {"done": 1}}])

    async def test_large_values_travel_as_blobs(self) -> None:
        self.listener.refuse_uploads = 1
        big = "ü" * 200_000

        @nx.step
        def echo(text: str) -> str:
            return text

        @nx.step(effect="idempotent")
        def echo_granted(text: str) -> str:
            return text

        @nx.agent
        async def large(text: str) -> Any:
            return [await echo(text), await echo_granted(text)]

        await self.work()
        self.assertEqual(await self.result_of("large", {"text": big}), [big, big])
        self.assertLess(self.listener.largest_frame, 1 << 18)

    async def test_parked_runs_come_back(self) -> None:
        entered: List[int] = []

        @nx.agent
        async def patient() -> Any:
            entered.append(nx.run_info().incarnation)
            return await nx.signal("go")

        worker = await self.work()
        run = self.server.start("patient")
        await self.until(lambda: any(r.state == "waiting" for r in run.segment.records))
        self.server.park(run)
        self.server.signal(run, "go", 5)
        self.server.wake(run)
        await self.until(lambda: run.ended)
        self.assertEqual((run.result, entered), (5, [1, 2]))
        await self.listener.connections[0].barrier()
        self.assertEqual(worker.runs, {})

    async def test_tools_that_probe_and_undo_take_arguments_by_name(self) -> None:
        seen: List[Any] = []

        @nx.tool("pay", effect="idempotent")
        def give_back(order: str, result: str, *, key: nx.Key) -> None:
            seen.append((order, result, bool(key)))

        @nx.tool("pay", effect="once", undo=give_back)
        def refund(order: str, cents: int = 5) -> str:
            return f"paid {cents}"

        pay = nx.toolset("pay")

        @nx.agent
        async def fails() -> None:
            await pay.refund(order="A17", undo=pay.give_back)
            raise nx.NonRetryable("out of stock")

        await self.work()
        run = await self.run_agent("fails")
        self.assertEqual((run.status, seen), ("failed", [("A17", "paid 5", True)]))
        hello = self.server.sessions[0].hello
        assert hello is not None
        self.assertEqual(hello["toolsets"][0]["tools"][1], {"name": "refund", "effect": "once", "undo": "give_back"})


class Credit(Harness):
    credit = 3

    async def test_many_branches_keep_to_the_credit(self) -> None:
        @nx.step
        async def echo(n: int) -> int:
            return n

        @nx.agent
        async def wide() -> Any:
            return await nx.gather(*[echo(n) for n in range(50)])

        await self.work()
        self.assertEqual(await self.result_of("wide"), list(range(50)))
