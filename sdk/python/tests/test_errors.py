"""How user errors cross the wire: statuses and Retry-After by the shape of the error, not by its library."""

from __future__ import annotations

import email.message
import io
import unittest
import urllib.error
from typing import Any, Dict, Optional

import neuraxis as nx
from neuraxis.errors import retry_after_ms, step_failed, to_wire
from neuraxis.options import millis


class Response:
    def __init__(self, status: int, headers: Optional[Dict[str, str]] = None) -> None:
        self.status_code = status
        self.headers = headers or {}


class HTTPStatusError(Exception):
    """Has the shape of httpx's and requests' errors."""

    def __init__(self, status: int, headers: Optional[Dict[str, str]] = None) -> None:
        super().__init__(f"status {status}")
        self.response = Response(status, headers)


class ToWire(unittest.TestCase):
    def check(self, error: BaseException, **expected: Any) -> None:
        wire = to_wire(error, with_traceback=False)
        self.assertEqual(wire, {"name": type(error).__name__, "message": str(error), **expected})

    def test_statuses(self) -> None:
        self.check(ValueError("x"))
        self.check(HTTPStatusError(404), retryable=False, details={"status": 404})
        self.check(HTTPStatusError(503), details={"status": 503})
        for passing in (408, 409, 425, 429):
            self.check(HTTPStatusError(passing), details={"status": passing})

    def test_retry_after(self) -> None:
        self.check(HTTPStatusError(429, {"Retry-After": "7"}), details={"status": 429}, retry_after_ms=7000)
        headers = email.message.Message()
        headers["Retry-After"] = "2"
        error = urllib.error.HTTPError("http://x", 503, "busy", headers, io.BytesIO())
        self.check(error, details={"status": 503}, retry_after_ms=2000)
        error.close()
        date = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
        self.assertEqual(retry_after_ms(date, now=1792567675.0), 5000)
        self.assertEqual(retry_after_ms(date, now=1792567690.0), 0)
        self.assertIsNone(retry_after_ms({"Retry-After": "soon"}))
        self.assertIsNone(retry_after_ms({"Retry-After": "nan"}))

    def test_what_the_user_says(self) -> None:
        self.check(nx.NonRetryable("no"), retryable=False)
        self.check(nx.RetryAfter(1.5, "later"), retryable=True, retry_after_ms=1500)

    def test_a_failed_step_keeps_its_name(self) -> None:
        failed = step_failed("charge", {"name": "CardDeclined", "message": "no funds"})
        self.assertEqual(str(failed), "step `charge` failed: CardDeclined: no funds")
        self.assertEqual(to_wire(failed), {"name": "CardDeclined", "message": "no funds"})
        self.assertIsInstance(step_failed("x", {"name": "ApprovalDenied", "message": "no"}), nx.ApprovalDenied)

    def test_bounds(self) -> None:
        wire = to_wire(ValueError("x" * 100_000 + "\ud800"))
        self.assertLessEqual(len(wire["message"]), 4096)
        self.assertLessEqual(len(wire["details"]["traceback"]), 8192)


class Durations(unittest.TestCase):
    def test_forms(self) -> None:
        self.assertEqual(
            [millis(d) for d in ("500ms", "90s", "1h30m", "1.5s", 2, 0.25, "4d")],
            [500, 90_000, 5_400_000, 1500, 2000, 250, 345_600_000],
        )
        for wrong in ("5", "h", "4 h", -1, True, "1m2x"):
            with self.assertRaises(nx.UsageError):
                millis(wrong)

    def test_approvals(self) -> None:
        approval = nx.Approval(
            "lead", within="4h", over_cents=5000, escalate=["head", ("cfo", "1d")], quorum=2, edit=True
        )
        self.assertEqual(
            approval.wire(),
            {
                "who": "lead",
                "within_ms": 14_400_000,
                "over": {"cents": 5000},
                "quorum": 2,
                "edit": True,
                "escalate": [{"who": "head"}, {"who": "cfo", "within_ms": 86_400_000}],
            },
        )
        with self.assertRaisesRegex(nx.UsageError, "has no option `limit`"):
            nx.Approval("lead", limit=5)


if __name__ == "__main__":
    unittest.main()
