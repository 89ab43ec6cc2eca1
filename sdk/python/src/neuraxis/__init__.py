"""Neuraxis for Python: durable agents and tools.

    import neuraxis as nx

    @nx.step(effect="idempotent", retries=5)
    def refund(order: str, cents: int, *, key: nx.Key) -> str: ...

    @nx.agent
    async def redirect_and_refund(parcel: str): ...

`python -m neuraxis worker agent.py` serves them.
"""

from . import sync
from ._flow import run_info
from ._gather import gather
from ._logging import StepHandler
from ._version import __version__
from .agents import Agent, InputError, agent
from .calls import approval, carry, child, emit, heartbeat, now, random, signal, sleep, start, uuid
from .client import Client, RunView
from .errors import (
    ApiError,
    ApprovalDenied,
    ApprovalExpired,
    Cancelled,
    Error,
    NonRetryable,
    NotJson,
    Refused,
    RetryAfter,
    RunFailed,
    StepFailed,
    TurnedAway,
    UsageError,
)
from .models import Inference, infer
from .options import NOT_DONE, UNKNOWN, Approval, Decision, Duration, Escalate, Found, Key, Retry, RunInfo, done
from .serving import serve, serve_async
from .steps import Step, step
from .tools import RemoteTool, Tool, Toolset, tool, toolset

__all__ = [
    "Agent",
    "ApiError",
    "Approval",
    "ApprovalDenied",
    "ApprovalExpired",
    "Cancelled",
    "Client",
    "Decision",
    "Duration",
    "Error",
    "Escalate",
    "Found",
    "Inference",
    "InputError",
    "Key",
    "NOT_DONE",
    "NonRetryable",
    "NotJson",
    "Refused",
    "RemoteTool",
    "Retry",
    "RetryAfter",
    "RunFailed",
    "RunInfo",
    "RunView",
    "Step",
    "StepFailed",
    "StepHandler",
    "Tool",
    "Toolset",
    "TurnedAway",
    "UNKNOWN",
    "UsageError",
    "__version__",
    "agent",
    "approval",
    "carry",
    "child",
    "done",
    "emit",
    "gather",
    "heartbeat",
    "infer",
    "now",
    "random",
    "run_info",
    "serve",
    "serve_async",
    "signal",
    "sleep",
    "start",
    "step",
    "sync",
    "tool",
    "toolset",
    "uuid",
]
