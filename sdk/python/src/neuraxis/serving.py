"""`nx.serve`: the worker's main. Settings come from arguments, else from NEURAXIS_URL, NEURAXIS_TOKEN and
NEURAXIS_NAMESPACE."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Any, Optional

from . import _logging
from ._registry import Registry, registry
from ._worker import Worker
from .errors import UsageError

DEFAULT_URL = "http://127.0.0.1:7700"

log = logging.getLogger("neuraxis")


def settings(url: Optional[str], token: Optional[str]) -> "tuple[str, Optional[str]]":
    """The server's address and the token to use."""
    return url or os.environ.get("NEURAXIS_URL") or DEFAULT_URL, token or os.environ.get("NEURAXIS_TOKEN") or None


def serve(
    url: Optional[str] = None,
    token: Optional[str] = None,
    *,
    namespace: Optional[str] = None,
    runs: int = 64,
    threads: int = 64,
    grace: float = 20.0,
    log_level: int = logging.INFO,
) -> None:
    """Serves this process's agents and tools until SIGTERM or Ctrl-C.

    `runs` is how many runs are executed at once, `threads` how many sync steps; `grace` is how many seconds executions
    have to end when the worker stops. Raises `TurnedAway` if the server does not want this worker."""
    asyncio.run(
        serve_async(url, token, namespace=namespace, runs=runs, threads=threads, grace=grace, log_level=log_level)
    )


async def serve_async(
    url: Optional[str] = None,
    token: Optional[str] = None,
    *,
    namespace: Optional[str] = None,
    runs: int = 64,
    threads: int = 64,
    grace: float = 20.0,
    log_level: int = logging.INFO,
    declarations: Registry = registry,
    signals: bool = True,
) -> None:
    """The same within a running event loop. `signals=False` leaves SIGTERM and SIGINT alone: cancel the task to end."""
    if not declarations.agents and not declarations.tools:
        raise UsageError("nothing to serve: import the modules with your `@nx.agent` and `@nx.tool` functions first")
    address, secret = settings(url, token)
    worker = Worker(
        declarations,
        address,
        secret,
        namespace=namespace or os.environ.get("NEURAXIS_NAMESPACE") or None,
        runs=runs,
        threads=threads,
        grace=grace,
    )
    handler = _logging.attach(log_level)
    installed = _install(worker) if signals else []
    try:
        await _until_stopped(worker)
    finally:
        for number in installed:
            worker.loop.remove_signal_handler(number)
        logging.getLogger().removeHandler(handler)


async def _until_stopped(worker: Worker) -> None:
    serving = asyncio.ensure_future(worker.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        worker.stop()
        await serving
        raise


def _install(worker: Worker) -> "list[Any]":
    installed = []
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            worker.loop.add_signal_handler(number, worker.stop)
            installed.append(number)
        except (NotImplementedError, RuntimeError, ValueError):
            pass  # Windows, or not the main thread
    return installed
