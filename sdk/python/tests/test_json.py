"""What may enter the record, and how it comes back."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import unittest
import uuid
from typing import Any, Dict, List, NamedTuple, Optional

from neuraxis._json import MAX_SAFE_INTEGER, encode, loads, reviver
from neuraxis.errors import NotJson


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    name: str
    cents: int
    color: Color = Color.RED


@dataclasses.dataclass
class Order:
    id: str
    lines: List[Line]
    at: Optional[datetime.datetime] = None


class Point(NamedTuple):
    x: int
    y: int


class Model:
    """Has the shape of a pydantic model."""

    def __init__(self, n: int) -> None:
        self.n = n

    def model_dump(self, mode: str) -> Dict[str, Any]:
        assert mode == "json"
        return {"n": self.n}

    @classmethod
    def model_validate(cls, value: Dict[str, Any]) -> "Model":
        return cls(**value)


class Encoding(unittest.TestCase):
    def refused(self, value: Any) -> str:
        with self.assertRaises(NotJson) as caught:
            encode(value, "the result of `f`")
        return str(caught.exception)

    def test_compact_text(self) -> None:
        self.assertEqual(encode({"a": [1, 2.5, None, True, "é"]}, "x"), '{"a":[1,2.5,null,true,"é"]}')
        self.assertEqual(encode((1, 2), "x"), "[1,2]")

    def test_integers_beyond_2_53_are_refused_with_their_place(self) -> None:
        encode([MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER], "x")
        self.assertEqual(
            self.refused({"a/b": [1, MAX_SAFE_INTEGER + 1]}),
            "the result of `f`: integer `9007199254740993` at `/a~1b/1` is beyond 2^53 and would lose digits; "
            "send it as a string",
        )
        self.refused(2**60)
        encode(
            {"text": "12345678901234567890", "float": 0.12345678901234567, "e": 1e300, "list": ["12345678901234567"]},
            "x",
        )

    def test_numbers_without_a_form(self) -> None:
        self.assertIn("`nan` at `/x` has no JSON form", self.refused({"x": float("nan")}))
        self.assertIn("`inf` at the top", self.refused(float("inf")))

    def test_reserved_and_broken(self) -> None:
        self.assertIn("`$blob`", self.refused({"$blob": "00"}))
        encode({"x": {"$blob": "00"}}, "x")
        encode({"$blob": "00", "more": 1}, "x")
        self.assertIn("surrogate", self.refused("\ud800"))
        loop: List[Any] = []
        loop.append(loop)
        self.assertIn("nested deeper", self.refused(loop))
        deep: Any = 1
        for _ in range(97):
            deep = [deep]
        self.assertIn("nested deeper", self.refused(deep))
        self.assertIn("keys must be strings", self.refused({(1, 2): 3}))

    def test_the_fix_is_named(self) -> None:
        self.assertIn(
            "at `/total`: a `Decimal` has no JSON form; send it as a string",
            self.refused({"total": decimal.Decimal("1.1")}),
        )
        self.assertIn("base64", self.refused(b"x"))
        self.assertIn("sorted list", self.refused({"a": {1, 2}}))
        self.assertIn("timezone", self.refused(datetime.datetime(2026, 1, 1)))


class Reviving(unittest.TestCase):
    def check(self, hint: Any, value: Any) -> None:
        revive = reviver(hint)
        assert revive is not None
        self.assertEqual(revive(loads(encode(value, "x"))), value)

    def test_declared_types_come_back(self) -> None:
        noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
        self.check(Order, Order("A17", [Line("book", 100), Line("pen", 5)], noon))
        self.check(List[Line], [Line("book", 100)])
        self.check(Dict[str, Line], {"a": Line("book", 100)})
        self.check(Optional[Line], None)
        self.check(Color, Color.RED)
        self.check(Point, Point(1, 2))
        self.check(uuid.UUID, uuid.UUID(int=5))
        self.check(datetime.date, datetime.date(2026, 1, 1))

    def test_models(self) -> None:
        revive = reviver(Model)
        assert revive is not None
        self.assertEqual(revive(loads(encode(Model(3), "x"))).n, 3)

    def test_plain_types_cost_nothing(self) -> None:
        for hint in (str, int, dict, Any, List[int], Dict[str, Any], None):
            self.assertIsNone(reviver(hint))


if __name__ == "__main__":
    unittest.main()
