"""CPU of a worker process per step: against the server at NEURAXIS_URL, else against the reference server of the tests
in another process.

    python bench/steps.py [STEPS] [RUNS...]      # one JSON object a line
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import neuraxis as nx  # noqa: E402


@nx.step
async def async_code(n: int) -> int:
    return n + 1


@nx.step
def sync_code(n: int) -> int:
    return n + 1


@nx.step(effect="idempotent")
def sync_idempotent(n: int, *, key: nx.Key) -> int:
    return n + 1


@nx.step(effect="idempotent")
async def async_idempotent(n: int, *, key: nx.Key) -> int:
    return n + 1


STEPS = {step.name: step for step in (async_code, sync_code, async_idempotent, sync_idempotent)}


@nx.agent
async def many(step: str, steps: int) -> int:
    chosen: Any = STEPS[step]
    n = 0
    for _ in range(steps):
        n = await chosen(n)
    return n


@nx.agent
def many_sync(step: str, steps: int) -> int:
    chosen: Any = STEPS[step]
    n = 0
    for _ in range(steps):
        n = chosen(n)
    return n


def serve_reference(pipe: Any) -> None:
    """The server's process."""
    from reference.clock import LoopClock
    from reference.server import Server
    from reference.transport import Listener

    async def main() -> None:
        listener = Listener(Server(LoopClock()))
        pipe.send(await listener.start())
        await asyncio.sleep(3600)

    asyncio.run(main())


def measure(client: nx.Client, agent: str, step: str, steps: int, runs: int) -> None:
    each = max(1, steps // runs)
    cpu, wall = time.process_time(), time.perf_counter()
    started = [client.start(agent, {"step": step, "steps": each}) for _ in range(runs)]
    for run in started:
        client.result(run)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    value = round(cpu / (each * runs) * 1e6, 1)
    config = {
        "agent": agent,
        "step": step,
        "runs": runs,
        "steps": each * runs,
        "steps_per_s": round(each * runs / wall),
    }
    print(json.dumps({"name": "python.worker.cpu", "value": value, "unit": "us/step", "config": config}), flush=True)


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    levels = [int(text) for text in sys.argv[2:]] or [1, 8, 64]
    logging.disable(logging.INFO)
    url = os.environ.get("NEURAXIS_URL", "")
    server = None
    if not url:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve_reference, args=(theirs,), daemon=True)
        server.start()
        url = ours.recv()

    async def work() -> None:
        serving = asyncio.ensure_future(nx.serve_async(url, signals=False))
        client = nx.Client(url, timeout=60)
        await asyncio.sleep(0.3)
        for agent in ("many", "many-sync"):
            for step in STEPS:
                for runs in levels:
                    await asyncio.to_thread(measure, client, agent, step, steps, runs)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    try:
        asyncio.run(work())
    finally:
        if server is not None:
            server.terminate()


if __name__ == "__main__":
    main()
