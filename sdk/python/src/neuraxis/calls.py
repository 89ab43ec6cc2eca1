"""What the server does for an agent: waits, asks, starts other runs, and hands out recorded time and chance.

Each call is awaited in async agents. In sync agents it is the value itself; `neuraxis.sync` types it so.
"""

from __future__ import annotations

import datetime
from typing import Any, Awaitable, Dict, Iterable, NoReturn, Optional, Tuple, Union, cast

from ._flow import current_flow, execution_here, flow_here
from ._json import encode, loads
from ._perform import Operation, call
from .agents import Agent
from .errors import Carried, UsageError
from .options import Approval, Decision, Duration, Escalate, millis
from .steps import tail_of


def _head(name: str, kind: str, **more: Any) -> str:
    return "," + encode({"name": name, "kind": kind, **more}, "a call")[1:-1]


def sleep(duration: Duration, *, step_key: Optional[str] = None) -> Awaitable[None]:
    """Waits, over restarts of worker and server. The run may be parked meanwhile: it costs nothing."""
    operation = Operation(
        "sleep", _head("sleep", "sleep", ms=millis(duration)), None, tail_of(None, None, None, step_key)
    )
    return cast("Awaitable[None]", call(operation, "`nx.sleep`"))


def signal(name: str, *, within: Optional[Duration] = None, step_key: Optional[str] = None) -> Awaitable[Any]:
    """Waits for a signal of that name; its payload, or None once `within` has passed."""
    more = {} if within is None else {"within_ms": millis(within, "within")}
    operation = Operation(name, _head(name, "signal", **more), None, tail_of(None, None, None, step_key))
    return cast("Awaitable[Any]", call(operation, "`nx.signal`"))


def approval(
    name: str,
    who: str,
    args: Any = None,
    *,
    within: Optional[Duration] = None,
    escalate: Iterable[Union[str, Tuple[str, Duration], Escalate]] = (),
    quorum: Optional[int] = None,
    edit: bool = False,
    message: Optional[str] = None,
    step_key: Optional[str] = None,
) -> Awaitable[Decision]:
    """Asks a person for a decision that guards no single call. (One that does belongs to it: `approve=`.)"""
    approve = Approval(who, within=within, escalate=escalate, quorum=quorum, edit=edit, message=message)
    value = encode(args, f"what `{name}` is decided on")
    operation = Operation(
        name, _head(name, "approval"), ("args", value), tail_of(None, approve, None, step_key), revive=Decision.of
    )
    return cast("Awaitable[Decision]", call(operation, "`nx.approval`"))


def child(
    agent: Union[str, Agent[Any]],
    input: Any = None,
    *,
    step_key: Optional[str] = None,
    was: Optional[str] = None,
    undo: Any = None,
) -> Awaitable[Any]:
    """Starts another run and waits for its result. Cancelling this run cancels it."""
    from .steps import undo_of

    name = agent.name if isinstance(agent, Agent) else agent
    value = encode(input, f"the input of `{name}`")
    undone = None if undo is None else undo_of(undo, None)
    operation = Operation(
        name, _head(name, "child", agent=name), ("input", value), tail_of(undone, None, was, step_key)
    )
    return cast("Awaitable[Any]", call(operation, "`nx.child`"))


start = child
"""The same as `child`: a run started by an agent is its child, and its result is the call's."""


def emit(type: str, data: Any = None, *, step_key: Optional[str] = None) -> Awaitable[Any]:
    """Writes an event to the log, once; its place there. Types are dotted, in the past tense: `parcel.redirected`."""
    value = encode(data, f"the data of event `{type}`")
    operation = Operation(type, _head(type, "emit"), ("args", value), tail_of(None, None, None, step_key))
    return cast("Awaitable[Any]", call(operation, "`nx.emit`"))


_NOW, _RANDOM, _UUID = _head("now", "now"), _head("random", "random"), _head("uuid", "uuid")


def _instant(value: Any) -> datetime.datetime:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return epoch + datetime.timedelta(milliseconds=value)


def now() -> Awaitable[datetime.datetime]:
    """The time, recorded: the same again in a replay. UTC, to the millisecond."""
    return cast("Awaitable[datetime.datetime]", call(Operation("now", _NOW, revive=_instant), "`nx.now`"))


def random() -> Awaitable[float]:
    """A float in [0, 1), recorded."""
    return cast("Awaitable[float]", call(Operation("random", _RANDOM), "`nx.random`"))


def uuid() -> Awaitable[str]:
    """A UUID version 4 as text, recorded."""
    return cast("Awaitable[str]", call(Operation("uuid", _UUID), "`nx.uuid`"))


def carry(state: Any) -> Awaitable[NoReturn]:
    """Replaces the run's history by a state and enters the agent again, which gets it as its parameter `state`. A run
    that loops for ever stays small so: resuming it costs the steps since. Never returns; not within a gather."""
    flow = current_flow("`nx.carry`")
    agent = flow.run.worker.registry.agents.get(flow.run.agent)
    if agent is not None and not agent.takes_state:
        raise UsageError(
            f"agent `{agent.name}` has no parameter `state`, which `nx.carry` hands over; add `state=None`"
        )
    if flow.scope:
        raise UsageError(
            "`nx.carry` was called within a gather: its other branches would be lost; call it after the join"
        )
    text = encode(state, "the state carried")

    def unwind(_: Any) -> Any:
        raise Carried(loads(text))

    operation = Operation("carry", "", ("state", text), frame="carry", revive=unwind)
    return cast("Awaitable[NoReturn]", call(operation, "`nx.carry`"))


def heartbeat(detail: Any = None) -> None:
    """Says that a long step is alive, and how far it is. For steps, tools and agents; does not wait."""
    execution, flow = execution_here.get(), flow_here.get()
    if execution is not None:
        worker, run, inc, number = execution.worker, execution.run, execution.inc, execution.call
    elif flow is not None:
        worker, run, inc, number = flow.run.worker, flow.run.id, flow.run.inc, None
    else:
        raise UsageError("`nx.heartbeat` was called outside of an agent, step or tool")
    frame: Dict[str, Any] = {"t": "heartbeat", "run": run, "inc": inc}
    if number is not None:
        frame["call"] = number
    if execution is not None:
        frame["name"] = execution.name
    if detail is not None:
        if len(encode(detail, "the detail of a heartbeat")) > 1024:
            raise UsageError("the detail of a heartbeat is over 1 KiB; keep it a word or a number")
        frame["detail"] = detail
    worker.send_soon(frame)
