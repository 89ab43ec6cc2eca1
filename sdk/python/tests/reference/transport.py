"""The reference server on a socket: WebSocket for workers, and the few HTTP paths that the SDK uses."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from typing import Any, Dict, Optional, Tuple

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from neuraxis.options import millis

from .server import Server, Session


class Listener:
    """Listens on a port of 127.0.0.1."""

    def __init__(self, server: Server, token: Optional[str] = None) -> None:
        self.server = server
        self.token = token
        self.connections: "list[Connection]" = []
        self.refuse_uploads = 0
        self.largest_frame = 0
        self._listening: Any = None
        self.port = 0

    async def start(self, port: int = 0) -> str:
        """Listens; the address."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Connection(self), "127.0.0.1", port)
        self.port = self._listening.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Closes everything."""
        self._listening.close()
        self.drop()
        await asyncio.sleep(0)

    def drop(self) -> None:
        """Cuts every connection, as a crash would."""
        for connection in list(self.connections):
            connection.transport.abort()


class Connection(asyncio.Protocol):
    """One connection: HTTP until it asks for WebSocket."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.buffer = b""
        self.socket: Optional[ServerProtocol] = None
        self.session: Optional[Session] = None
        self.transport: Any = None
        self._planned = False
        self.deaf = False
        self._barrier: "Optional[asyncio.Future[None]]" = None

    async def barrier(self) -> None:
        """Waits until the worker has handled all that was sent."""
        assert self.socket is not None
        self._barrier = asyncio.get_running_loop().create_future()
        barrier = self._barrier
        if self.socket.state is State.OPEN:
            self.socket.send_ping(b"barrier")
            self._flush()
        await barrier

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.listener.connections.append(self)

    def connection_lost(self, exc: Optional[BaseException]) -> None:
        self.listener.connections.remove(self)
        if self._barrier is not None and not self._barrier.done():
            self._barrier.set_result(None)
            self._barrier = None
        if self.session is not None:
            self.listener.server.disconnected(self.session)

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        if self.socket is not None:
            self._feed(data)
            return
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if headers.get("upgrade", "").lower() == "websocket":
            self.socket = ServerProtocol(subprotocols=["neuraxis.worker.v1"], max_size=1 << 20)  # type: ignore[list-item]
            self._feed(self.buffer)
            return
        if len(rest) < int(headers.get("content-length", "0")):
            return
        method, path, _ = lines[0].split(" ")
        asyncio.ensure_future(self._http(method, path, rest))

    # ---- WebSocket ----

    def _feed(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.receive_data(data)
        for event in self.socket.events_received():
            if isinstance(event, Request):
                self._accept(event)
            elif not isinstance(event, Frame):
                continue
            elif event.opcode is Opcode.TEXT:
                self.listener.largest_frame = max(self.listener.largest_frame, len(event.data))
                if self.session is not None:
                    self.listener.server.receive(self.session, json.loads(bytes(event.data)))
            elif event.opcode is Opcode.PONG and event.data == b"barrier" and self._barrier is not None:
                self._barrier.set_result(None)
                self._barrier = None
        self._flush()
        if self.socket.close_expected():
            self.transport.close()

    def _accept(self, request: Request) -> None:
        assert self.socket is not None
        token = self.listener.token
        if token is not None and request.headers.get("Authorization") != f"Bearer {token}":
            self.socket.send_response(self.socket.reject(401, "unknown token"))
        elif request.path != "/api/workers/connect":
            self.socket.send_response(self.socket.reject(404, "not here"))
        else:
            self.socket.send_response(self.socket.accept(request))
            self.session = self.listener.server.connect(self._send)

    def _send(self, frame: Dict[str, Any]) -> None:
        assert self.socket is not None
        if self.transport.is_closing():
            return
        self.socket.send_text(json.dumps(frame, separators=(",", ":")).encode())
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._flush)
        if frame["t"] == "goodbye":
            self.socket.send_close(1000)

    def _flush(self) -> None:
        assert self.socket is not None
        self._planned = False
        data = b"".join(self.socket.data_to_send())
        if data and not self.transport.is_closing():
            self.transport.write(data)

    # ---- HTTP ----

    async def _http(self, method: str, path: str, body: bytes) -> None:
        try:
            status, answer = await self._answer(method, path, body)
        except Exception as error:
            status, answer = 500, {"code": "NX-REF-0002", "detail": repr(error)}
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        lines = [f"HTTP/1.1 {status} x", "content-type: application/json", f"content-length: {len(text)}"]
        head = "\r\n".join([*lines, "connection: close", "", ""])
        self.transport.write(head.encode() + text)
        self.transport.close()

    async def _answer(self, method: str, path: str, body: bytes) -> Tuple[int, Any]:
        server = self.listener.server
        path, _, query = path.partition("?")
        parts = path.strip("/").split("/")
        if method == "PUT" and parts[:3] == ["api", "workers", "blobs"]:
            if self.listener.refuse_uploads:
                self.listener.refuse_uploads -= 1
                return 503, {"code": "NX-REF-0003", "detail": "busy"}
            return 200, {"$blob": server.store(body)}
        if method == "GET" and parts[:3] == ["api", "workers", "blobs"]:
            return 200, server.blobs[parts[4]]
        if method == "POST" and path == "/api/runs":
            request = json.loads(body)
            if not any(session.offers_agent(request["agent"]) for session in server.sessions):
                return 404, {"code": "NX-RUN-0017", "detail": f"no agent `{request['agent']}` is known"}
            run = server.start(request["agent"], request.get("input"), request.get("key"))
            return 200, {"run": run.id, "existing": False}
        if method == "GET" and parts[:2] == ["api", "runs"]:
            run = server.runs[parts[2]]
            wait = dict(urllib.parse.parse_qsl(query)).get("wait")
            if wait is not None and not run.ended:
                ended = asyncio.Event()
                run.on_end.append(lambda _: ended.set())
                try:
                    await asyncio.wait_for(ended.wait(), millis(wait) / 1000)
                except asyncio.TimeoutError:
                    pass
            view: Dict[str, Any] = {"id": run.id, "agent": run.agent, "status": run.status}
            if run.status == "completed":
                view["result"] = run.result
            if run.error is not None:
                view["failure"] = run.error
                view["error"] = f"{run.error['name']}: {run.error['message']}"
            return 200, view
        return 404, {"code": "NX-REF-0004", "detail": f"nothing at {path}"}
