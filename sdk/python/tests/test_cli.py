"""`python -m neuraxis worker`, as its own process, against the reference server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import neuraxis as nx
from harness import PATIENCE_S, Harness

SOURCES = Path(__file__).resolve().parents[1] / "src"

AGENT = """
import logging
import neuraxis as nx
from dataclasses import dataclass

@dataclass
class Order:
    id: str
    cents: int

def cancel(order, result): ...

@nx.tool("shop", effect="read")
def find_order(parcel: str) -> Order:
    return Order("A17", 8400)

@nx.step(effect="idempotent", retries=5)
def refund(order: str, cents: int, *, key: nx.Key) -> str:
    logging.info("refunding %s", order)
    return f"{order} {cents}"

@nx.agent(version="3")
async def redirect_and_refund(parcel: str) -> str:
    order = await nx.toolset("shop").find_order(parcel=parcel)
    return await refund(order["id"], order["cents"], undo=cancel)

@nx.agent
async def waits() -> None:
    await nx.sleep("100d")

@nx.tool("post", effect="read")
def was_mailed(to: str, idempotency_key: str, *, key: nx.Key) -> nx.Found:
    assert key == idempotency_key
    with open("mailed") as file:
        return nx.done("found") if key in file.read() else nx.NOT_DONE

@nx.tool("post", effect="once", probe=was_mailed)
def mail(to: str, *, key: nx.Key) -> str:
    import os, signal
    with open("mailed", "a") as file:
        file.write(key)
    os.kill(os.getpid(), signal.SIGKILL)

@nx.step(effect="idempotent")
def stuck() -> None:
    import threading
    threading.Event().wait()

@nx.agent
def hangs() -> None:
    stuck()

@nx.agent
async def mails() -> str:
    return await nx.toolset("post").mail(to="ada")
"""


class CommandLine(Harness):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "agent.py"
        self.file.write_text(AGENT)

    async def asyncTearDown(self) -> None:
        self.folder.cleanup()
        await super().asyncTearDown()

    async def command(self, *arguments: str, **env: str) -> Any:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "neuraxis",
            *arguments,
            cwd=self.folder.name,
            env={**os.environ, "PYTHONPATH": str(SOURCES), "NEURAXIS_URL": self.url, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def test_serves_a_file_until_sigterm(self) -> None:
        for target in ("agent.py", "agent"):
            process = await self.command("worker", target)
            await self.until(lambda: bool(self.server.sessions))
            hello = self.server.sessions[0].hello
            assert hello is not None
            self.assertIn({"name": "redirect-and-refund", "version": "3"}, hello["agents"])
            run = await self.run_agent("redirect-and-refund", {"parcel": "P88"})
            self.assertEqual((run.status, run.result), ("completed", "A17 8400"))
            waiting = self.server.start("waits")
            await self.until(lambda: bool(waiting.segment.records))
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), PATIENCE_S)
            self.assertEqual(process.returncode, 0)
            await self.until(lambda: not self.server.sessions)
            self.assertEqual(waiting.status, "queued")
            self.server.runs.clear()
        self.assertEqual(self.server.logs[0]["message"], "refunding A17")

    async def test_a_killed_process_is_taken_over(self) -> None:
        first = await self.command("worker", "agent.py")
        await self.until(lambda: bool(self.server.sessions))
        waiting = self.server.start("waits")
        await self.until(lambda: bool(waiting.segment.records))
        first.kill()
        await first.communicate()
        await self.until(lambda: not self.server.sessions)
        second = await self.command("worker", "agent.py")
        await self.until(lambda: waiting.inc == 2 and bool(waiting.callers))
        second.terminate()
        await asyncio.wait_for(second.communicate(), PATIENCE_S)

    async def test_a_tool_whose_process_is_killed_is_probed_by_another(self) -> None:
        first = await self.command("worker", "agent.py")
        await self.until(lambda: bool(self.server.sessions))
        run = self.server.start("mails")
        await asyncio.wait_for(first.communicate(), PATIENCE_S)
        await self.until(lambda: not self.server.sessions)
        second = await self.command("worker", "agent.py")
        await self.until(lambda: run.ended)
        self.assertEqual((run.status, run.result), ("completed", "found"))
        second.terminate()
        await asyncio.wait_for(second.communicate(), PATIENCE_S)

    async def test_a_step_that_does_not_end_does_not_hold_the_process(self) -> None:
        process = await self.command("worker", "agent.py", "--grace", "0.1")
        await self.until(lambda: bool(self.server.sessions))
        run = self.server.start("hangs")
        await self.until(lambda: any(record.attempt for record in run.segment.records))
        process.terminate()
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        self.assertEqual(process.returncode, 0)
        self.assertIn("1 executions did not end within 0.1 s and are left behind", err.decode())

    async def test_what_a_file_offers(self) -> None:
        process = await self.command("worker", "agent.py", "--check")
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        self.assertEqual(
            out.decode(),
            "agent redirect-and-refund\nagent waits\nagent hangs\nagent mails\n"
            "tool shop/find_order (read)\ntool post/was_mailed (read)\ntool post/mail (once)\n",
        )

    async def test_mistakes(self) -> None:
        for arguments, status, message in (
            (("worker", "missing.py"), 2, "no file `missing.py`"),
            (("worker", "missing"), 2, "no module `missing`"),
            (("worker", "agent.py", "--url", "ftp://x"), 2, "`ftp://x` is no server's address"),
        ):
            process = await self.command(*arguments)
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            self.assertEqual(process.returncode, status, err)
            self.assertIn(message, err.decode())
            self.assertNotIn("Traceback", err.decode())


class HttpClient(Harness):
    async def test_runs_are_started_and_awaited(self) -> None:
        @nx.agent
        async def double(n: int) -> int:
            if n < 0:
                raise nx.NonRetryable("negative")
            await nx.sleep("1s")
            return 2 * n

        await self.work()
        client = nx.Client(self.url)

        def ask() -> None:
            self.assertEqual(client.run("double", {"n": 4}), 8)
            one = client.start(double, {"n": 5}, key="five")
            self.assertEqual(client.start("double", {"n": 5}, key="five"), one)
            self.assertEqual(client.result(one), 10)
            view = client.get(one)
            self.assertEqual((view.id, view.status, view.agent, view.ended), (one, "completed", "double", True))
            with self.assertRaisesRegex(nx.RunFailed, "NonRetryable: negative"):
                client.run("double", {"n": -1})
            with self.assertRaises(nx.ApiError) as caught:
                client.start("unknown")
            self.assertEqual((caught.exception.status, caught.exception.code), (404, "NX-RUN-0017"))
            with self.assertRaises(nx.NotJson):
                client.start("double", {"n": float("nan")})

        await asyncio.get_running_loop().run_in_executor(None, ask)

    async def test_a_timeout(self) -> None:
        @nx.agent
        async def waits() -> None:
            await nx.signal("never")

        await self.work()
        client = nx.Client(self.url)

        def ask() -> None:
            with self.assertRaisesRegex(TimeoutError, "is still running"):
                client.run("waits", timeout=0.01)

        await asyncio.get_running_loop().run_in_executor(None, ask)
