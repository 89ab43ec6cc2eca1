"""One connection to a server: handshake, credit, liveness, and the meaning of each frame that arrives.

All of it happens on the worker's event loop. A session dies with its connection, and with it the incarnations that
it executed; executions granted by it live on in the worker. What this module must not do: reconnect.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, Optional

from ._blobs import is_large, reference
from ._flow import Run
from ._json import encode, loads
from ._perform import Call, Outcome, value_refused
from ._wire import Wire
from .errors import Dropped

if TYPE_CHECKING:
    from ._worker import Worker

log = logging.getLogger("neuraxis")


class Session:
    """A connection after its `welcome`."""

    def __init__(self, worker: "Worker", wire: Wire, welcome: Dict[str, Any]) -> None:
        self.worker = worker
        self.wire = wire
        self.name: str = welcome.get("session", "")
        self.credit: int = int(welcome.get("credit", 64))
        self.lease: float = int(welcome.get("lease_ms", 10_000)) / 1000
        self.open = True
        self.calls: Dict[int, Call] = {}
        self.waiting: Deque[Call] = deque()
        self.next_call = itertools.count(1).__next__
        self.handlers = {
            "result": self._on_result,
            "error": self._on_end,
            "refused": self._on_refused,
            "execute": self._on_execute,
            "probe": self._on_probe,
            "wait": self._on_wait,
            "start": self._on_start,
            "tool": worker.grants.on_tool,
            "undo": worker.grants.on_undo,
            "cancel": self._on_cancel,
            "closed": self._on_closed,
            "late_taken": worker.grants.on_late_taken,
            "goodbye": self._on_goodbye,
        }
        self._next_check = worker.loop.time() + self.lease / 3
        self._alive = worker.loop.call_at(self._next_check, self._check_alive)

    # ---- calls ----

    def begin(self, call: Call) -> None:
        """Sends a call's frame, as soon as the server's credit and the socket allow it."""
        if not self.open:
            self._fail(call, Dropped())
        elif call.flow.stopped is not None:
            self._fail(call, call.flow.stopped())
        elif self.wire.paused or len(self.calls) >= self.credit or self.waiting:
            self.waiting.append(call)
        else:
            self._send_call(call)

    def _send_call(self, call: Call) -> None:
        operation = call.operation
        self.calls[call.number] = call
        value, outcome = operation.value, operation.outcome
        if (value is not None and is_large(value[1])) or (outcome is not None and is_large(outcome[1])):
            self.worker.spawn(self._send_large(call))
        else:
            self.wire.send(operation.text(call.number, call.flow).encode())

    async def _send_large(self, call: Call) -> None:
        operation = call.operation
        run = call.flow.run.id
        value, outcome = operation.value, operation.outcome
        try:
            small_value = await self.worker.blobs.upload(run, value[1]) if value and is_large(value[1]) else None
            small_outcome = (
                await self.worker.blobs.upload(run, outcome[1]) if outcome and is_large(outcome[1]) else None
            )
        except Exception as error:
            self.calls.pop(call.number, None)
            self._fail(call, error)
            self.pump()
            return
        if self.open:
            self.wire.send(operation.text(call.number, call.flow, small_value, small_outcome).encode())

    def pump(self) -> None:
        """Sends calls that waited for credit or for the socket."""
        while self.open and self.waiting and not self.wire.paused and len(self.calls) < self.credit:
            call = self.waiting.popleft()
            if not call.waiter.done():
                self._send_call(call)

    @staticmethod
    def _fail(call: Call, error: BaseException) -> None:
        if not call.waiter.done():
            call.waiter.set_exception(error)

    def send(self, frame: Dict[str, Any]) -> None:
        """Sends a frame that holds no value of the user's."""
        if self.open:
            self.wire.send(encode(frame, "a frame").encode())

    async def send_outcome(self, head: str, run: str, outcome: Outcome) -> None:
        """Sends a frame that ends in an outcome too large for it."""
        kind, text = outcome
        try:
            text = await self.worker.blobs.upload(run, text)
        except Exception as error:
            log.error("the outcome of a step of run %s could not be uploaded: %s", run, error)
            if not self.open:
                return
            kind, text = value_refused(error)
        if self.open:
            self.wire.send(f'{head},"outcome":{{"{kind}":{text}}}}}'.encode())

    # ---- frames ----

    def on_text(self, text: str) -> None:
        """Handles a frame of the server."""
        try:
            frame = loads(text)
            handler = self.handlers.get(frame["t"])
            if handler is not None:
                handler(frame)
            else:
                log.debug("ignored a frame `%s`, which this SDK does not know", frame["t"])
        except Exception:
            log.exception("could not handle a frame of the server; reconnecting")
            self.wire.abort("the server broke the worker protocol")

    def _on_result(self, frame: Dict[str, Any]) -> None:
        call = self.calls.pop(frame["call"], None)
        if call is None:
            return
        if frame.get("live"):
            call.flow.run.live = True
        if call.granted is not None:
            self.worker.grants.settled(call.granted)
        blob = reference(frame.get("value"))
        if blob is not None:
            self.worker.spawn(self._fetch_into(call, frame, "value", blob))
        elif not call.waiter.done():
            call.waiter.set_result(frame)
        if self.waiting:
            self.pump()

    async def _fetch_into(self, call: Call, frame: Dict[str, Any], field: str, blob: str) -> None:
        try:
            frame[field] = await self.worker.blobs.fetch(call.flow.run.id, blob)
        except Exception as error:
            self._fail(call, error)
            return
        if not call.waiter.done():
            call.waiter.set_result(frame)

    def _on_end(self, frame: Dict[str, Any]) -> None:
        call = self.calls.pop(frame["call"], None)
        if call is None:
            return
        if call.granted is not None:
            self.worker.grants.settled(call.granted)
        if not call.waiter.done():
            call.waiter.set_result(frame)
        if self.waiting:
            self.pump()

    def _on_refused(self, frame: Dict[str, Any]) -> None:
        if frame.get("call") is None:
            problem = frame.get("problem", {})
            log.error("the server refused a frame: %s [%s]", problem.get("detail"), problem.get("code"))
            return
        self._on_end(frame)

    def _on_execute(self, frame: Dict[str, Any]) -> None:
        call = self.calls.get(frame["call"])
        if call is not None:
            self.worker.grants.execute(self, call, frame)

    def _on_probe(self, frame: Dict[str, Any]) -> None:
        call = self.calls.get(frame["call"])
        if call is not None:
            self.worker.spawn(self.worker.grants.probe(self, call, frame))

    def _on_wait(self, frame: Dict[str, Any]) -> None:
        call = self.calls.get(frame["call"])
        if call is not None and call.granted is not None and frame.get("why") == "retry":
            self.worker.grants.settled(call.granted)

    def _on_start(self, frame: Dict[str, Any]) -> None:
        self.worker.start_run(self, frame)

    def _on_cancel(self, frame: Dict[str, Any]) -> None:
        run = self.worker.runs.get(frame["run"])
        if run is not None and run.inc == frame["inc"]:
            run.cancel(frame.get("reason", ""))

    def _on_closed(self, frame: Dict[str, Any]) -> None:
        run = self.worker.runs.get(frame["run"])
        if run is not None and run.inc == frame["inc"]:
            self.forget(run, recorded=frame.get("state") in ("completed", "failed", "cancelled"))

    def _on_goodbye(self, frame: Dict[str, Any]) -> None:
        self.worker.goodbye = frame
        self.wire.abort(f"the server said goodbye: {frame.get('problem', {}).get('detail', '')}")

    # ---- ends ----

    def give_back(self, run: Run) -> None:
        """Hands a run back unfinished; the server starts it again."""
        if self.worker.runs.get(run.id) is run:
            self.send({"t": "release", "run": run.id, "inc": run.inc})
            self.forget(run)

    def forget(self, run: Run, recorded: bool = False) -> None:
        """Drops an incarnation that is over; `recorded` if the run has ended with it."""
        run.drop()
        if self.worker.runs.get(run.id) is run:
            del self.worker.runs[run.id]
            self.worker.run_gone()
        self.worker.grants.run_closed(run.id, run.inc, self, recorded)
        for number, call in list(self.calls.items()):
            if call.flow.run is run:
                del self.calls[number]
        self.pump()

    def lost(self, reason: str) -> None:
        """The connection is gone: its incarnations are over here."""
        if not self.open:
            return
        self.open = False
        self._alive.cancel()
        for call in itertools.chain(self.calls.values(), self.waiting):
            self._fail(call, Dropped())
        self.calls.clear()
        self.waiting.clear()
        self.worker.session_lost(self, reason)

    def _check_alive(self) -> None:
        now = self.worker.loop.time()
        late = now - self._next_check
        if late > self.lease / 3:
            # What the server sent meanwhile is still to be read: its silence can't be told from ours.
            log.warning(
                "the event loop was blocked for %.1f s by async code; after %.0f s the server takes it as lost. "
                "What blocks belongs into sync steps",
                late,
                self.lease,
            )
        elif now - self.wire.last_heard > self.lease:
            self.wire.abort(f"no sign of life from the server for {now - self.wire.last_heard:.0f} s")
            return
        self.wire.ping()
        self._next_check = now + self.lease / 3
        self._alive = self.worker.loop.call_at(self._next_check, self._check_alive)


async def handshake(worker: "Worker", wire: Wire) -> Session:
    """Sends `hello` and waits for `welcome`."""
    answer: "asyncio.Future[str]" = worker.loop.create_future()
    queued: Deque[str] = deque()

    def first(text: str) -> None:
        if answer.done():
            queued.append(text)  # frames may follow `welcome` within one packet
        else:
            answer.set_result(text)

    def lost(reason: str) -> None:
        if not answer.done():
            answer.set_exception(ConnectionError(reason))

    wire.on_text, wire.on_lost = first, lost
    wire.send(encode(worker.hello(), "hello").encode())
    frame = loads(await asyncio.wait_for(answer, 10))
    if frame.get("t") == "goodbye":
        worker.goodbye = frame
        raise ConnectionError(str(frame.get("problem", {}).get("detail", "goodbye")))
    if frame.get("t") != "welcome":
        raise ConnectionError(f"the server answered `hello` by `{frame.get('t')}`")
    session = Session(worker, wire, frame)
    wire.on_text, wire.on_lost, wire.on_writable = session.on_text, session.lost, session.pump
    worker.session_opened(session)
    for text in queued:
        session.on_text(text)
    return session


def outcome_frame(head: str, outcome: Outcome) -> Optional[bytes]:
    """The frame that ends in an outcome, or None if that is too large for it."""
    kind, text = outcome
    return None if is_large(text) else f'{head},"outcome":{{"{kind}":{text}}}}}'.encode()
