"""Time for the reference server: set by hand, or the loop's, sped up."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Any, Callable, List, Tuple


class ManualClock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self._order = itertools.count()
        self._due: List[Tuple[float, int, Callable[[], None]]] = []

    def later(self, ms: float, then: Callable[[], None]) -> None:
        """Calls back once the time has passed."""
        heapq.heappush(self._due, (self.now_ms + ms, next(self._order), then))

    def advance(self, ms: float) -> None:
        """Lets time pass."""
        end = self.now_ms + ms
        while self._due and self._due[0][0] <= end:
            self.now_ms, _, then = heapq.heappop(self._due)
            then()
        self.now_ms = end


class LoopClock:
    """The event loop's time, `speed` times faster."""

    def __init__(self, speed: float = 100.0) -> None:
        self._speed = speed

    @property
    def now_ms(self) -> float:
        """Milliseconds of the sped up time."""
        return asyncio.get_running_loop().time() * 1000 * self._speed

    def later(self, ms: float, then: Callable[[], None]) -> Any:
        """Calls back once the time has passed."""
        return asyncio.get_running_loop().call_later(ms / 1000 / self._speed, then)
