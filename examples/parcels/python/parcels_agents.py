"""The dock's agents in Python: the same agents as `src/agents.rs`, with the same names, steps and arguments, so that
either worker can go on with a run that the other began.

    neuraxis up --example parcels --example-agents-elsewhere    # the server, the dock's services and the tools
    PARCELS_WORLD=neuraxis-data/parcels/world.json python -m neuraxis worker examples/parcels/python/parcels_agents.py

The toolsets `shop`, `post` and `belt` are served by the example's Rust worker; who serves a tool is no concern of an
agent. The refund is a step of this file: it speaks to the payment service itself.
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any, Dict, List, Optional

import neuraxis as nx

shop = nx.toolset("shop")
post = nx.toolset("post")
belt_control = nx.toolset("belt")

VERSION = "python-1"
"""The version of these agents' code; `rust-1` is that of the others."""

UNATTENDED_CENTS = 5000
"""Refunds over this many cents wait for a person."""

OUTAGE_MIN = 45
"""How long the dock takes to set a stopped belt going again, in minutes."""


def _payment(path: str, body: Optional[Dict[str, Any]] = None, key: Optional[str] = None) -> Dict[str, Any]:
    """Posts to the payment service. Statuses and `Retry-After` reach the server with the `HTTPError`."""
    with open(os.environ["PARCELS_WORLD"], encoding="utf-8") as file:
        address = json.load(file)["payment"]
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    data = json.dumps(body or {}).encode()
    request = urllib.request.Request(f"http://{address}{path}", data, headers, method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        result: Dict[str, Any] = json.load(answer)
        return result


def cancel_refund(result: Dict[str, Any]) -> Dict[str, Any]:
    """Undoes a refund. The service knows it by the key it was booked under."""
    return _payment(f"/refunds/{result['key']}/cancel")


@nx.step(effect="idempotent", retry=nx.Retry(attempts=6, initial="200ms", max="5s"))
def refund(order: str, cents: int, iban: str, *, key: nx.Key) -> Dict[str, Any]:
    """Books a refund under the step's idempotency key."""
    return _payment("/refunds", {"order": order, "cents": cents, "iban": iban}, key)


@nx.agent(version=VERSION)
async def stop_belt(belt: str, temperature: float) -> Dict[str, Any]:
    """Stops a belt whose motor is too hot, and says so."""
    stopped: Dict[str, Any] = await belt_control.stop(belt=belt, reason=f"motor at {temperature:.1f}")
    await nx.emit("belt.stopped", {"belt": belt})
    return stopped


@nx.agent(version=VERSION)
async def late_parcels(belt: str) -> Dict[str, int]:
    """Finds the parcels that miss their departure because the belt stands; each is an incident."""
    late: List[Dict[str, Any]] = await shop.late_parcels(belt=belt, outage_min=OUTAGE_MIN)
    for parcel in late:
        await nx.emit(
            "parcel.late",
            {
                "parcel": parcel["parcel"],
                "order": parcel["order"],
                "belt": belt,
                "slack_min": parcel["slack_min"],
            },
        )
    return {"late": len(late)}


@nx.agent(version=VERSION)
async def redirect_and_refund(parcel: str) -> Dict[str, Any]:
    """Refunds a late parcel's order to the account on file, puts the goods back, redirects the parcel, tells the
    customer."""
    order = await shop.find_order(parcel=parcel)
    paid = await refund(
        order["id"],
        order["cents"],
        order["iban"],
        step_key=order["id"],
        undo=cancel_refund,
        approve=nx.Approval("lead", within="4h", over_cents=UNATTENDED_CENTS),
    )
    await shop.restock(order=order["id"])
    await post.notify(parcel=parcel, order=order["id"], action="return to stock")
    await post.send_mail(**_mail(order))
    return {"order": order["id"], "refund": paid["id"], "cents": paid["cents"]}


def _mail(order: Dict[str, Any]) -> Dict[str, str]:
    euros = f"{order['cents'] // 100}.{order['cents'] % 100:02} EUR"
    return {
        "to": f"{order['customer']} <{order['email']}>",
        "subject": f"Your order {order['id']} is refunded",
        "text": (
            f"Dear {order['customer']},\r\n\r\nyour parcel {order['parcel']} missed its departure. "
            f"We refund {euros} to the account that you paid from.\r\n\r\nThe parcel dock\r\n"
        ),
    }
