"""Executions that the server permitted: of steps, tools and undo functions. They outlive the connection that granted
them: what ends after it is told as `late`, until the server has taken it. What this module must not do: execute
anything without a grant, or one grant twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple

from ._blobs import reference
from ._flow import Execution, execution_here, flow_here
from ._function import Function
from ._perform import Call, Outcome, failure, outcome_of, outcome_of_async, timed_out
from ._session import Session, outcome_frame
from .errors import NonRetryable, UsageError
from .options import UNKNOWN, Found

if TYPE_CHECKING:
    from ._worker import Worker

log = logging.getLogger("neuraxis")

Name = Tuple[str, int, int]
"""Run, step, attempt."""

# How the server calls tools that undo, and tools that probe.
_ENVELOPES = ({"args", "result"}, {"args", "idempotency_key"})

TOOL_OUTCOMES_KEPT = 256
"""Outcomes of tools that were sent and have no acknowledgement: told again after a reconnection."""


class Grant:
    """One permission to execute, and what came of it."""

    __slots__ = ("name", "call", "inc", "session", "answer", "effect", "outcome", "task", "on_end", "listed")

    def __init__(self, name: Name, call: int, inc: int, session: Session, answer: str, effect: str) -> None:
        self.name = name
        self.call = call
        self.inc = inc
        self.session: Optional[Session] = session
        self.answer = answer  # `done` or `tool_done`
        self.effect = effect
        self.outcome: Optional[Outcome] = None
        self.task: Optional["asyncio.Task[Any]"] = None
        self.on_end: Optional[Callable[[], None]] = None
        self.listed = True

    def wire(self) -> Dict[str, Any]:
        """As `hello.executing` and `late` name it."""
        return {"run": self.name[0], "grant": {"step": self.name[1], "attempt": self.name[2]}}


class Grants:
    """The grants of a worker that the server has not settled."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._grants: Dict[Name, Grant] = {}
        self._sent_tools: Dict[Name, Grant] = {}

    # ---- over reconnections ----

    def executing(self) -> List[Dict[str, Any]]:
        """For `hello`: what still executes here, or has ended without the server knowing."""
        return [grant.wire() for grant in (*self._grants.values(), *self._sent_tools.values()) if grant.listed]

    def connected(self, session: Session) -> None:
        """Tells what ended in the meantime."""
        for grant in (*self._grants.values(), *self._sent_tools.values()):
            if grant.outcome is not None:
                self._send_late(session, grant)

    def session_lost(self, session: Session) -> None:
        """Keeps what may have changed the world, drops plain code."""
        for grant in list(self._grants.values()):
            if grant.session is session:
                self._detach(grant)
        for grant in self._sent_tools.values():
            if grant.session is session:
                grant.session = None

    def run_closed(self, run: str, inc: int, session: Session, recorded: bool) -> None:
        """The incarnation is over. If its end is not recorded, outcomes that may have crossed are told as `late`."""
        for grant in list(self._grants.values()):
            if grant.name[0] != run or grant.inc != inc or grant.answer != "done":
                continue
            if recorded and grant.outcome is not None:
                del self._grants[grant.name]
                continue
            self._detach(grant)
            if grant.outcome is not None:
                self._send_late(session, grant)

    def _detach(self, grant: Grant) -> None:
        grant.session = None
        grant.on_end = None
        if grant.effect == "code" or not grant.listed:
            self._grants.pop(grant.name, None)
            if grant.task is not None:
                grant.task.cancel()

    def on_late_taken(self, frame: Dict[str, Any]) -> None:
        """The server has recorded a late outcome, or has no use for it."""
        name = (frame["run"], frame["grant"]["step"], frame["grant"]["attempt"])
        self._grants.pop(name, None)
        self._sent_tools.pop(name, None)

    def settled(self, name: Name) -> None:
        """The server has answered to an outcome: it is recorded."""
        self._grants.pop(name, None)

    def of_run(self, run: str) -> int:
        """How many executions for a run have not ended."""
        return sum(1 for grant in self._grants.values() if grant.name[0] == run and grant.outcome is None)

    def busy(self) -> int:
        """How many executions have not ended."""
        return sum(1 for grant in self._grants.values() if grant.outcome is None)

    # ---- steps ----

    def execute(self, session: Session, call: Call, frame: Dict[str, Any]) -> None:
        """A step may be executed once."""
        operation, run = call.operation, call.flow.run
        name = (run.id, frame["grant"]["step"], frame["grant"]["attempt"])
        if name in self._grants:
            log.warning("grant %s was given twice; executing it once", name)
            return
        if call.granted is not None:
            self.settled(call.granted)
        call.granted = name
        grant = Grant(name, call.number, run.inc, session, "done", operation.effect)
        self._grants[name] = grant
        if operation.function is None or call.waiter.done() or call.flow.stopped is not None:
            self._end(grant, failure(NonRetryable("the agent no longer waits for this step"), with_traceback=False))
            return
        call.flow.executing = True
        grant.on_end = call.flow.execution_ended
        operation.outcome = None
        execution = Execution(self._worker, run.id, run.inc, call.number, operation.name)
        context = call.context or contextvars.copy_context()
        timeout = frame.get("timeout_ms", operation.timeout_ms)
        if frame.get("args") is None:
            self._launch(
                grant, operation.function, operation.args, frame.get("idempotency_key"), context, execution, timeout
            )
        else:
            self._worker.spawn(self._execute_edited(grant, operation.function, frame, context, execution, timeout))

    async def _execute_edited(
        self,
        grant: Grant,
        function: Function,
        frame: Dict[str, Any],
        context: contextvars.Context,
        execution: Execution,
        timeout: Optional[int],
    ) -> None:
        """A person changed the arguments, or another worker called: they arrive as JSON."""
        try:
            given = await self._fetched(grant.name[0], frame["args"])
            if isinstance(given, dict) and frame["t"] == "tool" and given.keys() in _ENVELOPES:
                args = select(function, given["args"], given.get("result"), given.get("idempotency_key"))
            else:
                args = function.revive(given)
        except Exception as error:
            self._end(grant, failure(NonRetryable(str(error)), with_traceback=False))
            return
        self._launch(grant, function, args, frame.get("idempotency_key"), context, execution, timeout)

    def _launch(
        self,
        grant: Grant,
        function: Function,
        args: Dict[str, Any],
        key: Optional[str],
        context: contextvars.Context,
        execution: Execution,
        timeout_ms: Optional[int],
    ) -> None:
        loop, worker = self._worker.loop, self._worker
        name = execution.name
        if function.is_async:
            grant.task = context.run(loop.create_task, self._run_async(grant, function, args, key, execution))
        else:

            def run() -> None:
                execution_here.set(execution)
                outcome = outcome_of(function, args, name, key)
                try:
                    loop.call_soon_threadsafe(self._end, grant, outcome)
                except RuntimeError:
                    log.warning("step `%s` ended after the worker had shut down; its outcome is lost", name)

            # A copy: the agent's thread may be inside the context already.
            inside = context.copy()
            worker.pool.submit(lambda: inside.run(run))
        if timeout_ms is not None and (function.is_async or grant.effect != "once"):
            # A thread can't be stopped. Of an attempt of `once` that goes on in one, the outcome is still awaited:
            # the server's own clock puts it in doubt meanwhile.
            loop.call_later(timeout_ms / 1000, self._too_long, grant, timeout_ms)

    async def _run_async(
        self, grant: Grant, function: Function, args: Dict[str, Any], key: Optional[str], execution: Execution
    ) -> None:
        try:
            outcome = await outcome_of_async(function, args, execution.name, execution, key)
        except asyncio.CancelledError:
            if grant.outcome is None:
                self._end(grant, failure(RuntimeError("the execution was cancelled"), with_traceback=False))
            raise
        self._end(grant, outcome)

    def _too_long(self, grant: Grant, timeout_ms: int) -> None:
        if grant.outcome is None and grant.name in self._grants:
            self._end(grant, timed_out(timeout_ms))
            if grant.task is not None:
                grant.task.cancel()

    def _end(self, grant: Grant, outcome: Outcome) -> None:
        """An execution has ended: tells the server now, or as `late` once it is connected again."""
        if grant.outcome is not None or self._grants.get(grant.name) is not grant:
            return
        grant.outcome = outcome
        session = self._worker.session
        if session is not None and session.open:
            if grant.session is session:
                self._send(session, f'{{"t":"{grant.answer}","call":{grant.call}', grant)
            else:
                self._send_late(session, grant)
        if grant.answer == "tool_done":
            del self._grants[grant.name]
            if grant.listed:
                self._sent_tools[grant.name] = grant
            if len(self._sent_tools) > TOOL_OUTCOMES_KEPT:
                self._sent_tools.pop(next(iter(self._sent_tools)))
        if grant.on_end is not None:
            grant.on_end()
            grant.on_end = None
        self._worker.run_gone()

    def _send(self, session: Session, head: str, grant: Grant) -> None:
        assert grant.outcome is not None
        data = outcome_frame(head, grant.outcome)
        if data is None:
            self._worker.spawn(session.send_outcome(head, grant.name[0], grant.outcome))
        else:
            session.wire.send(data)

    def _send_late(self, session: Session, grant: Grant) -> None:
        run, step, attempt = grant.name
        self._send(session, f'{{"t":"late","run":"{run}","grant":{{"step":{step},"attempt":{attempt}}}', grant)

    async def _fetched(self, run: str, value: Any) -> Any:
        blob = reference(value)
        return value if blob is None else await self._worker.blobs.fetch(run, blob)

    # ---- probes ----

    async def probe(self, session: Session, call: Call, frame: Dict[str, Any]) -> None:
        """Did a call that is in doubt take place?"""
        run = call.flow.run
        found = UNKNOWN
        function = call.operation.probe
        if function is not None:
            try:
                args = await self._fetched(run.id, frame["args"])
                execution = Execution(self._worker, run.id, run.inc, call.number, call.operation.name)
                answer = await self._invoke(function, args, None, frame.get("idempotency_key"), execution)
                if isinstance(answer, Found):
                    found = answer
                elif answer is not None:
                    raise UsageError(
                        f"probe `{function.name}` returned a `{type(answer).__name__}`; return `nx.done(result)`, "
                        "`nx.NOT_DONE` or `nx.UNKNOWN`"
                    )
            except Exception:
                log.exception("the probe of step `%s` failed; a person is asked", call.operation.name)
        if session.open:
            try:
                session.send({"t": "probed", "call": call.number, "found": found})
            except TypeError:
                log.exception("what the probe of step `%s` found can't be recorded", call.operation.name)
                session.send({"t": "probed", "call": call.number, "found": UNKNOWN})

    async def _invoke(
        self, function: Function, args: Mapping[str, Any], result: Any, key: Optional[str], execution: Execution
    ) -> Any:
        """Calls a probe or undo function with what it takes of arguments and result."""
        named = select(function, args, result)
        if function.is_async:
            execution_here.set(execution)
            return await function.invoke(named, key)
        context = contextvars.copy_context()
        context.run(execution_here.set, execution)
        return await self._worker.loop.run_in_executor(self._worker.transfers, context.run, function.invoke, named, key)

    # ---- tools and undo ----

    def on_tool(self, frame: Dict[str, Any]) -> None:
        """A tool that this worker serves is called."""
        toolset, tool = frame["toolset"], frame["tool"]
        declared = self._worker.registry.tool(toolset, tool)
        grant = self._server_grant(frame, declared.effect if declared is not None else "code")
        if grant is None:
            return
        if declared is None:
            error = NonRetryable(f"this worker serves no tool `{toolset}/{tool}`")
            self._end(grant, failure(error, with_traceback=False))
            return
        execution = Execution(self._worker, grant.name[0], 0, None, f"{toolset}/{tool}")
        self._worker.spawn(
            self._execute_edited(grant, declared.callee, frame, _outside_of_flows(), execution, frame.get("timeout_ms"))
        )

    def on_undo(self, frame: Dict[str, Any]) -> None:
        """A step is to be undone by a function of an agent's code."""
        grant = self._server_grant(frame, "idempotent")
        if grant is not None:
            self._worker.spawn(self._undo(grant, frame))

    async def _undo(self, grant: Grant, frame: Dict[str, Any]) -> None:
        run = grant.name[0]
        try:
            function = self._worker.registry.undo_function(frame["agent"], frame["function"])
            args = await self._fetched(run, frame["args"])
            result = await self._fetched(run, frame["result"])
            named = select(function, args, result)
        except Exception as error:
            self._end(grant, failure(NonRetryable(str(error)), with_traceback=False))
            return
        execution = Execution(self._worker, run, 0, None, function.name)
        self._launch(grant, function, named, frame["idempotency_key"], _outside_of_flows(), execution, None)

    def _server_grant(self, frame: Dict[str, Any], effect: str) -> Optional[Grant]:
        name = (frame["run"], frame["grant"]["step"], frame["grant"]["attempt"])
        session = self._worker.session
        if session is None:
            return None
        # `code` would be dropped with the connection; a tool is a call into the outside.
        grant = Grant(name, frame["call"], 0, session, "tool_done", "read" if effect == "code" else effect)
        if name in self._grants:
            # A probe is called under the grant that is in doubt, which may still execute here: it changes nothing and
            # is not told late.
            grant.name = (name[0], name[1], -frame["call"])
            grant.listed = False
        self._grants[grant.name] = grant
        return grant


def _outside_of_flows() -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(flow_here.set, None)
    return context


def select(function: Function, args: Any, result: Any, key: Optional[str] = None) -> Dict[str, Any]:
    """What a probe or undo function takes: `args` is all arguments, `result` the step's result, `idempotency_key` the
    key of the call in doubt, any other name one argument of the step."""
    given = args if isinstance(args, dict) else {}
    named: Dict[str, Any] = {}
    for name in function.names:
        if name == "args":
            named[name] = args
        elif name == "result":
            named[name] = result
        elif name in given:
            named[name] = given[name]
        elif name == "idempotency_key" and key is not None:
            named[name] = key
        elif name in function.required:
            raise UsageError(
                f"`{function.name}` takes `{name}`, which is neither an argument of the step nor `args` or `result`"
            )
        elif name in function.defaults:
            named[name] = function.defaults[name]
    return {
        name: function.revivers[name](value) if name in function.revivers else value for name, value in named.items()
    }
