"""What a step or a call may be told: retries, approvals, keys, probes' answers, lengths of time."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Type, Union

from .errors import UsageError

Duration = Union[str, int, float, datetime.timedelta]
"""A length of time: `"90s"`, `"1h30m"`, seconds, or a timedelta."""

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z")


def millis(value: Duration, what: str = "duration") -> int:
    """A length of time in milliseconds."""
    if isinstance(value, datetime.timedelta):
        result = int(value.total_seconds() * 1000)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        result = int(value * 1000)
    elif isinstance(value, str) and _WHOLE.match(value):
        result = int(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value)))
    else:
        raise UsageError(f"{what} `{value}` is not a length of time; write `500ms`, `90s`, `1h30m` or seconds")
    if result < 0:
        raise UsageError(f"{what} `{value}` is negative")
    return result


class Key(str):
    """Annotates the keyword-only parameter of a step or tool that receives the idempotency key:
    `def refund(order: str, *, key: nx.Key)`. The key is the same for each attempt of one step."""

    __slots__ = ()


@dataclass(frozen=True)
class Retry:
    """How often and how soon to try again: the wait before attempt n + 1 is `initial · factor^(n−1)`, at most `max`,
    times a random factor in [1 − jitter, 1]. A longer Retry-After wins."""

    attempts: int = 3
    initial: Duration = "200ms"
    factor: float = 2.0
    max: Duration = "30s"
    jitter: float = 0.5
    non_retryable: Sequence[Union[str, Type[BaseException]]] = ()

    def wire(self) -> Dict[str, Any]:
        """The frame's `retry`."""
        if self.attempts < 1:
            raise UsageError("`attempts` counts the first one too: it must be at least 1")
        result: Dict[str, Any] = {
            "attempts": self.attempts,
            "initial_ms": millis(self.initial, "initial"),
            "factor": float(self.factor),
            "max_ms": millis(self.max, "max"),
            "jitter": float(self.jitter),
        }
        names = [name if isinstance(name, str) else name.__name__ for name in self.non_retryable]
        if names:
            result["non_retryable"] = names
        return result


@dataclass(frozen=True)
class Escalate:
    """Who is asked next, and for how long."""

    who: str
    within: Optional[Duration] = None


class Approval:
    """Whom to ask before a call is executed. `over_cents=5000` asks only if the argument `cents` is greater; several
    such conditions count each by itself. `edit=True` lets the decider change the arguments."""

    __slots__ = ("who", "within", "escalate", "quorum", "edit", "over", "message")

    def __init__(
        self,
        who: str,
        *,
        within: Optional[Duration] = None,
        escalate: Iterable[Union[str, Tuple[str, Duration], Escalate]] = (),
        quorum: Optional[int] = None,
        edit: bool = False,
        over: Optional[Mapping[str, float]] = None,
        message: Optional[str] = None,
        **over_arguments: float,
    ) -> None:
        if not isinstance(who, str) or not who:
            raise UsageError('an approval names the role or person who decides: `nx.Approval("lead")`')
        self.who = who
        self.within = within
        self.escalate = [_rung(rung) for rung in ([escalate] if isinstance(escalate, str) else escalate)]
        self.quorum = quorum
        self.edit = edit
        self.message = message
        self.over: Dict[str, float] = dict(over or {})
        for name, limit in over_arguments.items():
            if not name.startswith("over_") or len(name) == 5:
                raise UsageError(f"an approval has no option `{name}`; a limit on argument `cents` is `over_cents=`")
            self.over[name[5:]] = limit

    def wire(self) -> Dict[str, Any]:
        """The frame's `approve`."""
        result: Dict[str, Any] = {"who": self.who}
        if self.within is not None:
            result["within_ms"] = millis(self.within, "within")
        if self.escalate:
            result["escalate"] = [
                {"who": rung.who}
                if rung.within is None
                else {"who": rung.who, "within_ms": millis(rung.within, "within")}
                for rung in self.escalate
            ]
        if self.quorum is not None:
            result["quorum"] = self.quorum
        if self.edit:
            result["edit"] = True
        if self.over:
            result["over"] = self.over
        if self.message is not None:
            result["message"] = self.message
        return result


def _rung(rung: Union[str, Tuple[str, Duration], Escalate]) -> Escalate:
    if isinstance(rung, Escalate):
        return rung
    return Escalate(rung) if isinstance(rung, str) else Escalate(rung[0], rung[1])


@dataclass(frozen=True)
class Decision:
    """How a person decided on a standalone approval."""

    approved: bool
    by: Optional[str] = None
    reason: Optional[str] = None
    args: Any = None

    @classmethod
    def of(cls, value: Any) -> "Decision":
        """From the record's form."""
        get = value.get if isinstance(value, dict) else {}.get
        return cls(bool(get("approved", False)), get("by"), get("reason"), get("args"))


class Found:
    """What a probe found: `nx.done(value)`, `nx.NOT_DONE` or `nx.UNKNOWN`."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind = kind
        self.value = value

    def __neuraxis_json__(self) -> Any:
        return {"done": self.value} if self.kind == "done" else self.kind

    def __repr__(self) -> str:
        return f"nx.done({self.value!r})" if self.kind == "done" else f"nx.{self.kind.upper()}"


def done(value: Any = None) -> Found:
    """A probe's answer: the call took place, and this is its result."""
    return Found("done", value)


NOT_DONE = Found("not_done")
"""A probe's answer: the call did not take place; it is executed again."""
UNKNOWN = Found("unknown")
"""A probe's answer: it can't be told; a person is asked."""


@dataclass(frozen=True)
class RunInfo:
    """The run that the calling code belongs to."""

    id: str
    incarnation: int
    agent: str
    key: Optional[str] = None
    deadline: Optional[str] = None
    traceparent: Optional[str] = None
    recorded: int = 0


@dataclass
class Offer:
    """What a worker offers to a server: collected from decorators."""

    agents: List[Dict[str, Any]] = field(default_factory=list)
    toolsets: List[Dict[str, Any]] = field(default_factory=list)
