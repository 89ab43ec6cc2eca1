"""The agent of `real_server.py`: each effect is a line in the file named by EFFECTS; probes read it."""

from __future__ import annotations

import os
from typing import Any, List

import neuraxis as nx

EFFECTS = os.environ.get("EFFECTS", "effects.txt")


def write(*words: str) -> None:
    """Takes effect: appends a line, at once and whole."""
    descriptor = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, (" ".join(words) + "\n").encode())
    finally:
        os.close(descriptor)


def lines() -> List[List[str]]:
    """The effects so far."""
    try:
        with open(EFFECTS, encoding="utf-8") as file:
            return [line.split() for line in file]
    except FileNotFoundError:
        return []


def find(kind: str, key: str) -> nx.Found:
    """Whether an effect took place."""
    return nx.done(kind) if any(line[0] == kind and line[2] == key for line in lines()) else nx.NOT_DONE


shop = nx.toolset("shop")


@nx.tool("shop", effect="read")
def was_shipped(args: Any, idempotency_key: str) -> nx.Found:
    return find("ship", idempotency_key)


@nx.tool("shop", effect="once", probe=was_shipped)
def ship(order: str, *, key: nx.Key) -> str:
    write("ship", order, key)
    return "ship"


@nx.step
def plan(order: str) -> str:
    return f"plan {order}"


@nx.step(effect="idempotent", retries=5)
async def reserve(order: str, *, key: nx.Key) -> str:
    write("reserve", order, key)
    return "reserve"


def was_charged(order: str, *, key: nx.Key) -> nx.Found:
    return find("charge", key)


@nx.step(effect="once", probe=was_charged)
def charge(order: str, cents: int, *, key: nx.Key) -> str:
    write("charge", order, key)
    return "charge"


def take_back(order: str, result: str, *, key: nx.Key) -> None:
    write("take-back", order, key)


@nx.agent
async def order_async(order: str) -> List[Any]:
    planned = await plan(order)
    first = await reserve(order)
    charged, second = await nx.gather(charge(order, 100), reserve(order))
    shipped = await shop.ship(order=order)
    await nx.emit("order.shipped", {"order": order})
    return [planned, first, charged, second, shipped, await nx.signal("end", within="10ms"), await nx.random() < 1]


@nx.agent
def order_sync(order: str) -> List[Any]:
    planned = plan.sync(order)
    first = reserve.sync(order)
    charged, second = nx.sync.gather(lambda: charge.sync(order, 100), lambda: reserve.sync(order))
    shipped = shop.ship.sync(order=order)
    nx.sync.emit("order.shipped", {"order": order})
    return [planned, first, charged, second, shipped, nx.sync.signal("end", within="10ms"), nx.sync.random() < 1]


@nx.agent
async def approved(order: str, cents: int) -> str:
    return await charge(
        order, cents, undo=take_back, approve=nx.Approval("lead", within="4h", over_cents=5000, edit=True)
    )


@nx.agent
async def undone(order: str) -> None:
    await charge(order, 100, undo=take_back)
    raise nx.NonRetryable("out of stock")


@nx.agent
async def waits() -> Any:
    try:
        return await nx.signal("go")
    except nx.Cancelled:
        write("cancelled", "-", "-")
        raise


@nx.agent
async def counts(rounds: int, state: Any = None) -> Any:
    done = state or 0
    await plan(str(done))
    if done == rounds:
        return done
    await nx.carry(done + 1)


@nx.agent
async def echo(text: str) -> str:
    return await echoed(text)


@nx.step
def echoed(text: str) -> str:
    return text


@nx.agent
async def parent(text: str) -> str:
    child: str = await nx.child(echo, {"text": text})
    return child
