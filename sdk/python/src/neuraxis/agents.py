"""`@nx.agent`: the function that a run executes from its top, each time it is started or started again."""

from __future__ import annotations

import functools
from typing import Any, Awaitable, Callable, Dict, Generic, Optional, TypeVar, Union, cast, overload

from ._function import Function
from ._registry import registry
from .errors import NonRetryable, UsageError

R = TypeVar("R")


class InputError(NonRetryable):
    """A run's input does not fit the agent's parameters."""


class Agent(Generic[R]):
    """A function under `@nx.agent`. `.function` is the function itself."""

    def __init__(self, function: Callable[..., Any], *, name: Optional[str], version: Optional[str]) -> None:
        self.callee = Function(function, "`@nx.agent`")
        if not self.callee.plain:
            raise UsageError(
                f"agent `{self.callee.name}` must have named parameters: a run's input is an object by name"
            )
        if self.callee.key is not None:
            raise UsageError(
                f"agent `{self.callee.name}` takes an `nx.Key`, which steps and tools have; see `nx.run_info()`"
            )
        self.function = function
        self.name = name or self.callee.name.replace("_", "-")
        self.version = version
        self.takes_state = "state" in self.callee.names
        self.takes_whole_input = self.callee.names - {"state"} == {"input"}
        functools.update_wrapper(cast(Any, self), function, updated=())
        registry.add_agent(self)

    def arguments(self, run_input: Any, state: Any) -> Dict[str, Any]:
        """The function's arguments for a run's input and carried state. A single parameter called `input` takes the
        whole input; else the input is an object, by parameter names."""
        if self.takes_whole_input:
            given: Dict[str, Any] = {"input": run_input}
        elif run_input is None:
            given = {}
        elif isinstance(run_input, dict):
            given = {str(name): value for name, value in run_input.items()}
            if "state" in given and self.takes_state:
                raise InputError("the parameter `state` is filled by `nx.carry`, not by the run's input")
        else:
            raise InputError(
                f"the input of `{self.name}` must be an object with its parameters by name, not a "
                f"`{type(run_input).__name__}`"
            )
        if self.takes_state:
            if state is not None:
                given["state"] = state
            elif "state" in self.callee.required:
                given["state"] = None
        try:
            return self.callee.revive(given)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"the input does not fit agent `{self.name}`: {error}") from error

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        raise UsageError(
            f'`{self.name}` is an agent: start a run of it by `nx.Client().start("{self.name}", {{…}})`, in an agent '
            "by `nx.child(…)`, or test its function by `.function(…)`"
        )

    def __repr__(self) -> str:
        return f"<agent {self.name}>"


@overload
def agent(function: Callable[..., Awaitable[R]]) -> Agent[R]: ...


@overload
def agent(function: Callable[..., R]) -> Agent[R]: ...


@overload
def agent(*, name: Optional[str] = ..., version: Optional[str] = ...) -> "AgentDecorator": ...


def agent(
    function: Optional[Callable[..., Any]] = None, *, name: Optional[str] = None, version: Optional[str] = None
) -> Union[Agent[Any], "AgentDecorator"]:
    """Makes a function an agent. Its name is the function's with dashes: `redirect_and_refund` is
    `redirect-and-refund`. `version` informs `runs show`."""
    decorator = AgentDecorator(name, version)
    return decorator if function is None else decorator(function)


class AgentDecorator:
    """`@nx.agent(…)` before it meets its function."""

    def __init__(self, name: Optional[str], version: Optional[str]) -> None:
        self._name = name
        self._version = version

    @overload
    def __call__(self, function: Callable[..., Awaitable[R]]) -> Agent[R]: ...

    @overload
    def __call__(self, function: Callable[..., R]) -> Agent[R]: ...

    def __call__(self, function: Callable[..., Any]) -> Agent[Any]:
        return Agent(function, name=self._name, version=self._version)
