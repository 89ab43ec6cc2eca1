"""Sessions, runs and grants: what each frame of a worker leads to."""

from __future__ import annotations

import base64
import hashlib
import itertools
from typing import Any, Callable, Dict, List, Optional, Tuple

from .records import Record, Replay, Segment
from .steps import Steps

FIELDS = {
    "hello": {"protocol", "sdk", "worker", "namespace", "agents", "toolsets", "runs", "executing"},
    "done": {"call", "outcome"},
    "probed": {"call", "found"},
    "late": {"run", "grant", "outcome"},
    "heartbeat": {"run", "inc", "call", "name", "detail"},
    "carry": {"call", "run", "inc", "state"},
    "complete": {"run", "inc", "result"},
    "fail": {"run", "inc", "error"},
    "stopped": {"run", "inc"},
    "release": {"run", "inc"},
    "tool_done": {"call", "outcome"},
    "log": {"run", "inc", "call", "name", "level", "message"},
    "step": {
        "call",
        "run",
        "inc",
        "scope",
        "name",
        "key",
        "was",
        "kind",
        "effect",
        "args",
        "probe",
        "key_window_ms",
        "ms",
        "within_ms",
        "agent",
        "input",
        "on_change",
        "retry",
        "timeout_ms",
        "undo",
        "approve",
        "outcome",
    },
}


class Session:
    """One worker's connection."""

    def __init__(self, server: "Server", send: Callable[[Dict[str, Any]], None]) -> None:
        self.server = server
        self.send = send
        self.hello: Optional[Dict[str, Any]] = None
        self.open = True
        self.calls: Dict[int, "tuple[Run, Optional[Record]]"] = {}
        self.tools: Dict[int, Callable[[Dict[str, Any]], None]] = {}

    def offers_agent(self, name: str) -> bool:
        """Whether the worker can execute an agent."""
        return self.hello is not None and any(agent["name"] == name for agent in self.hello.get("agents", []))

    def tool(self, path: str) -> Optional[Dict[str, Any]]:
        """The worker's declaration of a tool, if it serves it."""
        toolset, _, tool = path.partition("/")
        for offer in (self.hello or {}).get("toolsets", []):
            if offer["name"] == toolset:
                for entry in offer["tools"]:
                    if entry["name"] == tool:
                        return dict(entry)
        return None


class Run:
    """A run of an agent."""

    def __init__(self, name: str, agent: str, value: Any, key: Optional[str]) -> None:
        self.id = name
        self.agent = agent
        self.input = value
        self.key = key
        self.state: Any = None
        self.inc = 0
        self.status = "queued"  # queued, running, compensating, parked, completed, failed, cancelled
        self.segment = Segment()
        self.replay = Replay(self.segment)
        self.session: Optional[Session] = None
        self.result: Any = None
        self.error: Optional[Dict[str, Any]] = None
        self.signals: Dict[str, List[Any]] = {}
        self.callers: Dict[int, Tuple[Session, int]] = {}  # record → who waits for it
        self.elsewhere: "set[tuple[int, int]]" = set()
        self.cancelling: Optional[str] = None
        self.orphans = 0
        self.ends_as = ""
        self.undoing: Optional[Session] = None
        self.on_end: List[Callable[["Run"], None]] = []

    @property
    def ended(self) -> bool:
        """Whether the run has come to an end."""
        return self.status in ("completed", "failed", "cancelled")


class Server(Steps):
    """The rules, in memory."""

    def __init__(self, clock: Any, *, credit: int = 256, lease_ms: int = 10_000) -> None:
        self.clock = clock
        self.credit = credit
        self.lease_ms = lease_ms
        self.runs: Dict[str, Run] = {}
        self.keys: Dict[Tuple[str, str], str] = {}
        self.sessions: List[Session] = []
        self.blobs: Dict[str, bytes] = {}
        self.logs: List[Dict[str, Any]] = []
        self.events: List[Tuple[str, Any]] = []
        self.models: Dict[str, Dict[str, Any]] = {}  # what each answers
        self.approvals: Dict[str, "tuple[Run, Record]"] = {}
        self.executions: List[Tuple[str, str, int]] = []
        self.on_change: Callable[[], None] = lambda: None
        self.on_frame: Callable[[str, Dict[str, Any]], None] = lambda direction, frame: None
        self._ids = itertools.count(1)
        self._calls = itertools.count(1)
        self._completions = itertools.count(1)

    # ---- from outside ----

    def start(self, agent: str, value: Any = None, key: Optional[str] = None) -> Run:
        """Starts a run, once for each key."""
        if key is not None and (agent, key) in self.keys:
            return self.runs[self.keys[agent, key]]
        run = Run(f"r_{next(self._ids):016d}", agent, value, key)
        self.runs[run.id] = run
        if key is not None:
            self.keys[agent, key] = run.id
        self._assign()
        return run

    def cancel(self, run: Run, reason: str) -> None:
        """Asks a run to stop."""
        run.cancelling = reason
        if run.session is not None:
            run.session.send({"t": "cancel", "run": run.id, "inc": run.inc, "reason": reason})

    def park(self, run: Run) -> None:
        """Lets a waiting run go; `wake` starts it again."""
        assert run.session is not None
        run.session.send({"t": "closed", "run": run.id, "inc": run.inc, "state": "parked"})
        self._leave(run)
        run.status = "parked"

    def wake(self, run: Run) -> None:
        """Starts a parked run again."""
        run.status = "queued"
        self._assign()

    def signal(self, run: Run, name: str, payload: Any) -> None:
        """Sends a signal to a run."""
        for record in run.segment.records:
            if record.kind == "signal" and record.name == name and record.state == "waiting":
                self._complete(run, record, payload)
                return
        run.signals.setdefault(name, []).append(payload)

    # ---- connections ----

    def connect(self, send: Callable[[Dict[str, Any]], None]) -> Session:
        """A worker has connected."""

        def watched(frame: Dict[str, Any]) -> None:
            send(frame)
            self.on_frame("out", frame)

        return Session(self, watched)

    def disconnected(self, session: Session) -> None:
        """A connection is gone, and with it the incarnations that it executed."""
        session.open = False
        if session in self.sessions:
            self.sessions.remove(session)
        for run in self.runs.values():
            if run.session is session:
                self._leave(run)
                if not run.ended:
                    run.status = "queued"
        self._assign()
        self.on_change()

    def receive(self, session: Session, frame: Dict[str, Any]) -> None:
        """Handles a worker's frame."""
        self._receive(session, frame)
        self.on_change()
        self.on_frame("in", frame)

    def _receive(self, session: Session, frame: Dict[str, Any]) -> None:
        kind = frame.get("t")
        if session.hello is None:
            self._hello(session, frame)
            return
        unknown = set(frame) - FIELDS.get(str(kind), set()) - {"t"}
        if kind not in FIELDS or unknown or kind == "hello":
            self._refuse(session, frame.get("call"), f"malformed frame: {kind} {sorted(unknown)}")
            return
        getattr(self, f"_on_{kind}")(session, frame)

    def _hello(self, session: Session, frame: Dict[str, Any]) -> None:
        if frame.get("t") != "hello" or set(frame) - FIELDS["hello"] - {"t"}:
            session.send({"t": "goodbye", "problem": problem("the first frame must be `hello`")})
            return
        if 1 not in frame["protocol"]:
            detail = f"no protocol version in common: the worker speaks {frame['protocol']}, this server speaks [1]"
            session.send({"t": "goodbye", "problem": problem(detail)})
            return
        session.hello = frame
        session.send(
            {
                "t": "welcome",
                "protocol": 1,
                "server": "reference",
                "session": f"s_{len(self.sessions) + 1}",
                "max_frame_bytes": 1 << 20,
                "credit": self.credit,
                "lease_ms": self.lease_ms,
            }
        )
        self.sessions.append(session)
        listed = {(e["run"], e["grant"]["step"], e["grant"]["attempt"]) for e in frame.get("executing", [])}
        for run in self.runs.values():
            run.elsewhere = {(step, attempt) for name, step, attempt in listed if name == run.id}
        self._redispatch_tools()
        for run in self.runs.values():
            if run.status == "compensating" and (run.undoing is None or not run.undoing.open):
                self._compensate(run)
        self._assign()

    def _assign(self) -> None:
        for run in self.runs.values():
            if run.status != "queued":
                continue
            for session in self.sessions:
                active = sum(1 for other in self.runs.values() if other.session is session)
                if session.offers_agent(run.agent) and active < (session.hello or {})["runs"]:
                    self._start(run, session)
                    break

    def _start(self, run: Run, session: Session) -> None:
        run.inc += 1
        run.session = session
        run.status = "running"
        run.replay = Replay(run.segment)
        frame = {
            "t": "start",
            "run": run.id,
            "inc": run.inc,
            "agent": run.agent,
            "input": self.outgoing(run.input),
            "recorded": len(run.segment.records),
            "live": run.replay.live,
        }
        if run.key is not None:
            frame["key"] = run.key
        if run.state is not None:
            frame["state"] = self.outgoing(run.state)
        session.send(frame)
        if run.cancelling is not None:
            session.send({"t": "cancel", "run": run.id, "inc": run.inc, "reason": run.cancelling})

    def _leave(self, run: Run) -> None:
        """The incarnation is over."""
        session = run.session
        run.session = None
        run.callers.clear()
        if session is not None:
            for call, (owner, _) in list(session.calls.items()):
                if owner is run:
                    del session.calls[call]

    # ---- frames about runs ----

    def _current(self, session: Session, frame: Dict[str, Any]) -> Optional[Run]:
        """The run of a frame, if its incarnation is the present one and this connection's."""
        run = self.runs.get(frame["run"])
        if run is not None and run.session is session and run.inc == frame["inc"]:
            return run
        detail = f"incarnation {frame['inc']} of run `{frame['run']}` is over"
        if frame.get("call") is not None and frame["t"] in ("step", "carry"):
            self._refuse(session, frame["call"], detail)
        session.send({"t": "closed", "run": frame["run"], "inc": frame["inc"], "state": "fenced"})
        return None

    def _refuse(self, session: Session, call: Optional[int], detail: str, retryable: bool = False) -> None:
        frame: Dict[str, Any] = {"t": "refused", "problem": problem(detail, retryable)}
        if isinstance(call, int):
            frame["call"] = call
        session.send(frame)

    def _on_complete(self, session: Session, frame: Dict[str, Any]) -> None:
        run = self._current(session, frame)
        if run is not None:
            run.result = self.incoming(frame["result"])
            self._end(run, "completed")

    def _on_fail(self, session: Session, frame: Dict[str, Any]) -> None:
        run = self._current(session, frame)
        if run is not None:
            run.error = self.incoming(frame["error"])
            self._conclude(run, "failed")

    def _on_stopped(self, session: Session, frame: Dict[str, Any]) -> None:
        run = self._current(session, frame)
        if run is not None:
            self._conclude(run, "cancelled")

    def _on_release(self, session: Session, frame: Dict[str, Any]) -> None:
        run = self.runs.get(frame["run"])
        if run is not None and run.session is session and run.inc == frame["inc"]:
            self._leave(run)
            run.status = "queued"
            others = [other for other in self.sessions if other is not session]
            for other in others:
                if other.offers_agent(run.agent):
                    self._start(run, other)
                    return

    def _on_carry(self, session: Session, frame: Dict[str, Any]) -> None:
        run = self._current(session, frame)
        if run is None:
            return
        if any(record.state == "in_doubt" for record in run.segment.records):
            self._refuse(session, frame["call"], "a step is in doubt; resolve it before `carry`")
            return
        base = run.segment.base + len(run.segment.records)
        run.segment = Segment()
        run.segment.base = base
        run.replay = Replay(run.segment)
        run.state = self.incoming(frame["state"])
        session.send({"t": "result", "call": frame["call"], "value": None, "live": True})

    def _on_heartbeat(self, session: Session, frame: Dict[str, Any]) -> None:
        self._current(session, frame)

    def _on_log(self, session: Session, frame: Dict[str, Any]) -> None:
        self.logs.append(frame)

    def _end(self, run: Run, status: str) -> None:
        run.orphans = sum(1 for r in run.segment.records if r.n not in run.replay.consumed and not r.superseded)
        run.status = status
        session, inc = run.session, run.inc
        self._leave(run)
        if session is not None and session.open:
            session.send({"t": "closed", "run": run.id, "inc": inc, "state": status})
        for then in run.on_end:
            then(run)
        self._assign()
        self.on_change()

    # ---- compensation ----

    def _conclude(self, run: Run, status: str) -> None:
        """The incarnation is over; what it did is undone, then the run ends."""
        session = run.session
        assert session is not None
        session.send({"t": "closed", "run": run.id, "inc": run.inc, "state": status})
        self._leave(run)
        run.status = "compensating"
        run.ends_as = status
        self._compensate(run)

    def _compensate(self, run: Run) -> None:
        """Undoes completed steps in reverse, on any worker that can."""
        todo = [r for r in run.segment.records if r.state == "completed" and r.step.get("undo") and not r.undone]
        if not todo:
            self._end(run, run.ends_as)
            return
        record = max(todo, key=lambda r: r.completed_at)
        undo = record.step["undo"]
        by_tool = "tool" in undo
        worker = next(
            (s for s in self.sessions if (s.tool(undo["tool"]) if by_tool else s.offers_agent(run.agent))), None
        )
        run.undoing = worker
        if worker is None:
            return  # goes on when such a worker connects
        call = next(self._calls)

        def undone(outcome: Dict[str, Any]) -> None:
            record.undone = True
            run.undoing = None
            if "error" in outcome:
                run.error = {"name": "CompensationFailed", "message": outcome["error"]["message"]}
            self._compensate(run)

        worker.tools[call] = undone
        frame: Dict[str, Any] = {
            "call": call,
            "run": run.id,
            "idempotency_key": self.key_of(run, record, "undo"),
            "grant": {"step": run.segment.base + len(run.segment.records) + 1000 + record.n, "attempt": 1},
        }
        args, result = self.outgoing(record.args), self.outgoing(record.value)
        if by_tool:
            toolset, _, tool = undo["tool"].partition("/")
            worker.send(
                {**frame, "t": "tool", "toolset": toolset, "tool": tool, "args": {"args": args, "result": result}}
            )
        else:
            worker.send(
                {
                    **frame,
                    "t": "undo",
                    "agent": run.agent,
                    "function": undo["function"],
                    "args": args,
                    "result": result,
                }
            )

    # ---- values ----

    def key_of(self, run: Run, record: Record, purpose: str = "step") -> str:
        """The idempotency key of a step. (An HMAC under a secret in a real server.)"""
        place = record.key if record.key is not None else record.occurrence
        text = f"{purpose}|{run.id}|{record.scope}|{record.name}|{place}|{record.revision}"
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:18]).decode()

    def incoming(self, value: Any) -> Any:
        """A value of a frame, fetched if it is a reference."""
        import json

        if isinstance(value, dict) and set(value) == {"$blob"}:
            return json.loads(self.blobs[value["$blob"]])
        return value

    def outgoing(self, value: Any) -> Any:
        """A value for a frame, as a reference if it is large."""
        import json

        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= 256 << 10:
            return value
        return {"$blob": self.store(text)}

    def store(self, text: bytes) -> str:
        """Keeps a blob; its id."""
        name = hashlib.sha256(text).hexdigest()
        self.blobs[name] = text
        return name


def problem(detail: str, retryable: bool = False) -> Dict[str, Any]:
    """An error as it crosses the wire."""
    return {"code": "NX-REF-0001", "detail": detail, "retryable": retryable}
