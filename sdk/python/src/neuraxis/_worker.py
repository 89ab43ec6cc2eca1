"""The worker of a process: keeps one connection to the server, executes runs, reconnects for ever, stops in good order.

What this module must not do: hold state that a run needs: all of that is the server's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import random
import secrets
import threading
from typing import Any, Awaitable, Callable, Coroutine, Dict, Optional, Set
from urllib.parse import urlsplit, urlunsplit

from ._blobs import Blobs, is_large, reference
from ._flow import Flow, Run, flow_here
from ._grants import Grants
from ._json import encode
from ._perform import failure
from ._pool import Pool
from ._registry import Registry
from ._session import Session, handshake
from ._version import __version__
from ._wire import HandshakeRefused, Wire
from .agents import Agent, InputError
from .errors import Carried, Dropped, TurnedAway, UsageError, to_wire

log = logging.getLogger("neuraxis")

BACKOFF_FIRST, BACKOFF_MAX = 0.1, 5.0


class Worker:
    """Serves the agents and tools of a registry to a server."""

    def __init__(
        self,
        registry: Registry,
        url: str,
        token: Optional[str],
        *,
        namespace: Optional[str] = None,
        runs: int = 64,
        threads: int = 64,
        grace: float = 20.0,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.registry = registry
        self.connect_url, base = addresses(url)
        self.token = token
        self.namespace = namespace
        self.capacity = runs
        self.grace = grace
        self.id = f"w_{secrets.token_hex(8)}"
        self.pool = Pool(threads, "neuraxis-step")
        self.transfers = concurrent.futures.ThreadPoolExecutor(4, "neuraxis-blob")
        self.grants = Grants(self)
        self.blobs = Blobs(self, base, token)
        self.runs: Dict[str, Run] = {}
        self.session: Optional[Session] = None
        self.goodbye: Optional[Dict[str, Any]] = None
        self.draining = False
        self.on_connected: Callable[[], None] = lambda: None
        self._thread = threading.get_ident()
        self._tasks: "Set[asyncio.Task[Any]]" = set()
        self._lost: Optional[asyncio.Event] = None
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._logs_dropped = 0

    # ---- the connection ----

    async def serve(self) -> None:
        """Serves until `stop`, or until the server turns the worker away."""
        wait = BACKOFF_FIRST
        try:
            while not self._stop.is_set():
                self.goodbye = None
                if await self._serve_once():
                    wait = BACKOFF_FIRST
                if self._stop.is_set():
                    return
                pause = self._pause_after_goodbye(wait)
                wait = min(wait * 2, BACKOFF_MAX)
                try:
                    await asyncio.wait_for(self._stop.wait(), pause * random.uniform(0.5, 1.0))
                except asyncio.TimeoutError:
                    pass
        finally:
            for task in list(self._tasks):
                task.cancel()
            self.pool.close()
            self.transfers.shutdown(wait=False)

    async def _serve_once(self) -> bool:
        """One connection from its handshake to its end; whether it came to a session."""
        self._lost = asyncio.Event()
        try:
            wire = await Wire.open(self.connect_url, self.token)
        except HandshakeRefused as error:
            if error.status in (401, 403):
                raise TurnedAway(
                    {"code": f"HTTP-{error.status}", "detail": f"{error}; check the token (NEURAXIS_TOKEN)"}
                ) from None
            log.warning("the server at %s answers %s; trying again", self.connect_url, error)
            return False
        except Exception as error:  # refused, unknown host, TLS, no WebSocket there: all may pass
            log.warning("no connection to %s (%s); trying again", self.connect_url, error or type(error).__name__)
            return False
        try:
            session = await handshake(self, wire)
        except (ConnectionError, asyncio.TimeoutError, ValueError, KeyError) as error:
            wire.abort("the handshake failed")
            log.warning("no session with %s (%s)", self.connect_url, error or type(error).__name__)
            return False
        if wire.is_lost:
            session.lost("connection closed")
        log.info("connected to %s as %s", self.connect_url, self.id)
        self.on_connected()
        stopping = asyncio.ensure_future(self._stop.wait())
        lost = asyncio.ensure_future(self._lost.wait())
        await asyncio.wait({stopping, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not lost.done():
            await self._drain(session)
            wire.close()
        stopping.cancel()
        lost.cancel()
        return True

    def _pause_after_goodbye(self, wait: float) -> float:
        if self.goodbye is None:
            return wait
        retry_ms = self.goodbye.get("retry_ms")
        if retry_ms is None:
            raise TurnedAway(self.goodbye.get("problem", {}))
        return max(wait, float(retry_ms) / 1000)

    def hello(self) -> Dict[str, Any]:
        """The first frame."""
        hello: Dict[str, Any] = {
            "t": "hello",
            "protocol": [1],
            "sdk": f"neuraxis-python/{__version__}",
            "worker": self.id,
            **self.registry.offers(),
            "runs": self.capacity,
        }
        if self.namespace is not None:
            hello["namespace"] = self.namespace
        executing = self.grants.executing()
        if executing:
            hello["executing"] = executing
        return hello

    def session_opened(self, session: Session) -> None:
        """After `welcome`: tells what ended while there was no connection."""
        self.session = session
        self.grants.connected(session)

    def session_lost(self, session: Session, reason: str) -> None:
        """The connection is gone: drops its incarnations, keeps its executions."""
        if self.session is session:
            self.session = None
        if not self._stop.is_set():
            log.warning("connection lost (%s); %d runs go on as new incarnations", reason, len(self.runs))
        self.grants.session_lost(session)
        for run in list(self.runs.values()):
            if run.session is session:
                run.drop()
                del self.runs[run.id]
        self._changed.set()
        if self._lost is not None:
            self._lost.set()

    def stop(self) -> None:
        """Ends `serve`: executions end, runs are given back. Asked a second time, it does not wait any more."""
        if self._stop.is_set():
            self.grace = 0.0
            self._changed.set()
        self._stop.set()

    async def _drain(self, session: Session) -> None:
        """Gives every run back: at once if it only waits, else when its execution has ended, at most `grace` later."""
        self.draining = True
        began = self.loop.time()
        while session.open:
            for run in list(self.runs.values()):
                if not self.grants.of_run(run.id):
                    session.give_back(run)
            left = began + self.grace - self.loop.time()
            if (not self.runs and not self.grants.busy()) or left <= 0:
                break
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                pass
        if self.grants.busy():
            log.warning("%d executions did not end within %g s and are left behind", self.grants.busy(), self.grace)
        for run in list(self.runs.values()):
            session.give_back(run)

    def run_gone(self) -> None:
        """A run or an execution has ended."""
        self._changed.set()

    def spawn(self, work: "Coroutine[Any, Any, None]") -> None:
        """Runs a task of the worker's own, kept until it ends."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), Dropped):
            log.error("a task of the worker failed", exc_info=task.exception())

    def send_soon(self, frame: Dict[str, Any]) -> None:
        """Sends a frame that may be lost (heartbeats, logs), from any thread."""
        try:
            if threading.get_ident() == self._thread:
                self._send_lossy(frame)
            else:
                self.loop.call_soon_threadsafe(self._send_lossy, frame)
        except RuntimeError:
            pass  # shut down

    def _send_lossy(self, frame: Dict[str, Any]) -> None:
        session = self.session
        if session is None or not session.open:
            return
        if session.wire.paused:
            self._logs_dropped += 1
            return
        if self._logs_dropped and frame["t"] == "log":
            frame["message"] = f"[{self._logs_dropped} lines dropped before this one] {frame['message']}"
            self._logs_dropped = 0
        session.send(frame)

    # ---- runs ----

    def start_run(self, session: Session, start: Dict[str, Any]) -> None:
        """Executes a run from its top."""
        known = self.runs.get(start["run"])
        if known is not None:
            if known.inc >= start["inc"]:
                return
            session.forget(known)
        run = Run(self, session, start)
        self.runs[run.id] = run
        agent = self.registry.agents.get(run.agent)
        if self.draining or agent is None:
            if agent is None:
                log.error("the server started agent `%s`, which this worker does not have", run.agent)
            session.give_back(run)
            return
        self.spawn(self._execute(run, agent))

    async def _execute(self, run: Run, agent: Agent[Any]) -> None:
        try:
            for field in ("input", "state"):
                blob = reference(getattr(run, field))
                if blob is not None:
                    setattr(run, field, await self.blobs.fetch(run.id, blob))
            value = await self._enter(run, agent)
            if run.phase == "active":
                text = encode(value, f"the result of agent `{agent.name}`")
                await self._finish(run, "complete", "result", text)
        except Dropped:
            pass
        except asyncio.CancelledError:
            if run.phase == "active":
                error = RuntimeError("the agent's own code cancelled it")
                await self._finish(run, "fail", "error", failure(error)[1])
        except Exception as error:
            if run.phase == "active":
                if not isinstance(error, InputError):
                    log.warning("run %s failed: %s: %s", run.id, type(error).__name__, error)
                await self._finish(run, "fail", "error", encode(to_wire(error), "the error"))
        if run.phase == "cancelling":
            run.phase = "ended"
            run.session.send({"t": "stopped", "run": run.id, "inc": run.inc})

    async def _enter(self, run: Run, agent: Agent[Any]) -> Any:
        """Calls the agent, again after each `carry`."""
        while True:
            arguments = agent.arguments(run.input, run.state)
            flow = Flow(run, "")
            context = contextvars.copy_context()
            context.run(flow_here.set, flow)
            if agent.callee.is_async:
                flow.task = context.run(self.loop.create_task, _contained(agent.callee.invoke(arguments)))
                work: "asyncio.Future[Any]" = flow.task
            else:
                work = self._in_thread(run, context, agent, arguments)
            work.add_done_callback(_looked_at)
            try:
                await asyncio.wait({work})
                return work.result()
            except Carried as carried:
                run.state = carried.state
            finally:
                run.flows.discard(flow)

    def _in_thread(
        self, run: Run, context: contextvars.Context, agent: Agent[Any], arguments: Dict[str, Any]
    ) -> "asyncio.Future[Any]":
        """Sync agents have a thread each: they block in it while they wait."""
        ended: "asyncio.Future[Any]" = self.loop.create_future()

        def set_ended(value: Any, error: Optional[BaseException]) -> None:
            if not ended.done():
                if error is None:
                    ended.set_result(value)
                elif isinstance(error, (StopIteration, SystemExit, KeyboardInterrupt)):
                    ended.set_exception(RuntimeError(f"the agent raised {type(error).__name__}"))
                else:
                    ended.set_exception(error)

        def body() -> None:
            value, error = None, None
            try:
                value = context.run(agent.callee.invoke, arguments)
            except BaseException as raised:
                error = raised
            try:
                self.loop.call_soon_threadsafe(set_ended, value, error)
            except RuntimeError:
                pass  # shut down

        threading.Thread(target=body, name=f"neuraxis-{run.id}", daemon=True).start()
        return ended

    async def _finish(self, run: Run, kind: str, field: str, text: str) -> None:
        """Tells the end of a run; the server answers by `closed`."""
        if is_large(text):
            text = await self.blobs.upload(run.id, text)
        if run.phase == "active":
            run.phase = "ended"
            if run.session.open:
                run.session.wire.send(f'{{"t":"{kind}","run":"{run.id}","inc":{run.inc},"{field}":{text}}}'.encode())


async def _contained(agent: "Awaitable[Any]") -> Any:
    """An agent whose `sys.exit()` fails its run, instead of ending the worker."""
    try:
        return await agent
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the agent raised {type(error).__name__}") from error


def _looked_at(work: "asyncio.Future[Any]") -> None:
    """An agent that was dropped may end after nobody waits for it any more: that is no error."""
    if not work.cancelled():
        work.exception()


def addresses(url: str) -> "tuple[str, str]":
    """From a server's address: where workers connect, and the base of its HTTP API."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    schemes = {"http": ("ws", "http"), "ws": ("ws", "http"), "https": ("wss", "https"), "wss": ("wss", "https")}
    if parts.scheme not in schemes or not parts.netloc:
        raise UsageError(f"`{url}` is no server's address; write `http://127.0.0.1:7700`")
    socket, http = schemes[parts.scheme]
    path = parts.path.rstrip("/")
    if path.endswith("/api/workers/connect"):
        path = path[: -len("/api/workers/connect")]
    base = urlunsplit((http, parts.netloc, path, "", ""))
    return urlunsplit((socket, parts.netloc, f"{path}/api/workers/connect", "", "")), base
