"""Where the calling code stands: its run, its branch (scope), and whether it executes a step.

One flow is one sequential line of an agent: the agent's own body, or one branch of a gather. All fields of a flow
are changed by the event loop's thread, but for `busy` and `waiter`, which belong to the flow's own code.
What this module must not do: speak to the server.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Set, Union

from .errors import Cancelled, Dropped, UsageError
from .options import RunInfo

if TYPE_CHECKING:
    from ._session import Session
    from ._worker import Worker

Waiter = Union["asyncio.Future[Dict[str, Any]]", "concurrent.futures.Future[Dict[str, Any]]"]


class Run:
    """One incarnation of a run, executed here."""

    __slots__ = (
        "id",
        "inc",
        "agent",
        "worker",
        "session",
        "live",
        "flows",
        "info",
        "phase",
        "reason",
        "input",
        "state",
    )

    def __init__(self, worker: "Worker", session: "Session", start: Dict[str, Any]) -> None:
        self.id: str = start["run"]
        self.inc: int = start["inc"]
        self.agent: str = start["agent"]
        self.worker = worker
        self.session = session
        self.live: bool = start["live"]
        self.input: Any = start.get("input")
        self.state: Any = start.get("state")
        self.flows: Set[Flow] = set()
        # active → cancelling → ended, or → dropped
        self.phase = "active"
        self.reason = ""
        self.info = RunInfo(
            id=self.id,
            incarnation=self.inc,
            agent=self.agent,
            key=start.get("key"),
            deadline=start.get("deadline"),
            traceparent=start.get("traceparent"),
            recorded=start.get("recorded", 0),
        )

    def cancel(self, reason: str) -> None:
        """Raises `Cancelled` in every flow: at once where it waits, else after the execution under way."""
        if self.phase != "active":
            return
        self.phase = "cancelling"
        self.reason = reason
        for flow in list(self.flows):
            flow.stop(lambda: Cancelled(reason))

    def drop(self) -> None:
        """Ends this incarnation here. Executions under way go on; their outcomes are sent late."""
        if self.phase in ("ended", "dropped"):
            return
        self.phase = "dropped"
        for flow in list(self.flows):
            flow.stop(Dropped, force=True)


class Flow:
    """One sequential line of an agent's code."""

    __slots__ = ("run", "scope", "head", "busy", "stopped", "waiter", "executing", "gathers", "task")

    def __init__(self, run: Run, scope: str) -> None:
        self.run = run
        self.scope = scope
        escaped = scope.replace("\\", "\\\\").replace('"', '\\"')
        self.head = f'"run":"{run.id}","inc":{run.inc}' + (f',"scope":"{escaped}"' if scope else "")
        self.busy = False
        self.stopped: Optional[Callable[[], BaseException]] = None
        self.waiter: Optional[Waiter] = None
        self.executing = False
        self.gathers = 0
        self.task: Optional["asyncio.Task[Any]"] = None
        run.flows.add(self)
        if run.phase == "cancelling":
            self.stopped = lambda: Cancelled(run.reason)
        elif run.phase != "active":
            self.stopped = Dropped

    def enter(self) -> Run:
        """Begins a call. One flow makes one call at a time: only so is the order of calls the program's."""
        if self.stopped is not None:
            raise self.stopped()
        if self.busy:
            raise UsageError(
                "two calls at once in one branch have no fixed order; write `await nx.gather(a(…), b(…))`, "
                "which gives each its own branch"
            )
        self.busy = True
        return self.run

    def leave(self) -> None:
        """Ends a call."""
        self.waiter = None
        self.busy = False

    def stop(self, error: Callable[[], BaseException], force: bool = False) -> None:
        """Raises an error in the flow: now if it waits (or `force`), else when its execution has ended."""
        self.stopped = error
        waiter = self.waiter
        if waiter is not None:
            if (force or not self.executing) and not waiter.done():
                waiter.set_exception(error())
        elif self.task is not None and not self.busy:
            self.task.cancel()

    def execution_ended(self) -> None:
        """An execution on behalf of the flow's call has ended and its outcome is on its way."""
        self.executing = False
        if self.stopped is not None and self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(self.stopped())


@dataclass(frozen=True)
class Execution:
    """The step, tool, probe or undo that the calling code executes."""

    worker: "Worker"
    run: str
    inc: int
    call: Optional[int]
    name: str


flow_here: "contextvars.ContextVar[Optional[Flow]]" = contextvars.ContextVar("neuraxis_flow", default=None)
execution_here: "contextvars.ContextVar[Optional[Execution]]" = contextvars.ContextVar(
    "neuraxis_execution", default=None
)


def current_flow(what: str) -> Flow:
    """The flow of the calling code, or an error that says how to call `what` instead."""
    execution = execution_here.get()
    if execution is not None:
        raise UsageError(
            f"{what} was called while step `{execution.name}` executes: a replay would skip it; call it from the agent"
        )
    flow = flow_here.get()
    if flow is None:
        raise UsageError(
            f"{what} was called outside of an agent; call it from a function under `@nx.agent`, or, to execute a "
            "step's function directly, `.function(…)`"
        )
    return flow


def run_info() -> RunInfo:
    """The run that the calling code belongs to."""
    flow = flow_here.get()
    if flow is None:
        raise UsageError("`nx.run_info()` was called outside of an agent")
    return flow.run.info
