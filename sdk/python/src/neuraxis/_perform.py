"""Performs one call of an agent: executes ahead where the protocol allows it, asks the server, waits for the answer.

The same operation serves async agents (a coroutine on the worker's loop) and sync ones (a thread that blocks).
What this module must not do: decide whether a step runs; that is the server's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import random
import time
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from ._flow import Execution, Flow, Waiter, current_flow, execution_here
from ._json import Reviver, encode
from .errors import MESSAGE_MAX, Dropped, Refused, UsageError, step_failed, to_wire

if TYPE_CHECKING:
    from ._function import Function
    from ._session import Session

Outcome = Tuple[str, str]
"""`("ok", JSON text)` or `("error", JSON text)`."""


class Operation:
    """What is asked of the server, and how to execute it here if the server says so."""

    __slots__ = (
        "name",
        "head",
        "value",
        "tail",
        "frame",
        "function",
        "args",
        "effect",
        "ahead",
        "outcome",
        "revive",
        "probe",
        "timeout_ms",
    )

    def __init__(
        self,
        name: str,
        head: str,
        value: Optional[Tuple[str, str]] = None,
        tail: str = "",
        frame: str = "step",
        revive: Optional[Reviver] = None,
    ) -> None:
        self.name = name
        self.head = head
        self.value = value
        self.tail = tail
        self.frame = frame
        self.revive = revive
        self.function: Optional["Function"] = None
        self.args: Dict[str, Any] = {}
        self.effect = "code"
        self.ahead = False
        self.outcome: Optional[Outcome] = None
        self.probe: Optional["Function"] = None
        self.timeout_ms: Optional[int] = None

    def text(self, call: int, flow: Flow, value: Optional[str] = None, outcome: Optional[str] = None) -> str:
        """The frame. `value` and `outcome` replace large values by references to blobs."""
        parts = [f'{{"t":"{self.frame}","call":{call},{flow.head}{self.head}']
        if self.value is not None:
            parts.append(f',"{self.value[0]}":{self.value[1] if value is None else value}')
        if self.tail:
            parts.append(self.tail)
        if self.outcome is not None:
            kind, text = self.outcome
            parts.append(f',"outcome":{{"{kind}":{text if outcome is None else outcome}}}')
        parts.append("}")
        return "".join(parts)


class Call:
    """An operation under way on one connection."""

    __slots__ = ("number", "operation", "flow", "waiter", "context", "granted")

    def __init__(self, number: int, operation: Operation, flow: Flow, waiter: Waiter) -> None:
        self.number = number
        self.operation = operation
        self.flow = flow
        self.waiter = waiter
        self.context: Optional[contextvars.Context] = None
        self.granted: Optional[Tuple[str, int, int]] = None


def call(operation: Operation, what: str) -> Any:
    """Performs an operation for the calling code: its value in sync code, an awaitable of it in async code."""
    flow = current_flow(what)
    loop = asyncio._get_running_loop()
    if loop is None:
        return perform_blocking(flow, operation)
    if loop is flow.run.worker.loop:
        return perform(operation, what)
    return _perform_elsewhere(flow, operation)


async def perform(operation: Operation, what: str) -> Any:
    """Performs an operation on the worker's loop, in the flow of the awaiting code."""
    flow = current_flow(what)
    run = flow.enter()
    refusals = 0
    try:
        while True:
            session = run.session
            number = session.next_call()
            if operation.ahead and run.live and operation.outcome is None:
                operation.outcome = await _execute_ahead(operation, number, flow)
                if flow.stopped is not None:
                    raise flow.stopped()
            waiter: "asyncio.Future[Dict[str, Any]]" = run.worker.loop.create_future()
            flow.waiter = waiter
            entry = Call(number, operation, flow, waiter)
            if operation.function is not None and operation.outcome is None:
                entry.context = contextvars.copy_context()
            session.begin(entry)
            try:
                answer = await waiter
            finally:
                flow.waiter = None
                if waiter.done() and not waiter.cancelled():
                    waiter.exception()  # looked at, even if the task is cancelled in the same turn of the loop
            if answer["t"] == "refused":
                await asyncio.sleep(_refused(operation, session, entry, answer["problem"], refusals))
                refusals += 1
                continue
            return _value(operation, answer)
    finally:
        flow.leave()


def perform_blocking(flow: Flow, operation: Operation) -> Any:
    """Performs an operation from a sync agent's own thread."""
    run = flow.enter()
    refusals = 0
    try:
        while True:
            session = run.session
            number = session.next_call()
            if operation.ahead and run.live and operation.outcome is None:
                operation.outcome = _execute_ahead_blocking(operation, number, flow)
            waiter: "concurrent.futures.Future[Dict[str, Any]]" = concurrent.futures.Future()
            flow.waiter = waiter
            entry = Call(number, operation, flow, waiter)
            entry.context = contextvars.copy_context()
            try:
                run.worker.loop.call_soon_threadsafe(session.begin, entry)
            except RuntimeError:  # the loop is closed: the worker has shut down
                raise Dropped() from None
            answer = waiter.result()
            flow.waiter = None
            if answer["t"] == "refused":
                time.sleep(_refused(operation, session, entry, answer["problem"], refusals))
                refusals += 1
                continue
            return _value(operation, answer)
    finally:
        flow.leave()


async def _perform_elsewhere(flow: Flow, operation: Operation) -> Any:
    """Sync agents may run an event loop of their own: the call then blocks a thread beside it."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, perform_blocking, flow, operation)


def _value(operation: Operation, answer: Dict[str, Any]) -> Any:
    if answer["t"] == "error":
        raise step_failed(operation.name, answer["error"])
    value = answer.get("value")
    return value if operation.revive is None else operation.revive(value)


def _refused(operation: Operation, session: "Session", entry: Call, problem: Dict[str, Any], refusals: int) -> float:
    """How many seconds to wait before the same call is made again; raises if it must not be."""
    if not problem.get("retryable", False):
        raise Refused(operation.name, problem)
    if entry.granted is not None:
        # Executed, and not recorded: only another incarnation can tell what the record holds.
        session.worker.loop.call_soon_threadsafe(session.give_back, entry.flow.run)
        raise Dropped()
    return min(5.0, 0.1 * 2.0 ** min(refusals, 6)) * random.uniform(0.5, 1.0)


async def _execute_ahead(operation: Operation, number: int, flow: Flow) -> Outcome:
    """Executes a code or read step before asking: the run's record holds nothing that could answer it."""
    function = operation.function
    assert function is not None
    execution = Execution(flow.run.worker, flow.run.id, flow.run.inc, number, operation.name)
    if not function.is_async:
        context = contextvars.copy_context()
        context.run(execution_here.set, execution)
        work: "asyncio.Future[Outcome]" = flow.run.worker.loop.create_future()
        tell = flow.run.worker.loop.call_soon_threadsafe

        def execute() -> None:
            outcome = context.run(_outcome_of, function, operation.args, operation.name)
            try:
                tell(_set, work, outcome)
            except RuntimeError:
                pass  # shut down

        flow.run.worker.pool.submit(execute)
        if operation.timeout_ms is None:
            return await work
        return await _within(work, operation.timeout_ms)
    token = execution_here.set(execution)
    try:
        if operation.timeout_ms is not None:
            return await _within(
                asyncio.ensure_future(outcome_of_async(function, operation.args, operation.name)), operation.timeout_ms
            )
        return await outcome_of_async(function, operation.args, operation.name)
    finally:
        execution_here.reset(token)


def _set(work: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not work.done():
        work.set_result(outcome)


async def _within(work: "asyncio.Future[Outcome]", timeout_ms: int) -> Outcome:
    try:
        finished, _ = await asyncio.wait({work}, timeout=timeout_ms / 1000)
    except asyncio.CancelledError:
        work.cancel()
        raise
    if finished:
        return work.result()
    work.cancel()
    return timed_out(timeout_ms)


def _execute_ahead_blocking(operation: Operation, number: int, flow: Flow) -> Outcome:
    function = operation.function
    assert function is not None
    worker = flow.run.worker
    execution = Execution(worker, flow.run.id, flow.run.inc, number, operation.name)
    token = execution_here.set(execution)
    try:
        timeout = None if operation.timeout_ms is None else operation.timeout_ms / 1000
        work: "concurrent.futures.Future[Outcome]"
        if function.is_async:
            work = asyncio.run_coroutine_threadsafe(
                outcome_of_async(function, operation.args, operation.name, execution), worker.loop
            )
        elif timeout is None:
            return _outcome_of(function, operation.args, operation.name)
        else:
            context = contextvars.copy_context()
            work = concurrent.futures.Future()
            ended = work.set_result
            worker.pool.submit(lambda: ended(context.run(_outcome_of, function, operation.args, operation.name)))
        try:
            return work.result(timeout)
        except concurrent.futures.TimeoutError:
            work.cancel()
            return timed_out(operation.timeout_ms or 0)
    finally:
        execution_here.reset(token)


def _outcome_of(function: "Function", args: Dict[str, Any], name: str, key: Optional[str] = None) -> Outcome:
    """Executes a sync function; what came of it."""
    try:
        value = function.invoke(args, key)
    except BaseException as error:  # `sys.exit()` in a thread would else vanish, and the call never end
        return failure(error)
    return success(value, name)


outcome_of = _outcome_of


async def outcome_of_async(
    function: "Function",
    args: Dict[str, Any],
    name: str,
    execution: Optional[Execution] = None,
    key: Optional[str] = None,
) -> Outcome:
    """Executes an async function; what came of it."""
    if execution is not None:
        execution_here.set(execution)
    try:
        value = await function.invoke(args, key)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # `sys.exit()` would else end the worker
        return failure(error)
    return success(value, name)


def success(value: Any, name: str) -> Outcome:
    """The outcome of a value; an error if it can't be recorded."""
    try:
        return "ok", encode(value, f"the result of `{name}`")
    except TypeError as error:
        return value_refused(error)


def value_refused(error: BaseException) -> Outcome:
    """The outcome of an execution that took place and whose value can't be recorded: of an effect `once`, the server
    then takes it as in doubt, not as failed."""
    return "error", encode(
        {"name": "ValueRefused", "message": str(error)[:MESSAGE_MAX], "retryable": False}, "the error"
    )


def failure(error: BaseException, with_traceback: bool = True) -> Outcome:
    """The outcome of an exception."""
    wire = to_wire(error, with_traceback)
    try:
        return "error", encode(wire, "the error")
    except TypeError:
        return "error", encode({"name": wire["name"], "message": wire["message"]}, "the error")


def timed_out(timeout_ms: int) -> Outcome:
    """The outcome of an attempt that took too long."""
    message = f"the attempt took longer than {timeout_ms} ms"
    return "error", encode({"name": "Timeout", "message": message}, "the error")


def not_in_async(what: str) -> None:
    """Raises if the calling thread runs an event loop, which a blocking call would stop."""
    if asyncio._get_running_loop() is not None:
        raise UsageError(f"{what} blocks and was called from async code; await the call without `.sync`")
