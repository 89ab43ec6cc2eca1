"""A user's function as the SDK calls it: arguments by name as JSON, the idempotency key where it asks for it.

The signature is looked at once; binding a call is a few dictionary operations.
What this module must not do: know the protocol.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ._json import Reviver, hints_of, reviver
from .errors import UsageError
from .options import Key

_KEY_NAMES = ("Key", "nx.Key", "neuraxis.Key")


class Function:
    """A function with its signature read."""

    __slots__ = (
        "function",
        "name",
        "is_async",
        "key",
        "parameters",
        "defaults",
        "required",
        "plain",
        "signature",
        "revivers",
        "returns",
        "_positional_only",
        "_rest",
        "_rest_named",
    )

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        if not callable(function):
            raise UsageError(f"{what} decorates functions, not a `{type(function).__name__}`")
        self.function = function
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.is_async = inspect.iscoroutinefunction(function)
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise UsageError(f"`{self.name}` is a generator; return a list instead, so that it can be recorded")
        hints = hints_of(function)
        self.key: Optional[str] = None
        self._positional_only: List[str] = []
        self._rest: Optional[str] = None
        self._rest_named: Optional[str] = None
        kept: List[inspect.Parameter] = []
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            hint = hints.get(parameter.name, parameter.annotation)
            if hint is Key or hint in _KEY_NAMES:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    raise UsageError(
                        f"`{self.name}` must take `{parameter.name}: nx.Key` as keyword only: put a `*` before it"
                    )
                self.key = parameter.name
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = parameter.name
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._rest_named = parameter.name
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                self._positional_only.append(parameter.name)
            kept.append(parameter)
        self.signature = signature.replace(parameters=kept)
        self.plain = self._rest is None and self._rest_named is None and not self._positional_only
        self.parameters: Tuple[str, ...] = tuple(
            parameter.name for parameter in kept if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        self.defaults: Dict[str, Any] = {
            parameter.name: parameter.default for parameter in kept if parameter.default is not parameter.empty
        }
        self.required = frozenset(
            parameter.name
            for parameter in kept
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        )
        self.revivers: Dict[str, Reviver] = {}
        for parameter in kept:
            revive = reviver(hints.get(parameter.name))
            if revive is not None and parameter.name not in (self._rest, self._rest_named):
                self.revivers[parameter.name] = revive
        self.returns = reviver(hints.get("return"))

    @property
    def names(self) -> "frozenset[str]":
        """The names that arguments may have; of functions with `**rest` those that are spelled out."""
        return frozenset(self.signature.parameters)

    def bind(self, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Dict[str, Any]:
        """A call's arguments by name, defaults included: a person who approves them sees them all."""
        if self.key is not None and self.key in kwargs:
            raise TypeError(
                f"{self.name}() gets `{self.key}` from the server; to name this call's place pass `step_key=`"
            )
        if self.plain and len(args) <= len(self.parameters):
            bound = dict(self.defaults) if self.defaults else {}
            for name, value in zip(self.parameters, args):
                if name in kwargs:
                    raise TypeError(f"{self.name}() got multiple values for argument '{name}'")
                bound[name] = value
            if kwargs:
                bound.update(kwargs)
            if self.required <= bound.keys() and bound.keys() <= self.signature.parameters.keys():
                return bound
        arguments = self.signature.bind(*args, **kwargs)  # names what is missing or unknown
        arguments.apply_defaults()
        return dict(arguments.arguments)

    def invoke(self, args: Mapping[str, Any], key: Optional[str] = None) -> Any:
        """Calls the function with arguments by name."""
        if self.plain and self.key is None:
            return self.function(**args)
        named = dict(args)
        positional = [named.pop(name) for name in self._positional_only]
        if self._rest is not None:
            for name in self.parameters:
                positional.append(named.pop(name))
            positional.extend(named.pop(self._rest, ()))
        if self._rest_named is not None:
            named.update(named.pop(self._rest_named, {}))
        if self.key is not None:
            named[self.key] = Key(key or "")
        return self.function(*positional, **named)

    def revive(self, args: Mapping[str, Any]) -> Dict[str, Any]:
        """Arguments from JSON in the declared types, checked against the signature."""
        revived = {name: self.revivers[name](value) if name in self.revivers else value for name, value in args.items()}
        if self.plain:
            unknown = [name for name in revived if name not in self.signature.parameters]
            if unknown:
                raise TypeError(f"{self.name}() has no parameter `{unknown[0]}`; it takes {self._takes()}")
            missing = [name for name in self.required if name not in revived]
            if missing:
                raise TypeError(f"{self.name}() needs `{sorted(missing)[0]}`; it takes {self._takes()}")
        elif self._rest_named is not None and self._rest_named not in revived:
            # Arguments from outside (a tool call): what is not spelled out belongs to `**rest`.
            rest = {name: revived.pop(name) for name in list(revived) if name not in self.signature.parameters}
            revived[self._rest_named] = rest
        return revived

    def _takes(self) -> str:
        return ", ".join(f"`{name}`" for name in self.signature.parameters) or "no arguments"
