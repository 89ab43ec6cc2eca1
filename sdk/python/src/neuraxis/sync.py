"""The calls of an agent with the types they have in sync agents: `from neuraxis import sync as nxs; nxs.sleep("1h")`.

At run time these are the same functions; each raises a clear error where it would block an event loop.
"""

from __future__ import annotations

import datetime
from typing import Any, Callable, Dict, Iterable, List, Mapping, NoReturn, Optional, Tuple, Union, cast

from . import _gather, calls, models
from ._perform import not_in_async
from .agents import Agent
from .options import Decision, Duration, Escalate


def sleep(duration: Duration, *, step_key: Optional[str] = None) -> None:
    """See `nx.sleep`."""
    not_in_async("`sync.sleep`")
    calls.sleep(duration, step_key=step_key)


def signal(name: str, *, within: Optional[Duration] = None, step_key: Optional[str] = None) -> Any:
    """See `nx.signal`."""
    not_in_async("`sync.signal`")
    return calls.signal(name, within=within, step_key=step_key)


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
) -> Decision:
    """See `nx.approval`."""
    not_in_async("`sync.approval`")
    return cast(
        Decision,
        calls.approval(
            name,
            who,
            args,
            within=within,
            escalate=escalate,
            quorum=quorum,
            edit=edit,
            message=message,
            step_key=step_key,
        ),
    )


def child(agent: Union[str, Agent[Any]], input: Any = None, *, step_key: Optional[str] = None) -> Any:
    """See `nx.child`."""
    not_in_async("`sync.child`")
    return calls.child(agent, input, step_key=step_key)


def emit(type: str, data: Any = None, *, step_key: Optional[str] = None) -> Any:
    """See `nx.emit`."""
    not_in_async("`sync.emit`")
    return calls.emit(type, data, step_key=step_key)


def infer(
    model: str,
    *,
    image: Optional[models.Image] = None,
    bytes: Optional[models.Image] = None,
    tensor: Any = None,
    inputs: Optional[Mapping[str, Any]] = None,
    subject: Optional[str] = None,
    context: Any = None,
    deadline: Optional[Duration] = None,
    step_key: Optional[str] = None,
) -> models.Inference:
    """See `nx.infer`."""
    not_in_async("`sync.infer`")
    return cast(
        models.Inference,
        models.infer(
            model,
            image=image,
            bytes=bytes,
            tensor=tensor,
            inputs=inputs,
            subject=subject,
            context=context,
            deadline=deadline,
            step_key=step_key,
        ),
    )


def now() -> datetime.datetime:
    """See `nx.now`."""
    not_in_async("`sync.now`")
    return cast(datetime.datetime, calls.now())


def random() -> float:
    """See `nx.random`."""
    not_in_async("`sync.random`")
    return cast(float, calls.random())


def uuid() -> str:
    """See `nx.uuid`."""
    not_in_async("`sync.uuid`")
    return cast(str, calls.uuid())


def carry(state: Any) -> NoReturn:
    """See `nx.carry`."""
    not_in_async("`sync.carry`")
    calls.carry(state)
    raise AssertionError("carry does not return")


def gather(*branches: Callable[[], Any]) -> List[Any]:
    """See `nx.gather`."""
    not_in_async("`sync.gather`")
    return cast("List[Any]", _gather.gather(*branches))


def gather_named(**branches: Callable[[], Any]) -> Dict[str, Any]:
    """See `nx.gather`, with named branches."""
    not_in_async("`sync.gather_named`")
    return cast("Dict[str, Any]", _gather.gather(**branches))
