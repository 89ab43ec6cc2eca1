"""A run's record and how a request finds its place in it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, List, Optional, Tuple

OVER = ("completed", "failed")


class Record:
    """One step of a run."""

    def __init__(self, n: int, step: Dict[str, Any], occurrence: Optional[int]) -> None:
        self.n = n
        self.scope: str = step.get("scope", "")
        self.name: str = step["name"]
        self.key: Optional[str] = step.get("key")
        self.occurrence = occurrence
        self.kind: str = step["kind"]
        self.step = step
        self.hash = hash_of(step)
        self.effect: str = step.get("effect", "code") if self.kind == "code" else "server"
        self.state = "new"  # new, waiting, started, in_doubt, completed, failed
        self.attempt = 0
        self.value: Any = None
        self.error: Optional[Dict[str, Any]] = None
        self.edited: Any = None
        self.approved = False
        self.until: Optional[float] = None
        self.approval: Optional[str] = None
        self.asks = ""
        self.completed_at = 0
        self.undone = False
        self.revision = 0
        self.superseded = False
        self.child: Optional[str] = None
        self.toolset_session: Any = None
        self.timer: Any = None

    @property
    def args(self) -> Any:
        """What is executed: as edited by a person, else as requested."""
        return self.step.get("args") if self.edited is None else self.edited

    def grant(self) -> Dict[str, int]:
        """The permission as frames name it."""
        return {"step": self.n, "attempt": self.attempt}

    def policy(self) -> Dict[str, Any]:
        """The retry policy with its defaults."""
        default = {"attempts": 3, "initial_ms": 200, "factor": 2.0, "max_ms": 30_000, "non_retryable": []}
        return {**default, **self.step.get("retry", {})}


def hash_of(step: Dict[str, Any]) -> str:
    """The hash of a request's arguments. (RFC 8785 in a real server; sorted keys do for tests.)"""
    kind = step["kind"]
    fields = {"tool": "args", "code": "args", "approval": "args", "emit": "args", "infer": "args", "child": "input", "sleep": "ms"}
    value = [kind, step.get(fields.get(kind, ""), None)]
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Segment:
    """The records of a run since its last carry."""

    def __init__(self) -> None:
        self.records: List[Record] = []
        self.base = 0

    def add(self, step: Dict[str, Any], occurrence: Optional[int]) -> Record:
        """A new record."""
        record = Record(self.base + len(self.records) + 1, step, occurrence)
        self.records.append(record)
        return record

    def by_number(self, n: int) -> Optional[Record]:
        """The record of an ordinal."""
        place = n - self.base - 1
        return self.records[place] if 0 <= place < len(self.records) else None


class Replay:
    """What one incarnation has consumed."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.consumed: "set[int]" = set()
        self.occurrences: Dict[Tuple[str, str], int] = {}

    @property
    def live(self) -> bool:
        """Whether the record holds nothing unused."""
        return all(record.n in self.consumed or record.superseded for record in self.segment.records)

    def find(self, step: Dict[str, Any]) -> "tuple[Optional[Record], bool, Optional[int]]":
        """The record that answers a request, whether its arguments differ, and the request's occurrence."""
        scope, name, key = step.get("scope", ""), step["name"], step.get("key")
        occurrence = None
        if key is None:
            occurrence = self.occurrences.get((scope, name), 0)
            self.occurrences[(scope, name)] = occurrence + 1
        for sought in (name, step.get("was")):
            if sought is None:
                continue
            found = self._find_named(step, scope, sought, key, occurrence)
            if found is not None:
                return found[0], found[1], occurrence
        return None, False, occurrence

    def _find_named(
        self, step: Dict[str, Any], scope: str, name: str, key: Optional[str], occurrence: Optional[int]
    ) -> "Optional[tuple[Record, bool]]":
        sought = hash_of(step)
        places = [r for r in self.segment.records if r.scope == scope and r.name == name and not r.superseded]
        if key is not None:
            for record in places:
                if record.key == key:
                    return record, record.hash != sought
            return None
        free = [record for record in places if record.n not in self.consumed and record.key is None]
        for record in free:
            if record.hash == sought:
                return record, False
        for record in free:
            if record.occurrence == occurrence:
                return record, True
        return None
