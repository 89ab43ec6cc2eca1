"""`nx.Client`: starts runs, awaits their results and asks models over the HTTP API. Blocking; in async code call it by
`asyncio.to_thread`."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Union, cast

from ._json import encode
from ._worker import addresses
from .agents import Agent
from .errors import ApiError, RunFailed
from .models import Image, Inference, given
from .options import Duration, millis
from .serving import settings

ENDS = ("completed", "failed", "cancelled")
LONG_WAIT_S = 30
# Like the WebSocket beside it, past any proxy of the environment: servers are reached directly.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class RunView:
    """A run as the API shows it; `raw` is all of the answer."""

    id: str
    status: str
    agent: str = ""
    result: Any = None
    error: Optional[Dict[str, Any]] = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        """Whether it has come to an end."""
        return self.status in ENDS


class Client:
    """The HTTP API of a server. Address and token come from NEURAXIS_URL and NEURAXIS_TOKEN if not given."""

    def __init__(
        self,
        url: Optional[str] = None,
        token: Optional[str] = None,
        *,
        namespace: Optional[str] = None,
        timeout: float = 10.0,
    ) -> None:
        address, self._token = settings(url, token)
        self._base = addresses(address)[1]
        self._namespace = namespace or os.environ.get("NEURAXIS_NAMESPACE") or None
        self._timeout = timeout

    def start(
        self,
        agent: Union[str, "Agent[Any]"],
        input: Any = None,
        *,
        key: Optional[str] = None,
        deadline: Optional[Duration] = None,
    ) -> str:
        """Starts a run; its id. With a `key` it is started once, however often this is called. `deadline` is the
        longest time it may take."""
        body: Dict[str, Any] = {"agent": agent.name if isinstance(agent, Agent) else agent, "input": input}
        if key is not None:
            body["key"] = key
        if deadline is not None:
            body["deadline"] = _text(millis(deadline, "deadline"))
        return str(self._post("/api/runs", body)["run"])

    def get(self, run: str, *, wait: Duration = 0) -> RunView:
        """A run as it is, or, with `wait`, as soon as it has ended or that time has passed."""
        return self._get(run, millis(wait, "wait"), {})

    def _get(self, run: str, wait_ms: int, query: Dict[str, str]) -> RunView:
        if wait_ms:
            query["wait"] = _text(wait_ms)
        path = self._in_namespace(f"/api/runs/{_quote(run)}", query)
        return _view(self.request("GET", path, timeout=self._timeout + wait_ms / 1000))

    def result(self, run: str, *, timeout: Optional[Duration] = None) -> Any:
        """Waits until a run has ended; its result. Raises `RunFailed`, or `TimeoutError` while it goes on."""
        deadline = None if timeout is None else time.monotonic() + millis(timeout, "timeout") / 1000
        while True:
            left = LONG_WAIT_S if deadline is None else min(LONG_WAIT_S, deadline - time.monotonic())
            began = time.monotonic()
            view = self._get(run, max(0, int(left * 1000)), {"limit": "1"})
            if view.status == "completed":
                return view.result
            if view.ended:
                raise RunFailed(view.id, view.status, view.error)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"run `{view.id}` is still {view.status}")
            if time.monotonic() - began < 0.05:
                time.sleep(0.05)  # a server that does not wait must not be asked in a tight loop

    def run(
        self,
        agent: Union[str, "Agent[Any]"],
        input: Any = None,
        *,
        key: Optional[str] = None,
        timeout: Optional[Duration] = None,
    ) -> Any:
        """Starts a run and waits for its result."""
        return self.result(self.start(agent, input, key=key), timeout=timeout)

    def signal(self, run: str, name: str, payload: Any = None) -> None:
        """Sends a signal to a run."""
        self._post(f"/api/runs/{_quote(run)}/signal", {"name": name, "payload": payload})

    def cancel(self, run: str, reason: str = "") -> None:
        """Asks a run to stop; its completed steps are undone."""
        self._post(f"/api/runs/{_quote(run)}/cancel", {"reason": reason})

    def infer(
        self,
        model: str,
        *,
        image: Optional[Image] = None,
        bytes: Optional[Image] = None,
        tensor: Any = None,
        inputs: Optional[Mapping[str, Any]] = None,
        subject: Optional[str] = None,
        cause: Optional[int] = None,
        deadline: Optional[Duration] = None,
    ) -> Inference:
        """Asks a model: `NAME`, `NAME@ALIAS` or `NAME@VERSION`, with what `nx.infer` takes. `subject` is what it is about,
        `cause` the place of the event that it follows from. In an agent use `nx.infer`, which records the answer."""
        query: Dict[str, str] = {}
        if subject is not None:
            query["subject"] = subject
        if cause is not None:
            query["cause"] = str(cause)
        deadline_ms = None if deadline is None else millis(deadline, "deadline")
        if deadline_ms is not None:
            query["deadline_ms"] = str(deadline_ms)
        asked = given(image, bytes, tensor, inputs)
        body = {"inputs": asked["inputs"] if "inputs" in asked else {"": asked["input"]}}
        timeout = self._timeout + (LONG_WAIT_S if deadline_ms is None else deadline_ms / 1000)
        path = self._in_namespace(f"/api/infer/{_quote(model)}", query)
        return Inference.of(self.request("POST", path, body, timeout=timeout))

    def models(self) -> List[Dict[str, Any]]:
        """The models, with their versions and aliases."""
        items: List[Dict[str, Any]] = self.request("GET", self._in_namespace("/api/models"))["items"]
        return items

    def alias(self, model: str, alias: str, version: int) -> Dict[str, Any]:
        """Points an alias of a model to a version, which is loaded first; the model as it is then."""
        body: Dict[str, Any] = {"version": version}
        if self._namespace is not None:
            body["namespace"] = self._namespace
        path = f"/api/models/{_quote(model)}/aliases/{_quote(alias)}"
        return cast(Dict[str, Any], self.request("PUT", path, body, timeout=self._timeout + LONG_WAIT_S))

    def rollback(self, model: str, alias: str = "live") -> Dict[str, Any]:
        """Points an alias of a model to where it pointed before; the model as it is then."""
        path = self._in_namespace(f"/api/models/{_quote(model)}/aliases/{_quote(alias)}/rollback")
        return cast(Dict[str, Any], self.request("POST", path, timeout=self._timeout + LONG_WAIT_S))

    def _in_namespace(self, path: str, query: Optional[Dict[str, str]] = None) -> str:
        query = dict(query or {})
        if self._namespace is not None:
            query["namespace"] = self._namespace
        return path + (f"?{urllib.parse.urlencode(query)}" if query else "")

    def _post(self, path: str, body: Dict[str, Any]) -> Any:
        if self._namespace is not None:
            body["namespace"] = self._namespace
        return self.request("POST", path, body)

    def request(self, method: str, path: str, body: Any = None, *, timeout: Optional[float] = None) -> Any:
        """A request to the API: the answer's JSON, or `ApiError`."""
        data = None if body is None else encode(body, "the request").encode()
        request = urllib.request.Request(self._base + path, data=data, method=method)
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with _OPENER.open(request, timeout=timeout or self._timeout) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, _problem(error)) from None


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _problem(error: urllib.error.HTTPError) -> Dict[str, Any]:
    try:
        problem = json.loads(error.read())
        return problem if isinstance(problem, dict) else {"detail": str(problem)}
    except ValueError:
        return {"detail": error.reason}


def _text(ms: int) -> str:
    """A length of time as the API reads it."""
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"


def _view(answer: Mapping[str, Any]) -> RunView:
    return RunView(
        id=str(answer.get("id", "")),
        status=str(answer.get("status", "")),
        agent=str(answer.get("agent", "")),
        result=answer.get("result"),
        error=_error(answer),
        raw=answer,
    )


def _error(answer: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The error's object; lists have `NAME: message` alone."""
    failure = answer.get("failure")
    if isinstance(failure, dict):
        return failure
    text = answer.get("error")
    if not isinstance(text, str):
        return None
    name, _, message = text.partition(": ")
    return {"name": name, "message": message}
