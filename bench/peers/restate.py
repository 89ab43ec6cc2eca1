"""Restate, one node: a handler that awaits one `ctx.run` after the other. The server and the service are processes of
their own, and their CPU is counted; this driver only sends the requests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any, Dict, List

import measure

STEPS = 50
WARM_UP = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", "accept": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def patiently(url: str, body: Any, patience: float = 60.0) -> Any:
    """Asks until the process on the other side is ready."""
    until = time.monotonic() + patience
    while True:
        try:
            return post(url, body)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


async def ask(host: str, port: int, path: str, body: Any) -> Any:
    """One HTTP request on a connection of its own: the run is 50 steps, so this hardly counts."""
    reader, writer = await asyncio.open_connection(host, port)
    data = json.dumps(body).encode()
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n".encode() + data
    )
    answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(answer.decode(errors="replace"))
    return json.loads(content)


async def durable_steps(runs: int, ingress: int, pids: Dict[str, int], version: str) -> None:
    meter = measure.Meter(f"peer.restate.c{runs}", pids, restate=version, runs=runs)

    async def one(steps: int) -> None:
        await ask("127.0.0.1", ingress, "/bench/count", steps)
        meter.steps += steps

    async def runner() -> None:
        while meter.going():
            await one(STEPS)

    await one(WARM_UP)
    meter.begin()
    await asyncio.gather(*(runner() for _ in range(runs)))
    meter.report()


def main() -> None:
    modules = os.environ["BENCH_NODE_MODULES"]
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(modules, "@restatedev/restate-server/package.json"), encoding="utf-8") as package:
        version = json.load(package)["version"]
    binary = os.path.join(modules, "@restatedev/restate-server-linux-x64/bin/restate-server")
    started: List[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        node, ingress, admin, service = (free_port() for _ in range(4))
        environment = {
            **os.environ,
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            "RESTATE_LOG_FILTER": "error",
        }
        log = open(os.path.join(folder, "server.log"), "wb")
        try:
            server = [binary, "--node-name", "bench", "--base-dir", os.path.join(folder, "data")]
            started.append(subprocess.Popen(server, env=environment, stdout=log, stderr=log))
            script = os.path.join(here, "..", "restate", "service.mjs")
            copied = os.path.join(os.path.dirname(modules), "service.mjs")
            with open(script, "rb") as source, open(copied, "wb") as target:
                target.write(source.read())
            started.append(subprocess.Popen(["node", copied, str(service)], stdout=log, stderr=log))
            patiently(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"})
            patiently(f"http://127.0.0.1:{ingress}/bench/count", 1)
            pids = {"server": started[0].pid, "service": started[1].pid}
            for runs in measure.cases():
                asyncio.run(durable_steps(runs, ingress, pids, version))
        finally:
            for process in started:
                process.send_signal(signal.SIGKILL)
                process.wait()
            log.close()


if __name__ == "__main__":
    sys.exit(main())
