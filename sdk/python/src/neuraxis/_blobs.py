"""Values over the bound of a frame travel over HTTP beside the connection: uploaded before the frame that names them,
fetched when a frame names one. What this module must not do: interpret values.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Optional

from .errors import Error

if TYPE_CHECKING:
    from ._worker import Worker

MAX_INLINE_BYTES = 256 << 10
"""A value longer than this is sent as a blob."""
_ATTEMPTS = 5
# Like the WebSocket beside it, past any proxy of the environment: servers are reached directly.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class BlobError(Error):
    """A large value could not be uploaded or fetched."""

    code = "NX-SDK-0008"


def is_large(text: str) -> bool:
    """Whether a JSON text must travel as a blob."""
    if len(text) * 4 <= MAX_INLINE_BYTES:
        return False
    return len(text) > MAX_INLINE_BYTES or (not text.isascii() and len(text.encode()) > MAX_INLINE_BYTES)


def reference(value: Any) -> Optional[str]:
    """The id of the blob that stands for a value, if one does."""
    if type(value) is dict and len(value) == 1:
        found = value.get("$blob")
        return found if isinstance(found, str) else None
    return None


class Blobs:
    """Uploads and fetches, in threads of their own."""

    def __init__(self, worker: "Worker", base_url: str, token: Optional[str]) -> None:
        self._worker = worker
        self._base = base_url
        self._token = token

    async def upload(self, run: str, text: str) -> str:
        """Stores a JSON text; the JSON text of the reference to it."""
        answer = json.loads(await self._send("PUT", run, None, text.encode()))
        if reference(answer) is None:
            raise BlobError("the server answered an upload with something else than a reference")
        return json.dumps(answer, separators=(",", ":"))

    async def fetch(self, run: str, blob: str) -> Any:
        """The value of a blob."""
        return json.loads(await self._send("GET", run, blob, None))

    async def _send(self, method: str, run: str, blob: Optional[str], body: Optional[bytes]) -> bytes:
        parts = [urllib.parse.quote(part, safe="") for part in (run, blob) if part is not None]
        url = f"{self._base}/api/workers/blobs/{'/'.join(parts)}"
        wait = 0.1
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._worker.loop.run_in_executor(self._worker.transfers, self._request, method, url, body)
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 429) or attempt == _ATTEMPTS:
                    detail = error.read(500).decode("utf-8", "replace")
                    raise BlobError(f"{method} of a large value: HTTP {error.code} {detail}") from None
            except OSError as error:
                if attempt == _ATTEMPTS:
                    raise BlobError(f"{method} of a large value: {error}") from None
            await asyncio.sleep(wait)
            wait *= 2
        raise BlobError(f"{method} of a large value failed")

    def _request(self, method: str, url: str, body: Optional[bytes]) -> bytes:
        request = urllib.request.Request(url, data=body, method=method)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with _OPENER.open(request, timeout=60) as answer:
            result: bytes = answer.read()
            return result
