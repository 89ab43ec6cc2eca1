"""The dock's agents in Python: the same agents as `src/agents.rs`, with the same names, steps and arguments, so that
either worker can go on with a run that the other began.

    neuraxis up --example parcels --example-agents-elsewhere    # the server, the dock's services and the tools
    PARCELS_WORLD=neuraxis-data/parcels/world.json python -m neuraxis worker examples/parcels/python/parcels_agents.py

The toolsets `shop`, `pay`, `post` and `belt` are served by the example's Rust worker; who serves a tool is no concern of
an agent. The refund of a late parcel is a step of this file: it speaks to the payment service itself.

No model is configured: `understand` and `draft` are what one would do, done by plain code, as in `src/reader.rs`.
"""

import json
import os
import re
import urllib.error
import urllib.request
from typing import Any, Dict, List, Optional

import neuraxis as nx

shop = nx.toolset("shop")
pay = nx.toolset("pay")
post = nx.toolset("post")
belt_control = nx.toolset("belt")

VERSION = "python-1"
"""The version of these agents' code; `rust-1` is that of the others."""

UNATTENDED_CENTS = 5000
"""Refunds over this many cents wait for a person."""

OUTAGE_MIN = 45
"""How long the dock takes to set a stopped belt going again, in minutes."""

PATIENT = nx.Retry(attempts=6, initial="200ms", max="5s")
"""How the payment service is tried: it fails as real ones do."""


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


@nx.step(effect="idempotent", output="trusted", retry=PATIENT)
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


COMPLAINT = {
    "type": "object",
    "required": ["reason", "wants_refund"],
    "properties": {
        "order": {"x-source": "shop/open_orders"},
        "reason": {"enum": ["late", "broken", "lost"]},
        "wants_refund": {"type": "boolean"},
    },
}
"""All that may be learned from a mail that nobody vouches for: which open order, one word of three, yes or no."""


@nx.step(effect="read", extract=COMPLAINT)
def understand(mail: Dict[str, Any], open: List[str]) -> Dict[str, Any]:
    """Reads a complaint: a quarantined extraction."""
    text = f"{mail['subject']}\n{mail['body']}"
    order = next((word for word in _words(text) if word in open), None)
    text = text.lower()

    def says(*words: str) -> bool:
        return any(word in text for word in words)

    reason = "late"
    if says("broken", "damaged", "crushed"):
        reason = "broken"
    elif says("never arrived", "not arrived", "lost"):
        reason = "lost"
    complaint = {"reason": reason, "wants_refund": says("refund", "money back")}
    return complaint if order is None else {"order": order, **complaint}


@nx.step
def draft(mail: Dict[str, Any], order: Dict[str, Any]) -> Dict[str, Any]:
    """Drafts a refund as a model would that was talked into something: an account that the mail names takes the place
    of the one on file."""
    named = next((word for word in _words(mail["body"]) if _is_iban(word)), None)
    return {"order": order["id"], "cents": order["cents"], "iban": named or order["iban"]}


@nx.step(output="trusted")
def letter(order: Dict[str, Any]) -> Dict[str, str]:
    """The dock's own words about a refund; nothing of the mail is in them, so the code vouches for them."""
    return {
        "subject": f"Your order {order['id']} is refunded",
        "text": (
            f"Dear {order['customer']},\r\n\r\nwe are sorry about your order {order['id']}. "
            f"We refund {_euros(order['cents'])} to the account that you paid from.\r\n\r\nThe parcel dock\r\n"
        ),
    }


@nx.agent(version=VERSION)
async def answer_mail(input: Dict[str, Any]) -> Dict[str, Any]:
    """Answers a customer's mail. What it says is read in quarantine; what is refunded is drafted by code that believes
    all that it reads, and the guard decides about the draft. A refund that policies deny is made to the account on
    file."""
    mail = input
    open_orders: List[str] = await shop.open_orders()
    complaint = await understand(mail, open_orders)
    answered = {"mail": mail["id"], "reason": complaint["reason"]}
    if "order" not in complaint or not complaint["wants_refund"]:
        return answered
    order: Dict[str, Any] = await shop.find_order(order=complaint["order"])
    drafted = await draft(mail, order)
    await shop.close_order(order=_on_file("id"))
    try:
        paid = await pay.refund(**drafted, step_key=order["id"], retry=PATIENT)
    except nx.StepFailed as error:
        if error.name != "PolicyDenied":
            raise
        safe = {field: _on_file(source) for field, source in (("order", "id"), ("cents", "cents"), ("iban", "iban"))}
        paid = await pay.refund(**safe, step_key=f"{order['id']}/on-file", retry=PATIENT)
    written = await letter(order)
    await post.send_mail(to=_on_file("email"), subject=written["subject"], text={"$ref": "step/letter/text"})
    return {**answered, "order": paid["order"], "refund": paid["id"], "cents": paid["cents"]}


def _on_file(field: str) -> Dict[str, str]:
    """A reference to the order as the shop has it: the server puts in what stands there, with the label that it has
    there. The mail may name the same value; who names it no longer matters."""
    return {"$ref": f"shop/find_order/{field}"}


def _words(text: str) -> List[str]:
    return re.findall(r"[A-Za-z0-9]+", text)


def _is_iban(text: str) -> bool:
    """ISO 13616: form and check digits."""
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", text):
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02} EUR"


def _mail(order: Dict[str, Any]) -> Dict[str, str]:
    euros = _euros(order["cents"])
    return {
        "to": f"{order['customer']} <{order['email']}>",
        "subject": f"Your order {order['id']} is refunded",
        "text": (
            f"Dear {order['customer']},\r\n\r\nyour parcel {order['parcel']} missed its departure. "
            f"We refund {euros} to the account that you paid from.\r\n\r\nThe parcel dock\r\n"
        ),
    }
