"""Threads that execute sync steps. Leaner than `concurrent.futures`, since nobody waits for a future here: the
work itself tells the event loop what came of it. The threads are daemons: a step that does not end does not hold
the process.

What this module must not do: know what the work is.
"""

from __future__ import annotations

import queue
import threading
from typing import Callable, Optional

Work = Callable[[], None]


class Pool:
    """At most `size` threads; work beyond waits in order."""

    def __init__(self, size: int, name: str) -> None:
        self._size = max(1, size)
        self._name = name
        self._queue: "queue.SimpleQueue[Optional[Work]]" = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._unfinished = 0
        self._closed = False

    def submit(self, work: Work) -> None:
        """Has a thread do the work, which must not raise."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the worker has shut down")
            self._unfinished += 1
            new = self._unfinished > self._threads and self._threads < self._size
            if new:
                self._threads += 1
                number = self._threads
        self._queue.put(work)
        if new:
            threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True).start()

    @property
    def unfinished(self) -> int:
        """How much work has not ended."""
        return self._unfinished

    def close(self) -> None:
        """Ends the threads as they fall idle."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._queue.put(None)

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            if work is None:
                return
            try:
                work()
            finally:
                del work  # an idle thread must not keep a run's values alive
                with self._lock:
                    self._unfinished -= 1
