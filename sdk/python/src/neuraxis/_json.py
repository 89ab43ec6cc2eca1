"""Values on their way into the record: I-JSON (RFC 7493) or a clear error; and back into declared types.

What this module must not do: know frames or connections.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import re
import typing
import uuid
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from .errors import NotJson

MAX_SAFE_INTEGER = 2**53
MAX_DEPTH = 96

# In compact JSON a long integer stands between these marks; floats and texts do not match.
_LONG_INTEGER = re.compile(r"[\[:,]-?\d{16,}[,\]}]")
_BLOB = '{"$blob":'

loads: Callable[[Union[str, bytes]], Any] = json.loads


def _default(value: Any) -> Any:
    """The JSON form of what `json` does not know. Only forms that lose nothing are chosen."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    as_json = getattr(value, "__neuraxis_json__", None)
    if as_json is not None and not isinstance(value, type):
        return as_json()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise TypeError("a `datetime` without timezone is ambiguous; give it one (datetime.timezone.utc)")
        return value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(_fix_for(value))


def _fix_for(value: Any) -> str:
    name = type(value).__name__
    fixes = {
        "Decimal": "send it as a string or as an integer of the smallest unit",
        "bytes": "encode it, for instance by base64",
        "bytearray": "encode it, for instance by base64",
        "set": "make it a sorted list",
        "frozenset": "make it a sorted list",
        "timedelta": "send its seconds",
        "coroutine": "await it first",
    }
    return (
        f"a `{name}` has no JSON form; {fixes.get(name, 'return a dict, list, str, number, bool, None or a dataclass')}"
    )


_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_default
).encode


def encode(value: Any, what: str) -> str:
    """The compact JSON text of a value, or `NotJson` naming `what`, the place in it and the fix."""
    try:
        text = _encode(value)
    except RecursionError:
        raise NotJson(f"{what} is nested deeper than {MAX_DEPTH} levels or contains itself") from None
    except (TypeError, ValueError) as error:
        raise NotJson(_explain(value, what, error)) from None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotJson(
                f"{what} holds half of a surrogate pair, which no UTF-8 text can; decode it with errors='replace'"
            ) from None
    if text.startswith(_BLOB) and isinstance(value, Mapping) and len(value) == 1:
        raise NotJson(f"{what} is an object with the single key `$blob`, which is reserved; add a key or rename it")
    if _LONG_INTEGER.search(text) or isinstance(value, int) or text.count("[") + text.count("{") > MAX_DEPTH:
        found = _walk(json.loads(text), "")
        if found:
            raise NotJson(f"{what}: {found}")
    return text


def _explain(value: Any, what: str, error: Exception) -> str:
    found = _walk(value, "")
    return f"{what}: {found}" if found else f"{what}: {error}"


def _walk(value: Any, pointer: str, depth: int = 0) -> Optional[str]:
    """What is not I-JSON in a value, with a JSON pointer to it."""
    at = f"`{pointer}`" if pointer else "the top"
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    if value is None or isinstance(value, (str, bool)):
        return None
    if isinstance(value, int):
        if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return None
        return f"integer `{value}` at {at} is beyond 2^53 and would lose digits; send it as a string"
    if isinstance(value, float):
        if math.isfinite(value):
            return None
        return f"`{value}` at {at} has no JSON form; send null or a string"
    items: List[Tuple[Any, Any]]
    if isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    elif isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int, float, bool)) and key is not None:
                return f"the key `{key!r}` at {at} is a `{type(key).__name__}`; keys must be strings"
        items = list(value.items())
    else:
        try:
            return _walk(_default(value), pointer, depth + 1)
        except TypeError as error:
            return f"at {at}: {error}"
    for key, item in items:
        segment = str(key).replace("~", "~0").replace("/", "~1")
        found = _walk(item, f"{pointer}/{segment}", depth + 1)
        if found:
            return found
    return None


# ---- back into declared types ----

Reviver = Callable[[Any], Any]


def reviver(hint: Any) -> Optional[Reviver]:
    """What turns the JSON form of a value into the declared type; None if JSON's own types are what is declared."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if isinstance(hint, type) and origin is None:
        return _class_reviver(hint)
    if origin is Union or (origin is not None and getattr(origin, "__name__", "") == "UnionType"):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1:
            revive = reviver(inner[0])
            return revive and _or_none(revive)
        return None
    if origin is list and arguments:
        revive = reviver(arguments[0])
        return revive and _each(revive)
    if origin is tuple:
        return tuple
    if origin is dict and len(arguments) == 2:
        revive = reviver(arguments[1])
        return revive and _each_value(revive)
    return None


def _class_reviver(hint: type) -> Optional[Reviver]:
    if dataclasses.is_dataclass(hint):
        return _DataclassReviver(hint)
    validate = getattr(hint, "model_validate", None)
    if validate is not None:
        return typing.cast(Reviver, validate)
    if issubclass(hint, enum.Enum):
        return hint
    if issubclass(hint, datetime.datetime):
        return lambda value: datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if issubclass(hint, datetime.date):
        return hint.fromisoformat
    if issubclass(hint, uuid.UUID):
        return hint
    if issubclass(hint, tuple):
        return _named_tuple(hint)
    return None


def _named_tuple(hint: type) -> Reviver:
    make = getattr(hint, "_make", None)
    return typing.cast(Reviver, make) if make is not None else hint


def _or_none(revive: Reviver) -> Reviver:
    return lambda value: None if value is None else revive(value)


def _each(revive: Reviver) -> Reviver:
    return lambda value: [revive(item) for item in value]


def _each_value(revive: Reviver) -> Reviver:
    return lambda value: {key: revive(item) for key, item in value.items()}


class _DataclassReviver:
    """Builds a dataclass from its JSON object; its fields' types are looked up on first use."""

    __slots__ = ("_type", "_fields")

    def __init__(self, hint: type) -> None:
        self._type = hint
        self._fields: Optional[Dict[str, Optional[Reviver]]] = None

    def __call__(self, value: Any) -> Any:
        if isinstance(value, self._type):
            return value
        if self._fields is None:
            hints = hints_of(self._type)
            self._fields = {
                field.name: reviver(hints.get(field.name, Any))
                for field in dataclasses.fields(self._type)
                if field.init
            }
        if not isinstance(value, dict):
            raise TypeError(f"`{self._type.__name__}` needs an object, not `{type(value).__name__}`")
        fields = self._fields
        given = {}
        for name, item in value.items():
            revive = fields.get(name)
            given[name] = item if revive is None else revive(item)
        return self._type(**given)


def hints_of(owner: Any) -> Dict[str, Any]:
    """Type hints, resolved as far as they can be: a name that can't be resolved stays text."""
    try:
        return typing.get_type_hints(owner)
    except Exception:  # names behind `if TYPE_CHECKING`, newer syntax: hints are a convenience only
        return dict(getattr(owner, "__annotations__", {}))
