"""The SDK's exceptions, and the errors of user code as they cross the wire.

What this module must not do: decide on retries; it only reports what is known (Retry-After, non-retryable statuses).
"""

from __future__ import annotations

import asyncio
import email.utils
import time
import traceback
import urllib.error
from typing import Any, Dict, Mapping, Optional

MESSAGE_MAX = 4096
TRACEBACK_MAX = 8192


class Error(Exception):
    """Base of the SDK's errors. `code` names the paragraph in the documentation of errors."""

    code = "NX-SDK-0005"
    retryable = False


class UsageError(Error):
    """The SDK is used against its rules; the message names the fix."""

    code = "NX-SDK-0005"


class NotJson(Error, TypeError):
    """A value can't enter the record."""

    code = "NX-SDK-0003"


class NonRetryable(Exception):
    """Raised by a step or tool: trying again won't help."""


class RetryAfter(Exception):
    """Raised by a step or tool: try again, not before `seconds` have passed. For an effect `once` it asserts that
    nothing happened."""

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(message or f"try again in {seconds:g} s")
        self.seconds = seconds


class StepFailed(Error):
    """A step failed for good: its attempts are used up, its error is not retryable, or a person refused.

    `name` is the class of the error that the step raised, so `except nx.StepFailed as e: if e.name == "CardDeclined"`.
    """

    code = "NX-SDK-0001"

    def __init__(self, step: str, error: Mapping[str, Any]) -> None:
        self.step = step
        self.error: Dict[str, Any] = dict(error)
        self.name = str(error.get("name", "Error"))
        self.message = str(error.get("message", ""))
        self.details: Any = error.get("details")
        super().__init__(f"step `{step}` failed: {self.name}: {self.message}")


class ApprovalDenied(StepFailed):
    """The person who was asked said no; `message` holds the reason."""


class ApprovalExpired(StepFailed):
    """Nobody decided within the time given."""


class Refused(Error):
    """The server did not accept a call; nothing was recorded."""

    def __init__(self, step: str, problem: Mapping[str, Any]) -> None:
        self.step = step
        self.code = str(problem.get("code", "NX-SDK-0007"))
        self.detail = str(problem.get("detail", ""))
        self.retryable = bool(problem.get("retryable", False))
        super().__init__(f"the server refused step `{step}`: {self.detail} [{self.code}]")


class RunFailed(Error):
    """A run that was awaited did not complete."""

    def __init__(self, run: str, status: str, error: Optional[Mapping[str, Any]]) -> None:
        self.run = run
        self.status = status
        self.error: Dict[str, Any] = dict(error or {})
        what = f": {self.error.get('name', 'Error')}: {self.error.get('message', '')}" if error else ""
        super().__init__(f"run `{run}` is {status}{what}")


class TurnedAway(Error):
    """The server closed the connection and does not want this worker back."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.code = str(problem.get("code", "NX-SDK-0007"))
        self.detail = str(problem.get("detail", ""))
        super().__init__(f"the server turned the worker away: {self.detail} [{self.code}]")


class ApiError(Error):
    """The HTTP API refused a request."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", f"HTTP-{status}"))
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        self.retryable = bool(problem.get("retryable", status >= 500))
        super().__init__(f"{self.detail} [{self.code}, HTTP {status}]")


class Cancelled(asyncio.CancelledError):
    """The run was cancelled: let it pass, so that compensation may begin."""


class Dropped(BaseException):
    """This incarnation is over (connection lost, fenced, parked, shutting down). Never to be caught."""


class Carried(BaseException):
    """Unwinds the agent, to be entered again from `state`. Never to be caught."""

    def __init__(self, state: Any) -> None:
        super().__init__("carried")
        self.state = state


def step_failed(step: str, error: Mapping[str, Any]) -> StepFailed:
    """The exception for a step's terminal error."""
    name = error.get("name")
    if name == "ApprovalDenied":
        return ApprovalDenied(step, error)
    if name == "ApprovalExpired":
        return ApprovalExpired(step, error)
    return StepFailed(step, error)


# 4xx that may pass by themselves: timeout, conflict with a request under way, too early, too many.
_PASSING = frozenset((408, 409, 425, 429))


def to_wire(error: BaseException, with_traceback: bool = True) -> Dict[str, Any]:
    """The `StepError` object of an exception. Statuses and Retry-After are read off the errors of httpx, requests,
    urllib and their like by their shape. `retryable: true` is only ever said by the user (RetryAfter): for an effect
    `once` it asserts that nothing happened."""
    if isinstance(error, StepFailed):
        return {key: value for key, value in error.error.items() if value is not None}
    wire: Dict[str, Any] = {"name": type(error).__name__, "message": _message(error)}
    if isinstance(error, RetryAfter):
        wire["retryable"] = True
        wire["retry_after_ms"] = max(0, int(error.seconds * 1000))
        return wire
    details: Dict[str, Any] = {}
    if isinstance(error, (NonRetryable, NotJson, UsageError)):
        wire["retryable"] = False
    else:
        status, headers = _http(error)
        if status is not None:
            details["status"] = status
            if 400 <= status < 500 and status not in _PASSING:
                wire["retryable"] = False
        wait = retry_after_ms(headers)
        if wait is not None and wire.get("retryable") is not False:
            wire["retry_after_ms"] = wait
    if with_traceback:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        details["traceback"] = _clean(text[-TRACEBACK_MAX:])
    if details:
        wire["details"] = details
    return wire


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # a broken __str__ of user code must not hide the error
        text = "<no message>"
    return _clean(text[:MESSAGE_MAX])


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _http(error: BaseException) -> "tuple[Optional[int], Any]":
    """Status and headers of an HTTP client's error, by shape."""
    response = getattr(error, "response", None)
    if response is not None:
        status = getattr(response, "status_code", None)
        if status is None:
            status = getattr(response, "status", None)
        return (status if isinstance(status, int) else None), getattr(response, "headers", None)
    if isinstance(error, urllib.error.HTTPError):
        return error.code, error.headers
    status = getattr(error, "status", None)  # aiohttp's ClientResponseError
    headers = getattr(error, "headers", None)
    if isinstance(status, int) and headers is not None:
        return status, headers
    return None, None


def retry_after_ms(headers: Any, now: Optional[float] = None) -> Optional[int]:
    """Retry-After (RFC 9110 §10.2.3) in milliseconds: seconds or a date."""
    get = getattr(headers, "get", None)
    if get is None:
        return None
    value = get("Retry-After") or get("retry-after")
    if not isinstance(value, str):
        return None
    value = value.strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        seconds = at.timestamp() - (time.time() if now is None else now)
    if not 0 <= seconds < 10**9:
        return 0 if seconds < 0 else None
    return int(seconds * 1000)
