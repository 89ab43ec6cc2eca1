"""Plays the conformance vectors of testdata/protocol (format: docs/worker-protocol.md): against a server, the vector's
worker frames being the input; and against a worker, its server frames being the input."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import neuraxis as nx
from neuraxis._registry import Registry, registry

FOLDER = Path(__file__).resolve().parents[3] / "testdata" / "protocol"
PASSED_OVER = ("wait", "heartbeat", "log")


def load(side: str) -> Iterator[Dict[str, Any]]:
    """The vectors that a side (`server` or `worker`) must meet."""
    paths = sorted(FOLDER.glob("*.json"))
    assert paths, f"no vectors in {FOLDER}"
    for path in paths:
        vector = json.loads(path.read_text())
        if vector.get("only", side) == side:
            yield vector


class Bindings:
    """The variables of a vector: `$run` stands for one value wherever it appears."""

    def __init__(self, vector: Dict[str, Any]) -> None:
        self.defaults: Dict[str, Any] = vector["vars"]
        self.bound: Dict[str, Any] = {}

    def fill(self, value: Any) -> Any:
        """A frame to send: variables replaced, marks of absence left out."""
        if isinstance(value, str) and value.startswith("$") and value[1:] in self.defaults:
            return self.bound.setdefault(value[1:], self.defaults[value[1:]])
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items() if not key.startswith("!")}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        return value

    def match(self, expected: Any, actual: Any, at: str = "") -> Optional[str]:
        """Why a frame received is not the expected one; binds variables on the way."""
        if isinstance(expected, str) and expected.startswith("$") and expected[1:] in self.defaults:
            known = self.bound.setdefault(expected[1:], actual)
            return None if known == actual else f"{at}: {actual!r} instead of {expected} = {known!r}"
        if isinstance(expected, dict):
            if not isinstance(actual, dict):
                return f"{at}: {actual!r} instead of an object"
            for key, item in expected.items():
                if key.startswith("!"):
                    if key[1:] in actual:
                        return f"{at}/{key[1:]}: must be absent"
                elif key not in actual:
                    return f"{at}/{key}: missing"
                else:
                    found = self.match(item, actual[key], f"{at}/{key}")
                    if found:
                        return found
            return None
        if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
            for place, (one, other) in enumerate(zip(expected, actual)):
                found = self.match(one, other, f"{at}/{place}")
                if found:
                    return found
            return None
        same = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
        return None if same else f"{at}: {actual!r} instead of {expected!r}"


def expect(bindings: Bindings, entry: Any, received: Callable[[], Any], where: str) -> None:
    """Checks received frames against one frame, or a list of them in any order."""
    wanted: List[Any] = list(entry) if isinstance(entry, list) else [entry]
    kinds = {frame["t"] for frame in wanted}
    while wanted:
        frame = received()
        if frame["t"] in PASSED_OVER and frame["t"] not in kinds:
            continue
        reasons = []
        for place, candidate in enumerate(wanted):
            before = dict(bindings.bound)
            reason = bindings.match(candidate, frame)
            if reason is None:
                del wanted[place]
                break
            bindings.bound = before
            reasons.append(reason)
        else:
            raise AssertionError(f"{where}: got {json.dumps(frame)[:600]}; {'; '.join(reasons)}")


# ---- the agents of vectors, as programs of this SDK ----


class Holds:
    """Executions that end when the vector says so."""

    def __init__(self) -> None:
        self._events: Dict[str, threading.Event] = {}

    def of(self, name: str) -> threading.Event:
        """The event that ends an execution."""
        return self._events.setdefault(name, threading.Event())


class NamedError(Exception):
    """Stands for user errors of any class."""


def error_of(spec: Dict[str, Any]) -> BaseException:
    """An exception whose wire form is the given error."""
    kind = type(spec["name"], (nx.NonRetryable,) if spec.get("retryable") is False else (NamedError,), {})
    error: BaseException = kind(spec["message"])
    return error


class Program:
    """Makes the agents, tools and undo functions of a vector."""

    def __init__(self, vector: Dict[str, Any], sync: bool) -> None:
        self.sync = sync
        self.holds = Holds()
        self.steps: Dict[str, nx.Step[Any]] = {}
        self.does: Dict[str, List[Dict[str, Any]]] = {}
        for table in (registry.agents, registry.steps, registry.tools):
            table.clear()
        self.registry: Registry = registry
        for name in vector.get("undo", {}):
            self.undo(name)
        for toolset in vector.get("toolsets", []):
            for tool in toolset["tools"]:
                self.tool(toolset["name"], tool, vector["tools"].get(f"{toolset['name']}/{tool['name']}"))
        for name, body in vector["agents"].items():
            self.agent(name, body)

    def undo(self, name: str) -> None:
        def undo(args: Any, result: Any) -> None:
            return None

        self.steps[name] = nx.step(name=name, effect="idempotent")(undo)

    @staticmethod
    def tool(toolset: str, offer: Dict[str, Any], value: Any) -> None:
        def tool(**arguments: Any) -> Any:
            return copy.deepcopy(value)

        options = {key: offer[key] for key in ("undo", "probe") if key in offer}
        nx.tool(toolset, effect=offer["effect"], name=offer["name"], **options)(tool)

    def agent(self, name: str, body: Any) -> None:
        if self.sync:

            def run_sync(input: Any, state: Any = None) -> Any:
                return self.play(self.body(body, state))

            nx.agent(name=name)(run_sync)
            return

        async def run(input: Any, state: Any = None) -> Any:
            return await self.play_async(self.body(body, state))

        nx.agent(name=name)(run)

    @staticmethod
    def body(body: Any, state: Any) -> List[Dict[str, Any]]:
        chosen: List[Dict[str, Any]] = (
            body if isinstance(body, list) else body["no_state" if state is None else "state"]
        )
        return chosen

    def play(self, operations: List[Dict[str, Any]]) -> Any:
        for operation in operations:
            if "return" in operation:
                return operation["return"]
            if "raise" in operation:
                raise error_of(operation["raise"])
            if "gather" in operation:
                branches, named = self.branches(operation["gather"])
                lead = [operation["name"]] if "name" in operation else []
                if named:
                    nx.gather(*lead, **{key: (lambda ops=ops: self.play(ops)) for key, ops in branches.items()})
                else:
                    nx.gather(*lead, *[(lambda ops=ops: self.play(ops)) for ops in branches.values()])
            else:
                self.operate(operation)
        return None

    async def play_async(self, operations: List[Dict[str, Any]]) -> Any:
        for operation in operations:
            if "return" in operation:
                return operation["return"]
            if "raise" in operation:
                raise error_of(operation["raise"])
            if "gather" in operation:
                branches, named = self.branches(operation["gather"])
                lead = [operation["name"]] if "name" in operation else []
                if named:
                    await nx.gather(*lead, **{key: self.play_async(ops) for key, ops in branches.items()})
                else:
                    await nx.gather(*lead, *[self.play_async(ops) for ops in branches.values()])
            else:
                await self.operate(operation)
        return None

    @staticmethod
    def branches(spec: Any) -> "tuple[Dict[str, Any], bool]":
        return (spec, True) if isinstance(spec, dict) else ({str(place): ops for place, ops in enumerate(spec)}, False)

    def operate(self, op: Dict[str, Any]) -> Any:
        if "step" in op:
            return self.step(op)(
                undo=self.undo_of(op), approve=approval_of(op), was=op.get("was"), step_key=op.get("key"), **op["args"]
            )
        if "tool" in op:
            toolset, _, tool = op["tool"].partition("/")
            return nx.toolset(toolset)[tool].call(op["args"], undo=self.undo_of(op), approve=approval_of(op))
        if "sleep_ms" in op:
            return nx.sleep(op["sleep_ms"] / 1000)
        if "signal" in op:
            return nx.signal(op["signal"], within=op["within_ms"] / 1000 if "within_ms" in op else None)
        if "child" in op:
            return nx.child(op["child"], op["input"])
        if "infer" in op:
            inputs = op.get("tensors")
            return nx.infer(op["infer"], image=op.get("image_base64"), inputs=inputs, subject=op.get("subject"))
        if "emit" in op:
            return nx.emit(op["emit"], op["args"])
        if "carry" in op:
            return nx.carry(op["carry"])
        for name, function in (("now", nx.now), ("random", nx.random), ("uuid", nx.uuid)):
            if name in op:
                return function()
        raise AssertionError(f"unknown operation {op}")

    def undo_of(self, op: Dict[str, Any]) -> Any:
        undo = op.get("undo")
        if undo is None:
            return None
        if "function" in undo:
            return self.steps[undo["function"]]
        toolset, _, tool = undo["tool"].partition("/")
        return nx.toolset(toolset)[tool]

    def step(self, op: Dict[str, Any]) -> "nx.Step[Any]":
        for args in (op["args"], op.get("edited")):
            self.does.setdefault(json.dumps([op["step"], args]), list(op["does"]))
        known = self.steps.get(op["step"])
        if known is not None:
            return known

        def body(args: Dict[str, Any]) -> Any:
            attempts = self.does[json.dumps([op["step"], args])]
            attempt = attempts.pop(0) if len(attempts) > 1 else attempts[0]  # the last one repeats
            if "hold" in attempt:
                assert self.holds.of(attempt["hold"]).wait(30)
            if "raise" in attempt:
                raise error_of(attempt["raise"])
            return attempt["return"]

        names = ", ".join(op["args"])
        scope: Dict[str, Any] = {"body": body}
        exec(f"def function({names}):\n    return body(dict({', '.join(f'{n}={n}' for n in op['args'])}))", scope)
        options: Dict[str, Any] = {}
        if "probe" in op:
            found = {"not_done": nx.NOT_DONE, "unknown": nx.UNKNOWN}.get(str(op["probe"])) or nx.done(
                op["probe"]["done"]
            )
            options["probe"] = lambda: found
        if "retry" in op:
            retry = op["retry"]
            options["retry"] = nx.Retry(
                attempts=retry["attempts"],
                initial=retry["initial_ms"] / 1000,
                factor=retry["factor"],
                max=retry["max_ms"] / 1000,
                jitter=retry["jitter"],
            )
        made = nx.step(name=op["step"], effect=op.get("effect", "code"), **options)(scope["function"])
        self.steps[op["step"]] = made
        return made


def approval_of(op: Dict[str, Any]) -> Optional[nx.Approval]:
    """The approval of an operation."""
    spec = op.get("approve")
    if spec is None:
        return None
    within = spec.get("within_ms")
    return nx.Approval(
        spec["who"],
        within=None if within is None else within / 1000,
        edit=spec.get("edit", False),
        over=spec.get("over"),
    )


# ---- a server that says what a vector says ----


class Peer:
    """Stands in for the server on a reference listener: queues what the worker sends."""

    def __init__(self) -> None:
        self.received: "asyncio.Queue[Dict[str, Any]]" = asyncio.Queue()
        self.send: Optional[Callable[[Dict[str, Any]], None]] = None

    def connect(self, send: Callable[[Dict[str, Any]], None]) -> "Peer":
        self.send = send
        return self

    def receive(self, session: Any, frame: Dict[str, Any]) -> None:
        self.received.put_nowait(frame)

    def disconnected(self, session: Any) -> None:
        self.send = None
