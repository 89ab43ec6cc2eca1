"""Step requests: from the record, by a grant, or by the server itself."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .records import OVER, Record

if TYPE_CHECKING:
    from .server import Run, Server, Session


class Steps:
    """The part of the server that answers `step`, `done`, `probed`, `late` and `tool_done`."""

    def _on_step(self: "Server", session: "Session", step: Dict[str, Any]) -> None:
        run = self._current(session, step)
        if run is None:
            return
        call = step["call"]
        if call in session.calls or len(session.calls) >= self.credit:
            self._refuse(session, call, f"call {call} is in use or over the credit of {self.credit}")
            return
        if "args" in step:
            step["args"] = self.incoming(step["args"])
        if "input" in step:
            step["input"] = self.incoming(step["input"])
        outcome = step.get("outcome")
        if outcome and "ok" in outcome:
            outcome["ok"] = self.incoming(outcome["ok"])
        record, changed, occurrence = run.replay.find(step)
        if record is not None and changed:
            policy = step.get("on_change") or ("ask" if record.effect == "once" else "rerun")
            if policy == "fail":
                run.replay.consumed.add(record.n)
                self._refuse(session, call, "the arguments changed")
                return
            if policy == "ask" and record.state in OVER:
                self._attach(run, record, session, call)
                record.step = {**step, "occurrence": occurrence}
                self._ask(run, record, "changed")
                return
            record.superseded = True
            revision = record.revision + 1
            record = None
        else:
            revision = 0
        if record is None:
            once_left = [
                r
                for r in run.segment.records
                if r.effect == "once" and r.n not in run.replay.consumed and not r.superseded
            ]
            record = run.segment.add(step, occurrence)
            record.revision = revision
            self._attach(run, record, session, call)
            if once_left and record.effect == "once":
                self._ask(run, record, "new_once")
                return
            self._begin(run, record, outcome)
            return
        record.step = {**step, "args": record.step.get("args")} if "args" in record.step else step
        self._attach(run, record, session, call)
        self._resume(run, record, outcome)

    def _attach(self: "Server", run: "Run", record: Record, session: "Session", call: int) -> None:
        run.replay.consumed.add(record.n)
        run.callers[record.n] = (session, call)
        session.calls[call] = (run, record)

    def _resume(self: "Server", run: "Run", record: Record, outcome: Optional[Dict[str, Any]]) -> None:
        """Answers from the record, or goes on where the last incarnation was."""
        if record.state in OVER:
            self._answer(run, record, reused=True)
        elif record.state == "new":
            self._begin(run, record, outcome)
        elif (record.n, record.attempt) in run.elsewhere:
            self._wait(run, record, "elsewhere")
        elif record.state == "waiting":
            self._wait_for(run, record)
        elif record.kind == "tool" and record.state != "in_doubt":
            self._wait(run, record, "tool")
        elif record.effect == "once":
            record.state = "in_doubt"
            self._doubt(run, record)
        elif record.state == "in_doubt":
            self._doubt(run, record)
        else:
            self._grant(run, record)

    # ---- beginning ----

    def _begin(self: "Server", run: "Run", record: Record, outcome: Optional[Dict[str, Any]]) -> None:
        step = record.step
        approve = step.get("approve")
        if approve and not record.approved and record.kind != "approval" and over(approve, record.args):
            record.approval = f"a_{record.n}"
            record.state = "waiting"
            record.asks = "call"
            self.approvals[record.approval] = (run, record)
            self._wait(run, record, "approval", record.approval)
            return
        if record.kind == "code":
            if outcome is not None and record.effect in ("code", "read") and not approve:
                record.attempt = 1
                self._outcome(run, record, outcome)
            else:
                self._grant(run, record)
        elif record.kind == "tool":
            self._dispatch(run, record)
        else:
            self._perform(run, record)

    def _grant(self: "Server", run: "Run", record: Record) -> None:
        caller = run.callers.get(record.n)
        record.state = "started"
        if caller is None:
            return
        record.attempt += 1
        session, call = caller
        self.executions.append((run.id, record.name, record.attempt))
        frame: Dict[str, Any] = {"t": "execute", "call": call, "grant": record.grant()}
        if record.effect in ("idempotent", "once"):
            frame["idempotency_key"] = self.key_of(run, record)
        if record.edited is not None:
            frame["args"] = self.outgoing(record.edited)
        if "timeout_ms" in record.step:
            frame["timeout_ms"] = record.step["timeout_ms"]
        session.send(frame)

    def _dispatch(self: "Server", run: "Run", record: Record) -> None:
        """Hands a tool call to a worker that serves it."""
        serving = next((s for s in self.sessions if s.tool(record.name) is not None), None)
        if serving is None:
            record.state = "started"
            self._wait(run, record, "tool")
            return
        record.state = "started"
        record.attempt += 1
        record.toolset_session = serving
        record.effect = (serving.tool(record.name) or {}).get("effect", "once")
        call = next(self._calls)
        serving.tools[call] = lambda outcome: self._outcome(run, record, outcome)
        toolset, _, tool = record.name.partition("/")
        frame = {
            "t": "tool",
            "call": call,
            "run": run.id,
            "grant": record.grant(),
            "toolset": toolset,
            "tool": tool,
            "args": self.outgoing(record.args),
        }
        if record.effect in ("idempotent", "once"):
            frame["idempotency_key"] = self.key_of(run, record)
        serving.send(frame)

    def _redispatch_tools(self: "Server") -> None:
        for run in self.runs.values():
            for record in run.segment.records:
                lost = record.toolset_session is None or not record.toolset_session.open
                if record.kind == "tool" and record.state == "started" and lost:
                    if (record.n, record.attempt) in run.elsewhere:
                        continue
                    if record.effect == "once" and record.attempt:
                        record.state = "in_doubt"
                        self._doubt(run, record)
                    else:
                        self._dispatch(run, record)

    def _perform(self: "Server", run: "Run", record: Record) -> None:
        """What the server does by itself."""
        kind, step = record.kind, record.step
        if kind == "now":
            self._complete(run, record, int(self.clock.now_ms))
        elif kind == "random":
            self._complete(run, record, random.random())
        elif kind == "uuid":
            self._complete(run, record, str(uuid.uuid4()))
        elif kind == "emit":
            self.events.append((record.name, record.args))
            self._complete(run, record, {"origin": "reference", "seq": len(self.events)})
        else:
            record.state = "waiting"
            if kind == "sleep":
                record.until = self.clock.now_ms + step["ms"]
                self.clock.later(step["ms"], lambda: self._due(run, record, None))
            elif kind == "signal":
                waiting = run.signals.get(record.name)
                if waiting:
                    self._complete(run, record, waiting.pop(0))
                    return
                if "within_ms" in step:
                    record.until = self.clock.now_ms + step["within_ms"]
                    self.clock.later(step["within_ms"], lambda: self._due(run, record, None))
            elif kind == "approval":
                record.approval = f"a_{record.n}"
                self.approvals[record.approval] = (run, record)
            elif kind == "child":
                child = self.start(step["agent"], step.get("input"), key=f"{run.id}/{record.n}")
                record.child = child.id
                child.on_end.append(lambda ended: self._child_ended(run, record, ended))
            self._wait_for(run, record)
            if kind == "infer":
                answer = self.models.get(record.name)
                if answer is not None:
                    self._complete(run, record, answer)
                    return
                message = f"there is no model `{record.name}`"
                self._fail(run, record, {"name": "InferenceFailed", "message": message, "retryable": False})

    def _due(self: "Server", run: "Run", record: Record, value: Any) -> None:
        if record.state == "waiting":
            self._complete(run, record, value)

    def _child_ended(self: "Server", run: "Run", record: Record, child: "Run") -> None:
        if child.status == "completed":
            self._complete(run, record, child.result)
        else:
            self._fail(run, record, child.error or {"name": "ChildCancelled", "message": "the child run was cancelled"})

    def _wait_for(self: "Server", run: "Run", record: Record) -> None:
        if record.asks:
            self._wait(run, record, "approval" if record.asks == "call" else "ask", record.approval)
        else:
            self._wait(run, record, "model" if record.kind == "infer" else record.kind, record.approval)

    def _wait(self: "Server", run: "Run", record: Record, why: str, approval: Optional[str] = None) -> None:
        caller = run.callers.get(record.n)
        if caller is None:
            return
        frame: Dict[str, Any] = {"t": "wait", "call": caller[1], "why": why}
        if approval is not None:
            frame["approval"] = approval
        caller[0].send(frame)

    # ---- outcomes ----

    def _on_done(self: "Server", session: "Session", frame: Dict[str, Any]) -> None:
        entry = session.calls.get(frame["call"])
        if entry is None or entry[1] is None or entry[1].state != "started":
            self._refuse(session, frame["call"], f"call {frame['call']} was not granted")
            return
        self._outcome(entry[0], entry[1], frame["outcome"])

    def _on_tool_done(self: "Server", session: "Session", frame: Dict[str, Any]) -> None:
        then = session.tools.pop(frame["call"], None)
        if then is None:
            self._refuse(session, frame["call"], f"tool call {frame['call']} was not granted")
            return
        then(frame["outcome"])

    def _on_late(self: "Server", session: "Session", frame: Dict[str, Any]) -> None:
        run = self.runs.get(frame["run"])
        grant = frame["grant"]
        record = None if run is None else run.segment.by_number(grant["step"])
        if run is not None and record is not None and record.attempt == grant["attempt"]:
            run.elsewhere.discard((grant["step"], grant["attempt"]))
            if record.state in ("started", "in_doubt"):
                self._outcome(run, record, frame["outcome"])
        session.send({"t": "late_taken", "run": frame["run"], "grant": grant})

    def _outcome(self: "Server", run: "Run", record: Record, outcome: Dict[str, Any]) -> None:
        if "ok" in outcome:
            self._complete(run, record, self.incoming(outcome["ok"]))
            return
        error, policy = outcome["error"], record.policy()
        final = (
            error.get("retryable") is False
            or error["name"] in policy["non_retryable"]
            or record.attempt >= policy["attempts"]
            or (record.effect == "once" and error.get("retryable") is not True)
        )
        if final:
            self._fail(run, record, error)
            return
        wait = min(policy["max_ms"], policy["initial_ms"] * policy["factor"] ** (record.attempt - 1))
        wait = max(wait, error.get("retry_after_ms", 0))
        record.state = "started"
        self._wait(run, record, "retry")

        def again() -> None:
            if record.state == "started" and record.kind == "tool":
                self._dispatch(run, record)
            elif record.state == "started" and record.n in run.callers:
                self._grant(run, record)

        self.clock.later(wait, again)

    def _complete(self: "Server", run: "Run", record: Record, value: Any) -> None:
        record.state, record.value = "completed", value
        record.completed_at = next(self._completions)
        self._answer(run, record)

    def _fail(self: "Server", run: "Run", record: Record, error: Dict[str, Any]) -> None:
        record.state, record.error = "failed", error
        self._answer(run, record)

    def _answer(self: "Server", run: "Run", record: Record, reused: bool = False) -> None:
        caller = run.callers.pop(record.n, None)
        if caller is None:
            return
        session, call = caller
        session.calls.pop(call, None)
        frame: Dict[str, Any] = {"call": call}
        if record.state == "completed":
            frame.update(t="result", value=self.outgoing(record.value))
            if run.replay.live:
                frame["live"] = True
        else:
            frame.update(t="error", error=record.error)
        if reused:
            frame["reused"] = True
        session.send(frame)

    # ---- doubt and people ----

    def _doubt(self: "Server", run: "Run", record: Record) -> None:
        caller = run.callers.get(record.n)
        if caller is None:
            return
        if record.step.get("probe"):
            caller[0].send(
                {
                    "t": "probe",
                    "call": caller[1],
                    "grant": record.grant(),
                    "idempotency_key": self.key_of(run, record),
                    "args": self.outgoing(record.args),
                }
            )
        elif record.kind == "tool" and self._probe_by_tool(run, record):
            return
        else:
            self._ask(run, record, "in_doubt")

    def _probe_by_tool(self: "Server", run: "Run", record: Record) -> bool:
        """Asks the tool that the toolset names as probe; False if there is none."""
        toolset, _, tool = record.name.partition("/")
        serving = next((s for s in self.sessions if s.tool(record.name) is not None), None)
        probe = None if serving is None else (serving.tool(record.name) or {}).get("probe")
        if serving is None or probe is None:
            return False
        call = next(self._calls)
        serving.tools[call] = lambda outcome: self._found(run, record, outcome.get("ok", "unknown"))
        key = self.key_of(run, record)
        serving.send(
            {
                "t": "tool",
                "call": call,
                "run": run.id,
                "grant": record.grant(),
                "toolset": toolset,
                "tool": probe,
                "args": {"args": self.outgoing(record.args), "idempotency_key": key},
                "idempotency_key": key,
            }
        )
        return True

    def _found(self: "Server", run: "Run", record: Record, found: Any) -> None:
        if isinstance(found, dict):
            self._complete(run, record, found["done"])
        elif found == "not_done":
            self._dispatch(run, record) if record.kind == "tool" else self._grant(run, record)
        else:
            self._ask(run, record, "in_doubt")

    def _ask(self: "Server", run: "Run", record: Record, why: str) -> None:
        record.asks = why
        record.approval = f"a_{record.n}"
        self.approvals[record.approval] = (run, record)
        self._wait(run, record, "ask", record.approval)

    def _on_probed(self: "Server", session: "Session", frame: Dict[str, Any]) -> None:
        entry = session.calls.get(frame["call"])
        if entry is None or entry[1] is None or entry[1].state != "in_doubt":
            self._refuse(session, frame["call"], f"call {frame['call']} was not asked to probe")
            return
        self._found(entry[0], entry[1], frame["found"])

    def decide(
        self: "Server",
        approval: str,
        decision: str,
        *,
        by: str = "lead",
        reason: str = "",
        args: Any = None,
        value: Any = None,
    ) -> None:
        """A person's decision: `approve` or `deny`; on doubtful, changed or new steps `complete`, `reuse`, `rerun`,
        `not_done` or `fail`."""
        run, record = self.approvals.pop(approval)
        why, record.asks = record.asks, ""
        if record.kind == "approval":
            answer = {"approved": decision == "approve", "by": by, "reason": reason, "args": args or record.args}
            self._complete(run, record, answer)
        elif decision == "deny":
            self._fail(run, record, {"name": "ApprovalDenied", "message": reason, "retryable": False})
        elif why == "call":
            record.approved = True
            record.edited = args
            record.state = "new"
            self._begin(run, record, None)
        elif decision == "complete":
            self._complete(run, record, value)
        elif decision == "reuse":
            self._answer(run, record, reused=True)
        elif decision == "fail":
            self._fail(run, record, {"name": "Ruled", "message": reason})
        else:
            record.revision += 1 if why == "changed" else 0
            self._grant(run, record)

    def pending(self: "Server") -> List[str]:
        """The approvals that wait."""
        return list(self.approvals)


def over(approve: Dict[str, Any], args: Any) -> bool:
    """Whether the conditions of an approval ask for it."""
    limits = approve.get("over")
    if not limits:
        return True
    for name, limit in limits.items():
        value = args.get(name) if isinstance(args, dict) else None
        if not isinstance(value, (int, float)) or value > limit:
            return True
    return False
