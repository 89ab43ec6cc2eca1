"""Ours beside the peers: the Python SDK's worker against `neuraxis up`. Server and worker are processes of their own;
this driver only starts runs and waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Tuple

import measure

STEPS = 100
WARM_UP = 20


def worker(url: str) -> None:
    import logging

    import neuraxis as nx

    logging.disable(logging.INFO)

    @nx.step
    async def add(n: int) -> int:
        return n + 1

    @nx.agent
    async def count(until: int) -> int:
        n = 0
        while n < until:
            n = await add(n)
        return n

    @nx.step
    async def say(messages: List[str]) -> List[str]:
        return [*messages, os.urandom(512).hex()]

    @nx.agent
    async def talk(until: int) -> int:
        messages: List[str] = []
        while len(messages) < until:
            messages = await say(messages)
        return len(messages)

    nx.serve(url)


def durable_steps(runs: int, url: str, pids: Dict[str, int]) -> None:
    import neuraxis as nx

    meter = measure.Meter(f"neuraxis.python.c{runs}", pids, sdk="python", runs=runs)
    client = nx.Client(url, timeout=60)
    lock = threading.Lock()

    def one(steps: int) -> None:
        client.result(client.start("count", {"until": steps}))
        with lock:
            meter.steps += steps

    def runner() -> None:
        while meter.going():
            one(STEPS)

    one(WARM_UP)
    meter.begin()
    threads = [threading.Thread(target=runner) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.report()


def growing_messages(url: str, messages: int = 200, size: int = 1024) -> Callable[[str, int], None]:
    """A list of messages that each step gets and returns one longer: what it takes on disk, once the server has ended."""
    import neuraxis as nx

    client = nx.Client(url, timeout=60)
    client.result(client.start("talk", {"until": messages}))

    def report(folder: str, before: int) -> None:
        took = (measure.folder_bytes(folder) - before) / (messages * size)
        measure.figure("neuraxis.growing_messages", took, "x content", messages=messages, bytes_each=size)

    return report


def main() -> None:
    binary = os.environ["BENCH_NEURAXIS"]
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        with processes(binary, os.path.join(folder, "steps")) as (url, pids):
            for runs in measure.cases():
                durable_steps(runs, url, pids)
        talk = os.path.join(folder, "talk")
        with processes(binary, talk):
            pass
        before = measure.folder_bytes(talk)
        with processes(binary, talk) as (url, pids):
            report = growing_messages(url)
        report(talk, before)


@contextmanager
def processes(binary: str, data: str) -> Iterator[Tuple[str, Dict[str, int]]]:
    """A server and a worker; the server ends in good order, so that its log is checkpointed."""
    up = [binary, "up", "--listen", "127.0.0.1:0", "--data", data]
    server = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    started: List["subprocess.Popen[Any]"] = [server]
    try:
        assert server.stdout is not None
        url = next(line.split()[1] for line in server.stdout if line.startswith("ready "))
        started.append(subprocess.Popen([sys.executable, os.path.abspath(__file__), "worker", url]))
        yield url, {"server": server.pid, "worker": started[1].pid}
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    sys.exit(worker(sys.argv[2]) if sys.argv[1:2] == ["worker"] else main())
