"""`@nx.step`: a function of an agent's code whose calls are recorded, and executed once for each place in the run."""

from __future__ import annotations

import functools
from typing import Any, Awaitable, Callable, Dict, Generic, Optional, Sequence, Tuple, TypeVar, Union, cast, overload

from ._function import Function
from ._json import encode
from ._perform import Operation, call, not_in_async
from ._registry import registry
from .errors import UsageError
from .options import Approval, Duration, Retry, millis

R = TypeVar("R")

EFFECTS = ("code", "read", "idempotent", "once")
ON_CHANGE = ("fail", "rerun", "ask")


def retry_of(retries: Optional[int], retry: Optional[Retry]) -> Optional[Retry]:
    """The policy that `retries=` and `retry=` ask for."""
    if retries is None:
        return retry
    if retry is not None:
        raise UsageError("give either `retries=` or `retry=`, which counts the first attempt too")
    if retries < 0:
        raise UsageError("`retries` counts the attempts after the first: it can't be negative")
    return Retry(attempts=retries + 1)


def checked(value: Optional[str], allowed: Tuple[str, ...], what: str) -> Optional[str]:
    """An option that is one of a few words."""
    if value is not None and value not in allowed:
        raise UsageError(f"{what} `{value}` is none of {', '.join(f'`{word}`' for word in allowed)}")
    return value


def tail_of(
    undo: Optional[Dict[str, str]],
    approve: Optional[Approval],
    was: Optional[str],
    step_key: Optional[str],
    on_change: Optional[str] = None,
    retry: Optional[Retry] = None,
    timeout: Optional[Duration] = None,
) -> str:
    """The part of a step's frame that a call's options make."""
    options: Dict[str, Any] = {}
    if step_key is not None:
        if not isinstance(step_key, str):
            raise UsageError(f"`step_key` must be a string, not a `{type(step_key).__name__}`")
        options["key"] = step_key
    if was is not None:
        options["was"] = was
    if on_change is not None:
        options["on_change"] = checked(on_change, ON_CHANGE, "`on_change`")
    if retry is not None:
        options["retry"] = retry.wire()
    if timeout is not None:
        options["timeout_ms"] = millis(timeout, "timeout")
    if undo is not None:
        options["undo"] = undo
    if approve is not None:
        if not isinstance(approve, Approval):
            raise UsageError('`approve` takes an `nx.Approval`: `approve=nx.Approval("lead", within="4h")`')
        options["approve"] = approve.wire()
    return "," + encode(options, "the options of a call")[1:-1] if options else ""


def flow_of(
    name: str, output: Union[None, str, Dict[str, Any]], sinks: Optional[Sequence[str]], extract: Optional[Dict[str, Any]]
) -> Dict[str, Any]:
    """What the guard may assume of a function: how far its result may be trusted, which arguments matter."""
    flow: Dict[str, Any] = {}
    if extract is not None:
        if output is not None:
            raise UsageError(f"step `{name}`: an extraction's trust is its shape's; give `extract=` without `output=`")
        schema = extract if "schema" in extract else {"schema": extract}
        flow["output"] = {"extract": schema}
    elif isinstance(output, str):
        flow["output"] = checked(output, ("trusted", "untrusted"), "output")
    elif output is not None:
        flow["output"] = output
    if sinks is not None:
        if isinstance(sinks, str):
            raise UsageError(f"step `{name}`: `sinks` is a list of arguments: `sinks=[{sinks!r}]`")
        flow["sinks"] = list(sinks)
    return flow


class Step(Generic[R]):
    """A function under `@nx.step`. Calling it in an agent performs the step; `.function` is the function itself."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        effect: str = "code",
        retry: Optional[Retry] = None,
        timeout: Optional[Duration] = None,
        on_change: Optional[str] = None,
        was: Optional[str] = None,
        probe: Optional[Callable[..., Any]] = None,
        key_window: Optional[Duration] = None,
        name: Optional[str] = None,
        output: Union[None, str, Dict[str, Any]] = None,
        sinks: Optional[Sequence[str]] = None,
        extract: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.callee = Function(function, "`@nx.step`")
        self.function = function
        self.name = name or self.callee.name
        self.effect = checked(effect, EFFECTS, "effect") or "code"
        self.was = was
        self.timeout_ms = None if timeout is None else millis(timeout, "timeout")
        if self.callee.key is not None and effect not in ("idempotent", "once"):
            raise UsageError(
                f"step `{self.name}` takes an `nx.Key`, which only effects `idempotent` and `once` have; "
                f"its effect is `{effect}`"
            )
        if probe is not None and effect not in ("idempotent", "once"):
            raise UsageError(f"step `{self.name}` has a probe, which only effects `idempotent` and `once` need")
        self.probe = None if probe is None else Function(getattr(probe, "function", probe), "`probe=`")
        head: Dict[str, Any] = {"name": self.name, "kind": "code", "effect": self.effect}
        if self.probe is not None:
            head["probe"] = True
        if key_window is not None:
            head["key_window_ms"] = millis(key_window, "key_window")
        if on_change is not None:
            head["on_change"] = checked(on_change, ON_CHANGE, "`on_change`")
        if retry is not None:
            head["retry"] = retry.wire()
        if self.timeout_ms is not None:
            head["timeout_ms"] = self.timeout_ms
        flow = flow_of(self.name, output, sinks, extract)
        if flow:
            head["flow"] = flow
        self._head = "," + encode(head, f"the declaration of `{self.name}`")[1:-1]
        self._ahead = self.effect in ("code", "read") and not sinks
        self._undo_checked: Dict[Any, Dict[str, str]] = {}
        functools.update_wrapper(cast(Any, self), function, updated=())
        registry.add_step(self)

    def __call__(
        self,
        *args: Any,
        undo: Any = None,
        approve: Optional[Approval] = None,
        was: Optional[str] = None,
        step_key: Optional[str] = None,
        **kwargs: Any,
    ) -> Awaitable[R]:
        """Performs the step: `await` it in async agents; in sync agents this is the result (`.sync` types it so).

        `undo` names the function, step or tool that undoes it when the run fails or is cancelled; `approve` asks a
        person first; `was` is the step's former name; `step_key` names this call's place in the record, instead of
        how many calls of the step came before."""
        bound = self.callee.bind(args, kwargs)
        if undo is None and approve is None and was is None and step_key is None and self.was is None:
            tail = ""
        else:
            tail = tail_of(self._undo(undo), approve, was or self.was, step_key)
        value = encode(bound, f"the arguments of `{self.name}`")
        operation = Operation(self.name, self._head, ("args", value), tail, revive=self.callee.returns)
        operation.function = self.callee
        operation.args = bound
        operation.effect = self.effect
        operation.ahead = self._ahead and approve is None
        operation.probe = self.probe
        operation.timeout_ms = self.timeout_ms
        return cast("Awaitable[R]", call(operation, f"step `{self.name}`"))

    def sync(self, *args: Any, **kwargs: Any) -> R:
        """Performs the step in a sync agent: the same as calling it, with the result's type."""
        not_in_async(f"`{self.name}.sync`")
        return cast(R, self(*args, **kwargs))

    def _undo(self, undo: Any) -> Optional[Dict[str, str]]:
        if undo is None:
            return None
        known = self._undo_checked.get(undo)
        if known is None:
            known = undo_of(undo, self.callee)
            self._undo_checked[undo] = known
        return known

    def __repr__(self) -> str:
        return f"<step {self.name} ({self.effect})>"


def undo_of(undo: Any, callee: Optional[Function]) -> Dict[str, str]:
    """The frame's `undo`, after checks that would else fail when it is too late."""
    from .tools import RemoteTool

    if isinstance(undo, RemoteTool):
        return {"tool": undo.path}
    if isinstance(undo, Step):
        function, name = undo.callee, undo.name
    elif callable(undo):
        function = Function(undo, "`undo=`")
        name = function.name
        found = getattr(undo, "__globals__", {}).get(name)
        if found is not undo:
            raise UsageError(
                f"`{name}` can't undo a step: another process must find it by its name; define it at the top of the "
                "agent's module, or as a step"
            )
    else:
        raise UsageError("`undo` takes a function, a step or a tool of a toolset")
    if callee is not None:
        for name_taken in function.required:
            if name_taken not in ("args", "result") and name_taken not in callee.names:
                raise UsageError(
                    f"`{function.name}` takes `{name_taken}`, which is neither an argument of `{callee.name}` nor "
                    "`args` or `result`"
                )
    return {"function": name}


@overload
def step(function: Callable[..., Awaitable[R]]) -> Step[R]: ...


@overload
def step(function: Callable[..., R]) -> Step[R]: ...


@overload
def step(
    *,
    effect: str = ...,
    retries: Optional[int] = ...,
    retry: Optional[Retry] = ...,
    timeout: Optional[Duration] = ...,
    on_change: Optional[str] = ...,
    output: Union[None, str, Dict[str, Any]] = ...,
    sinks: Optional[Sequence[str]] = ...,
    extract: Optional[Dict[str, Any]] = ...,
    was: Optional[str] = ...,
    probe: Optional[Callable[..., Any]] = ...,
    key_window: Optional[Duration] = ...,
    name: Optional[str] = ...,
) -> "StepDecorator": ...


def step(
    function: Optional[Callable[..., Any]] = None,
    *,
    effect: str = "code",
    retries: Optional[int] = None,
    retry: Optional[Retry] = None,
    timeout: Optional[Duration] = None,
    on_change: Optional[str] = None,
    was: Optional[str] = None,
    probe: Optional[Callable[..., Any]] = None,
    key_window: Optional[Duration] = None,
    name: Optional[str] = None,
    output: Union[None, str, Dict[str, Any]] = None,
    sinks: Optional[Sequence[str]] = None,
    extract: Optional[Dict[str, Any]] = None,
) -> Union[Step[Any], "StepDecorator"]:
    """Makes a function a step.

    `effect` says what it does to the world: `code` (nothing), `read`, `idempotent` (repeating it with the same key
    changes nothing more), `once` (changes it each time; never repeated by itself). `retries` counts the attempts after
    the first; `retry` says more. `probe` tells whether a call took place. `key_window` is how long the outside honours
    an idempotency key. `on_change` (`fail`, `rerun`, `ask`) says what to do if a replay has other arguments.

    For the guard: `output` says how far the result may be trusted (`trusted`, `untrusted`, or by place); `sinks` names the
    arguments that nothing untrusted may choose; `extract` is the JSON Schema of a narrow result that may be trusted though
    it was made from untrusted text."""
    decorator = StepDecorator(
        effect=effect,
        retry=retry_of(retries, retry),
        timeout=timeout,
        on_change=on_change,
        was=was,
        probe=probe,
        key_window=key_window,
        name=name,
        output=output,
        sinks=sinks,
        extract=extract,
    )
    return decorator if function is None else decorator(function)


class StepDecorator:
    """`@nx.step(…)` before it meets its function."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    @overload
    def __call__(self, function: Callable[..., Awaitable[R]]) -> Step[R]: ...

    @overload
    def __call__(self, function: Callable[..., R]) -> Step[R]: ...

    def __call__(self, function: Callable[..., Any]) -> Step[Any]:
        return Step(function, **self._options)
