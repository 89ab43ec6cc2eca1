#!/usr/bin/env python3
"""Cedar without slices: cedarpy decides calls against the 1,000 policies that the guard's own benchmark uses.

    pip install cedarpy==4.12.2
    cargo run --release -p nx-guard --example check -- policies > policies.cedar
    bench/cedarpy_unsliced.py policies.cedar

Policies and entities are parsed once, where cedarpy can (its PolicySet and Entities handles); the context of each call is
built beforehand and passed as a dict. Nothing is traced: this is the part of a check that policies take, and beside it stands
`decide_p50_us` of `cargo run --release -p nx-guard --example check`. One JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Dict, List

import cedarpy


def source(name: str) -> Dict[str, Any]:
    return {"__entity": {"type": "Source", "id": name}}


def request(n: int) -> Dict[str, Any]:
    """A call as the guard's benchmark makes it, with the context that those policies look at."""
    order = n % 1000
    origins = [[source("request")], [source("shop/find_order")], [source("untrusted/mail/read")], []][n % 4]
    names = ("order", "iban", "to", "cents", "by", "text")
    context = {
        "args": {"order": order, "iban": f"DE{order:020}", "to": f"c{order}@example.org", "cents": n, "by": "2025-01-11", "text": "x"},
        "from": {name: origins for name in names},
        "sinks": {"untrusted": [], "unclear": [], "ambiguous": ["to"] if n % 2 else []},
        "scores": {"injection": 0, "pii": 0, "secrets": 0},
        "acts": True,
        "asked": True,
        "leaks": False,
        "named": True,
    }
    action = {"type": "Tool::Action", "id": "pay/refund"}
    return {"principal": {"type": "User", "id": "ann"}, "action": action, "resource": {"type": "Agent", "id": "triage"}, "context": context}


def measure(name: str, requests: List[Dict[str, Any]], policies: Any, entities: Any) -> None:
    times: List[float] = []
    decisions: Dict[str, int] = {}
    for each in requests:
        begun = time.perf_counter()
        result = cedarpy.is_authorized(each, policies, entities)
        times.append(time.perf_counter() - begun)
        decisions[str(result.decision)] = decisions.get(str(result.decision), 0) + 1
    times.sort()
    at = lambda share: round(times[min(len(times) - 1, int(len(times) * share))] * 1e6, 1)  # noqa: E731
    print(json.dumps({"name": name, "p50_us": at(0.5), "p99_us": at(0.99), "calls": len(times), "decisions": decisions}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", type=argparse.FileType("r"))
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    # What no clause forbids is permitted, as with the guard.
    text = options.policies.read() + "\npermit(principal, action, resource);\n"
    clauses = text.count("\nforbid(")
    roles = [{"type": "Role", "id": role} for role in ("clerk", "viewer")]
    toolset = {"type": "Toolset::Action", "id": "pay"}
    graph = [
        {"uid": {"type": "User", "id": "ann"}, "attrs": {"roles": ["clerk", "viewer"]}, "parents": roles},
        {"uid": {"type": "Tool::Action", "id": "pay/refund"}, "attrs": {}, "parents": [toolset]},
    ]
    requests = [request(n) for n in range(options.calls)]
    entities = cedarpy.Entities.from_json_str(json.dumps(graph))
    measure(f"cedarpy.handles.{clauses}", requests, cedarpy.PolicySet.from_str(text), entities)
    measure(f"cedarpy.text.{clauses}", requests[: max(20, options.calls // 50)], text, graph)
    return 0


if __name__ == "__main__":
    sys.exit(main())
