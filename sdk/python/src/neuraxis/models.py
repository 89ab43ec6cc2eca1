"""Models: what they are asked, what they answer. `nx.infer` asks one from an agent, `nx.Client().infer` from anywhere."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Awaitable, Dict, Mapping, Optional, Union, cast

from ._json import encode
from ._perform import Operation, call
from .errors import UsageError
from .options import Duration, millis
from .steps import tail_of

Image = Union[bytes, bytearray, memoryview, str]
"""A picture (PNG or JPEG) or a file: its bytes, or base64 as an event brings it."""


@dataclass(frozen=True)
class Inference:
    """What a model answered. Its decision stands in the log at place `decision`."""

    decision: int
    model: str
    version: int
    engine: str
    alias: Optional[str] = None
    label: Optional[str] = None
    """What the model says, where it says one thing."""
    confidence: Optional[float] = None
    """How sure it is of that."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """Each output of the manifest, by name."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Inference":
        """The API's answer, or a step's recorded value."""
        return cls(
            decision=answer["decision"],
            model=answer["model"],
            version=answer["version"],
            engine=answer["engine"],
            alias=answer.get("alias"),
            label=answer.get("label"),
            confidence=answer.get("confidence"),
            outputs=answer.get("outputs", {}),
        )


def given(
    image: Optional[Image], bytes: Optional[Image], tensor: Any, inputs: Optional[Mapping[str, Any]]
) -> Dict[str, Any]:
    """What is given for a model's inputs, as the API takes it: `input` for the only one, or `inputs` by their names."""
    forms: Dict[str, Any] = {"image": image, "bytes": bytes, "tensor": tensor}
    named = [form for form, value in forms.items() if value is not None]
    if inputs is not None:
        if named:
            raise UsageError(f"give either `inputs=`, by their names, or `{named[0]}=`, for a model of one input")
        return {"inputs": {name: sample(name, value) for name, value in inputs.items()}}
    if len(named) != 1:
        raise UsageError("a model is given one of `image=`, `bytes=`, `tensor=`, or its `inputs=` by their names")
    return {"input": {named[0]: _text(forms[named[0]]) if named[0] != "tensor" else _lists(tensor)}}


def sample(name: str, value: Any) -> Dict[str, Any]:
    """One input: a picture's bytes, lists of numbers (anything with `tolist()`), or the API's own form."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"image": _text(value)}
    if isinstance(value, str):
        raise UsageError(f'input `{name}` is a text; say what it holds: {{"image": …}} or {{"bytes": …}}, in base64')
    return {"tensor": _lists(value)}


def _lists(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _text(content: Image) -> str:
    return content if isinstance(content, str) else base64.b64encode(content).decode()


def infer(
    model: str,
    *,
    image: Optional[Image] = None,
    bytes: Optional[Image] = None,
    tensor: Any = None,
    inputs: Optional[Mapping[str, Any]] = None,
    subject: Optional[str] = None,
    context: Any = None,
    deadline: Optional[Duration] = None,
    step_key: Optional[str] = None,
    was: Optional[str] = None,
) -> Awaitable[Inference]:
    """Asks a model: `NAME`, `NAME@ALIAS` or `NAME@VERSION`. The answer is recorded: a replay does not ask again.

    A model of one input takes `image=` (PNG or JPEG), `bytes=` or `tensor=`; others `inputs=` by their names. `subject`
    is what it is about, `parcel/P88`; `context` is what the decision carries on, for whoever listens to it."""
    args = given(image, bytes, tensor, inputs)
    if subject is not None:
        args["subject"] = subject
    if context is not None:
        args["context"] = context
    if deadline is not None:
        args["deadline_ms"] = millis(deadline, "deadline")
    value = encode(args, f"what `{model}` is asked")
    head = "," + encode({"name": model, "kind": "infer"}, "a call")[1:-1]
    operation = Operation(model, head, ("args", value), tail_of(None, None, was, step_key), revive=Inference.of)
    return cast("Awaitable[Inference]", call(operation, "`nx.infer`"))
