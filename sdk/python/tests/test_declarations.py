"""Decorators: signatures, options, and the errors that name their fix."""

from __future__ import annotations

import dataclasses
import unittest
from typing import Any, List

import neuraxis as nx
from neuraxis._function import Function
from neuraxis._grants import select
from neuraxis._registry import registry
from neuraxis.steps import undo_of


def void(order: str, result: Any, *, key: nx.Key) -> None:
    """An undo function at the top of its module."""


@dataclasses.dataclass
class Parcel:
    id: str


class Signatures(unittest.TestCase):
    def setUp(self) -> None:
        for table in (registry.agents, registry.steps, registry.tools):
            table.clear()

    def test_binding_by_name_with_defaults(self) -> None:
        def f(a: int, b: int = 2, *, c: int = 3) -> None: ...

        function = Function(f, "x")
        self.assertEqual(function.bind((1,), {}), {"a": 1, "b": 2, "c": 3})
        self.assertEqual(function.bind((1, 5), {"c": 4}), {"a": 1, "b": 5, "c": 4})
        for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"a": 2}), ((1,), {"d": 2})):
            with self.assertRaises(TypeError):
                function.bind(args, kwargs)

    def test_all_kinds_of_parameters(self) -> None:
        def f(a: int, /, b: int, *rest: int, c: int, **named: int) -> List[Any]:
            return [a, b, rest, c, named]

        function = Function(f, "x")
        bound = function.bind((1, 2, 3, 4), {"c": 5, "d": 6})
        self.assertEqual(bound, {"a": 1, "b": 2, "rest": (3, 4), "c": 5, "named": {"d": 6}})
        self.assertEqual(function.invoke(bound), [1, 2, (3, 4), 5, {"d": 6}])

    def test_the_key_is_injected(self) -> None:
        def f(a: int, *, key: nx.Key) -> Any:
            return a, key

        function = Function(f, "x")
        self.assertEqual(function.invoke(function.bind((1,), {}), "k"), (1, "k"))
        with self.assertRaisesRegex(TypeError, "gets `key` from the server; .* `step_key="):
            function.bind((1,), {"key": "mine"})

    def test_mistakes_name_the_fix(self) -> None:
        def positional(key: nx.Key) -> None: ...
        def keyed(*, key: nx.Key) -> None: ...
        def generator() -> Any:
            yield 1

        for fix, declare in (
            ("put a `\\*` before it", lambda: nx.step(effect="once")(positional)),
            ("which only effects `idempotent` and `once` have", lambda: nx.step(keyed)),
            ("return a list instead", lambda: nx.step(generator)),
            ("none of `code`, `read`, `idempotent`, `once`", lambda: nx.step(effect="write")(void)),
            ("either `retries=` or `retry=`", lambda: nx.step(retries=1, retry=nx.Retry())),
            ("steps and tools have", lambda: nx.agent(keyed)),
        ):
            with self.subTest(fix), self.assertRaisesRegex(nx.UsageError, fix):
                declare()

    def test_a_step_outside_of_an_agent(self) -> None:
        @nx.step
        def double(n: int) -> int:
            return 2 * n

        with self.assertRaisesRegex(nx.UsageError, "outside of an agent"):
            double(2)
        self.assertEqual(double.function(2), 4)

    def test_undo_is_checked_when_the_step_is_called(self) -> None:
        def refund(order: str, cents: int) -> None: ...
        def nested(order: str) -> None: ...

        callee = Function(refund, "x")
        self.assertEqual(undo_of(void, callee), {"function": "void"})
        self.assertEqual(undo_of(nx.toolset("shop").restock, callee), {"tool": "shop/restock"})
        with self.assertRaisesRegex(nx.UsageError, "another process must find it by its name"):
            undo_of(nested, callee)
        with self.assertRaisesRegex(nx.UsageError, "takes `order`, which is neither"):
            undo_of(void, Function(lambda cents: None, "x"))

    def test_what_undo_and_probe_functions_take(self) -> None:
        self.assertEqual(
            select(Function(void, "x"), {"order": "A17", "cents": 5}, "paid"), {"order": "A17", "result": "paid"}
        )
        whole = Function(lambda args, result: None, "x")
        self.assertEqual(select(whole, {"a": 1}, 2), {"args": {"a": 1}, "result": 2})

    def test_agents_take_their_input_by_name(self) -> None:
        @nx.agent
        async def redirect_and_refund(parcel: Parcel, limit: int = 5, state: Any = None) -> None: ...

        @nx.agent
        async def whole(input: Any) -> None: ...

        self.assertEqual(redirect_and_refund.name, "redirect-and-refund")
        self.assertEqual(redirect_and_refund.arguments({"parcel": {"id": "P88"}}, None), {"parcel": Parcel("P88")})
        self.assertEqual(redirect_and_refund.arguments({"parcel": {"id": "P88"}, "limit": 1}, 7)["state"], 7)
        self.assertEqual(whole.arguments([1], None), {"input": [1]})
        for wrong, why in (
            ({"parsel": 1}, "no parameter `parsel`"),
            (None, "needs `parcel`"),
            ("P88", "must be an object"),
        ):
            with self.assertRaisesRegex(nx.InputError, why):
                redirect_and_refund.arguments(wrong, None)

    def test_two_agents_of_one_name(self) -> None:
        def one() -> None: ...
        def two() -> None: ...

        nx.agent(name="same")(one)
        with self.assertRaisesRegex(nx.UsageError, "declared twice"):
            nx.agent(name="same")(two)


if __name__ == "__main__":
    unittest.main()
