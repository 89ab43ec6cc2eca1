"""What the peers' scripts share: the clock, the CPU of processes, the one JSON line per figure."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Optional

TICKS = os.sysconf("SC_CLK_TCK")


def figure(name: str, value: float, unit: str, **config: Any) -> None:
    """Prints one figure, in the form of `neuraxis bench`."""
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "config": config}), flush=True)


def cpu_seconds(pid: Optional[int] = None) -> float:
    """CPU seconds, user and system, that a process has used; this one by default."""
    if pid is None:
        return time.process_time()
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def seconds() -> float:
    """How long one case is measured."""
    return float(os.environ.get("BENCH_SECONDS", "8"))


class Meter:
    """Counts steps between `begin` and `report`; the steps of the warm-up before do not count."""

    def __init__(self, name: str, pids: Optional[Dict[str, int]] = None, **config: Any) -> None:
        self.name, self.config, self.pids = name, config, pids or {}
        self.steps = 0
        self.until = 0.0

    def begin(self) -> None:
        self.steps = 0
        self.cpu = {"driver": cpu_seconds(), **{who: cpu_seconds(pid) for who, pid in self.pids.items()}}
        self.began = time.monotonic()
        self.until = self.began + seconds()

    def going(self) -> bool:
        return time.monotonic() < self.until

    def report(self) -> None:
        took, steps = time.monotonic() - self.began, max(self.steps, 1)
        used = {"driver": cpu_seconds(), **{who: cpu_seconds(pid) for who, pid in self.pids.items()}}
        each = {who: round((used[who] - self.cpu[who]) / steps * 1e6, 1) for who in used}
        if self.pids:
            each.pop("driver")  # it only asks and waits
            self.config["cpu_us_by_process"] = each
        figure(self.name, self.steps / took, "steps/s", **self.config)
        figure(self.name + ".cpu_us", sum(each.values()), "us/step", **self.config)


@contextmanager
def durable_sqlite() -> Iterator[None]:
    """Every connection opened within syncs each commit to disk, as ours does."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connect_durably(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    sqlite3.connect = connect_durably  # type: ignore[assignment]
    try:
        yield
    finally:
        sqlite3.connect = connect


def pragmas(path: str) -> Dict[str, Any]:
    """How a database is kept: its journal mode, and its size with the write-ahead log checkpointed."""
    with sqlite3.connect(path) as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return {"journal_mode": mode}


def folder_bytes(folder: str) -> int:
    """The size of all files below a folder, with its SQLite databases checkpointed."""
    for path in Path(folder).glob("*.db"):
        sqlite_bytes(str(path))
    files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return sum(os.path.getsize(file) for file in files if not file.endswith("-shm"))


def sqlite_bytes(path: str) -> int:
    """The database's size after a WAL checkpoint."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(os.path.getsize(path + end) for end in ("", "-wal") if os.path.exists(path + end))


def cases(default: Iterable[int] = (1, 8, 64)) -> Iterable[int]:
    """How many runs go on at once, case by case."""
    chosen = os.environ.get("BENCH_RUNS")
    return [int(part) for part in chosen.split(",")] if chosen else default
