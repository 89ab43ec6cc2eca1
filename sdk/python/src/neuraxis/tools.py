"""Toolsets, from both sides: `nx.toolset("shop")` calls tools through the server; `@nx.tool("shop")` serves one."""

from __future__ import annotations

import functools
from typing import Any, Awaitable, Callable, Dict, Generic, Mapping, Optional, TypeVar, Union, cast

from ._function import Function
from ._json import encode
from ._perform import Operation, call, not_in_async
from ._registry import registry
from .errors import UsageError
from .options import Approval, Duration, Retry
from .steps import EFFECTS, checked, retry_of, tail_of, undo_of

R = TypeVar("R")


class RemoteTool:
    """A tool of a toolset, whoever serves it. Its arguments are given by name."""

    def __init__(self, toolset: str, name: str) -> None:
        self.path = f"{toolset}/{name}"
        self._head = "," + encode({"name": self.path, "kind": "tool"}, "the tool")[1:-1]

    def __call__(
        self,
        *args: Any,
        undo: Any = None,
        approve: Optional[Approval] = None,
        was: Optional[str] = None,
        step_key: Optional[str] = None,
        on_change: Optional[str] = None,
        retry: Optional[Retry] = None,
        retries: Optional[int] = None,
        timeout: Optional[Duration] = None,
        **arguments: Any,
    ) -> Awaitable[Any]:
        """Calls the tool: `await shop.find_order(parcel="P88")`. The options are those of a step; a tool whose own
        argument has an option's name is called by `.call({...})`."""
        if args:
            raise TypeError(
                f"tool `{self.path}` takes its arguments by name: `{self.path.replace('/', '.')}(name=value)`"
            )
        return self.call(
            arguments,
            undo=undo,
            approve=approve,
            was=was,
            step_key=step_key,
            on_change=on_change,
            retry=retry,
            retries=retries,
            timeout=timeout,
        )

    def call(
        self,
        arguments: Mapping[str, Any],
        *,
        undo: Any = None,
        approve: Optional[Approval] = None,
        was: Optional[str] = None,
        step_key: Optional[str] = None,
        on_change: Optional[str] = None,
        retry: Optional[Retry] = None,
        retries: Optional[int] = None,
        timeout: Optional[Duration] = None,
    ) -> Awaitable[Any]:
        """Calls the tool with arguments of any names."""
        undone = None if undo is None else undo_of(undo, None)
        tail = tail_of(undone, approve, was, step_key, on_change, retry_of(retries, retry), timeout)
        value = encode(dict(arguments), f"the arguments of `{self.path}`")
        return cast(
            "Awaitable[Any]", call(Operation(self.path, self._head, ("args", value), tail), f"tool `{self.path}`")
        )

    def sync(self, **arguments: Any) -> Any:
        """Calls the tool in a sync agent."""
        not_in_async(f"`{self.path}`.sync")
        return self(**arguments)

    def __repr__(self) -> str:
        return f"<tool {self.path}>"


class Toolset:
    """A toolset by name: its attributes are its tools; names that are no identifiers by `shop["find-order"]`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tools: Dict[str, RemoteTool] = {}

    def __getattr__(self, name: str) -> RemoteTool:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> RemoteTool:
        tool = self._tools.get(name)
        if tool is None:
            tool = self._tools[name] = RemoteTool(self._name, name)
        return tool

    def __repr__(self) -> str:
        return f"<toolset {self._name}>"


def toolset(name: str) -> Toolset:
    """The toolset of a name."""
    if not name or "/" in name:
        raise UsageError(f'`{name}` is no toolset\'s name; tools are its attributes: `nx.toolset("shop").find_order`')
    return Toolset(name)


class Tool(Generic[R]):
    """A function under `@nx.tool`: served to any agent. Calling it is a plain call."""

    def __init__(
        self,
        function: Callable[..., R],
        toolset: str,
        *,
        effect: str,
        undo: Optional[str],
        probe: Optional[str],
        name: Optional[str],
    ) -> None:
        self.callee = Function(function, "`@nx.tool`")
        self.function = function
        self.toolset = toolset
        self.name = name or self.callee.name
        self.effect = checked(effect, EFFECTS, "effect") or "once"
        self.undo = undo
        self.probe = probe
        functools.update_wrapper(cast(Any, self), function, updated=())
        registry.add_tool(self)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self.function(*args, **kwargs)

    def offer(self) -> Dict[str, Any]:
        """As `hello` declares it."""
        offer = {"name": self.name, "effect": self.effect}
        if self.undo is not None:
            offer["undo"] = self.undo
        if self.probe is not None:
            offer["probe"] = self.probe
        return offer

    def __repr__(self) -> str:
        return f"<tool {self.toolset}/{self.name} ({self.effect})>"


def tool(
    toolset: str,
    *,
    effect: str,
    undo: "Union[str, Tool[Any], None]" = None,
    probe: "Union[str, Tool[Any], None]" = None,
    name: Optional[str] = None,
) -> Callable[[Callable[..., R]], Tool[R]]:
    """Serves a function as a tool of a toolset. `undo` and `probe` name other tools of the same toolset: the one is
    called with `{args, result}`, the other with the call's arguments and answers by `nx.done(…)`, `nx.NOT_DONE` or
    `nx.UNKNOWN`."""
    if not isinstance(toolset, str):
        raise UsageError('`@nx.tool` names its toolset: `@nx.tool("shop", effect="read")`')

    def decorate(function: Callable[..., R]) -> Tool[R]:
        return Tool(function, toolset, effect=effect, undo=_tool_name(undo), probe=_tool_name(probe), name=name)

    return decorate


def _tool_name(tool: "Union[str, Tool[Any], None]") -> Optional[str]:
    return tool.name if isinstance(tool, Tool) else tool
