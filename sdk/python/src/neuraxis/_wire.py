"""One WebSocket on asyncio, over the sans-I/O half of `websockets`: frames sent in one turn of the loop leave in one
write, and a frame received is handled without waking a task. What this module must not do: know what frames mean.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from typing import Any, Callable, List, Optional

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

SUBPROTOCOL = "neuraxis.worker.v1"
MAX_FRAME_BYTES = 1 << 20


class HandshakeRefused(Exception):
    """The server answered the handshake with a status."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body}" if body else f"HTTP {status}")
        self.status = status
        self.body = body


class Wire(asyncio.Protocol):
    """A connection. `on_text` gets each text frame, `on_lost` is called once, at the end."""

    def __init__(self, url: str, token: Optional[str]) -> None:
        self.loop = asyncio.get_running_loop()
        self.uri = parse_uri(url)
        self.protocol = ClientProtocol(self.uri, subprotocols=[SUBPROTOCOL], max_size=MAX_FRAME_BYTES)  # type: ignore[list-item]
        self.token = token
        self.transport: Optional[asyncio.Transport] = None
        self.opened: "asyncio.Future[None]" = self.loop.create_future()
        self.on_text: Callable[[str], None] = lambda text: None
        self.on_lost: Callable[[str], None] = lambda reason: None
        self.on_writable: Callable[[], None] = lambda: None
        self.paused = False
        self.last_heard = self.loop.time()
        self.reason = "connection closed"
        self._flush_planned = False
        self._fragments: List[bytes] = []
        self._lost = False

    @classmethod
    async def open(cls, url: str, token: Optional[str], timeout: float = 10.0) -> "Wire":
        """Connects and completes the handshake."""
        wire = cls(url, token)
        context = tls.create_default_context() if wire.uri.secure else None
        await asyncio.wait_for(
            wire.loop.create_connection(lambda: wire, wire.uri.host, wire.uri.port, ssl=context), timeout
        )
        try:
            await asyncio.wait_for(wire.opened, timeout)
        except BaseException:
            wire.abort("the handshake was not completed")
            raise
        return wire

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        request = self.protocol.connect()
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        self.protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self.last_heard = self.loop.time()
        self.protocol.receive_data(data)
        self._handle_events()

    def eof_received(self) -> None:
        self.protocol.receive_eof()
        self._handle_events()

    def connection_lost(self, exc: Optional[BaseException]) -> None:
        self._end(str(exc) if exc else self.reason)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.on_writable()

    # ---- receiving ----

    def _handle_events(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                self._handle_response()
            elif not isinstance(event, Frame):
                continue
            elif event.opcode is Opcode.TEXT and event.fin:
                self.on_text(str(event.data, "utf-8"))
            elif event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._fragments.append(bytes(event.data))
                if event.fin:
                    text = b"".join(self._fragments).decode()
                    self._fragments.clear()
                    self.on_text(text)
            elif event.opcode is Opcode.CLOSE:
                close = self.protocol.close_rcvd
                self.reason = f"the server closed the connection: {close}" if close else self.reason
        if self.protocol.parser_exc is not None and self.reason == "connection closed":
            self.reason = str(self.protocol.parser_exc) or type(self.protocol.parser_exc).__name__
        self._flush()
        if self.protocol.close_expected() and self.transport is not None:
            self.transport.close()

    def _handle_response(self) -> None:
        error = self.protocol.handshake_exc
        if self.opened.done():
            return
        if error is None:
            self.opened.set_result(None)
        elif isinstance(error, InvalidStatus):
            body = error.response.body or b""
            self.opened.set_exception(
                HandshakeRefused(error.response.status_code, body[:500].decode("utf-8", "replace"))
            )
        else:
            self.opened.set_exception(error)

    def _end(self, reason: str) -> None:
        if self._lost:
            return
        self._lost = True
        if not self.opened.done():
            error: Any = self.protocol.handshake_exc or ConnectionError(reason)
            self.opened.set_exception(
                error if isinstance(error, (InvalidHandshake, WebSocketException)) else ConnectionError(reason)
            )
        self.on_lost(reason)

    # ---- sending ----

    def send(self, data: bytes) -> None:
        """Queues a text frame; all of one turn of the loop leave together."""
        if self._lost:
            return
        self.protocol.send_text(data)
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_soon(self._flush)

    def ping(self) -> None:
        """Sends a ping; its pong counts as a sign of life."""
        if not self._lost:
            self.protocol.send_ping(b"")
            self._flush()

    def _flush(self) -> None:
        self._flush_planned = False
        chunks = self.protocol.data_to_send()
        if chunks and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(chunks))
            if b"" in chunks and self.transport.can_write_eof():
                self.transport.write_eof()

    def close(self) -> None:
        """Closes the connection in good order."""
        if not self._lost and self.opened.done() and not self.opened.cancelled() and self.opened.exception() is None:
            try:
                self.protocol.send_close(1000)
            except WebSocketException:
                pass
            self._flush()
        if self.transport is not None:
            self.loop.call_later(1.0, self.transport.abort)

    def abort(self, reason: str) -> None:
        """Ends the connection at once."""
        self.reason = reason
        if self.transport is not None:
            self.transport.abort()
        self._end(reason)
