"""User code as `mypy --strict tests/typed_agent.py` must accept it; executed by nothing."""

from typing import Any, Dict, List

import neuraxis as nx

shop = nx.toolset("shop")


def cancel(order: str, result: str) -> None: ...


@nx.step(effect="idempotent", retries=5)
def refund(order: str, cents: int, *, key: nx.Key) -> str:
    return key


@nx.step
async def add(a: int, b: int) -> int:
    return a + b


@nx.tool("shop", effect="read")
def find_order(parcel: str) -> Dict[str, Any]:
    return {}


@nx.agent
async def redirect_and_refund(parcel: str) -> str:
    order = await shop.find_order(parcel=parcel)
    paid: str = await refund(
        order["id"], order["cents"], undo=cancel, approve=nx.Approval("lead", within="4h", over_cents=5000)
    )
    three: int = await add(1, 2)
    now: float = (await nx.now()).timestamp()
    decision: nx.Decision = await nx.approval("dispatch", "lead")
    found: Dict[str, Any] = find_order("P88")
    await nx.gather(add(1, three), nx.sleep(now), refund(str(decision.by), len(found)))
    return paid


@nx.agent(version="1")
def adds_up(n: int) -> int:
    nx.sync.sleep("1s")
    pair: List[Any] = nx.sync.gather(lambda: add.sync(n, 1), lambda: add.sync(n, 2))
    total: int = add.sync(pair[0], pair[1])
    return total


@nx.agent
async def reads(parcel: str, image: str) -> str:
    read: nx.Inference = await nx.infer("digits", image=image, subject=f"parcel/{parcel}")
    label: str = read.label or ""
    return label


@nx.agent
def reads_too(image: str) -> int:
    read: nx.Inference = nx.sync.infer("digits", image=image)
    return read.version
