"""DBOS with its SQLite system database: a workflow that awaits one step after the other, each recorded before the
next begins."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from importlib.metadata import version

from dbos import DBOS, DBOSConfig

import measure

STEPS = 50
WARM_UP = 5

meter = measure.Meter("")


@DBOS.step()
async def add(n: int) -> int:
    meter.steps += 1
    return n + 1


@DBOS.workflow()
async def count(steps: int) -> int:
    n = 0
    while n < steps:
        n = await add(n)
    return n


async def durable_steps(runs: int, path: str) -> None:
    meter.name = f"peer.dbos.c{runs}"
    meter.config = {"dbos": version("dbos"), "database": "SQLite", "runs": runs, "synchronous": "FULL"}
    meter.config.update(measure.pragmas(path))

    async def runner() -> None:
        while meter.going():
            await count(STEPS)

    await count(WARM_UP)
    meter.begin()
    await asyncio.gather(*(runner() for _ in range(runs)))
    meter.report()


async def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder, measure.durable_sqlite():
        path = os.path.join(folder, "dbos.db")
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": f"sqlite:///{path}",
            "log_level": "ERROR",
            "application_version": "1",
            "executor_id": "bench",
        }
        DBOS(config=config)
        DBOS.launch()
        try:
            for runs in measure.cases():
                await durable_steps(runs, path)
        finally:
            DBOS.destroy()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
