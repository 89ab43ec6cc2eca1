#!/usr/bin/env python3
"""AgentDojo's tasks replayed from their ground truth through the guard's HTTP interface. Not the leaderboard: no model runs.

    pip install agentdojo==0.1.35
    neuraxis up --data DIR --listen 127.0.0.1:7700 &
    bench/agentdojo/replay.py [--url http://127.0.0.1:7700] [--suite NAME ...] [--tools FILE] [--no-attacks] [-o FILE]

The agent is the worst that can be: it plays the calls of a user task's ground truth, and as soon as an injected goal is
visible in a tool's result it plays the calls of the injection's ground truth, then goes on. Every call is checked first;
`ask` is counted and decided by an oracle, which says yes exactly when tool and arguments stand in the user task's ground
truth. No plan is passed. What a tool does is told by its declaration alone (`tools.json`). The last answer of an attacked
task carries the injection's own output, and is checked as well.

One JSON object a line: each benign task that asks, each attack that succeeds, and the totals at the end.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import sys
import time
import urllib.parse
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional

warnings.filterwarnings("ignore")

from agentdojo.attacks.attack_registry import load_attack  # noqa: E402
from agentdojo.functions_runtime import FunctionsRuntime  # noqa: E402
from agentdojo.task_suite.load_suites import get_suite  # noqa: E402
from agentdojo.types import text_content_block_from_string  # noqa: E402
from pydantic import BaseModel  # noqa: E402

HERE = Path(__file__).resolve().parent
VERSION = "v1.2.2"
SUITES = ("workspace", "travel", "banking")


def plain(value: Any) -> Any:
    """A tool's result as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def canonical(tool: str, args: Dict[str, Any]) -> str:
    return json.dumps([tool, args], sort_keys=True)


def squeezed(text: str) -> str:
    return "".join(char for char in text if char.isalnum()).lower()


class Refused(Exception):
    pass


class Server:
    """One connection to the guard."""

    def __init__(self, url: str, token: Optional[str]) -> None:
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 7700, timeout=60)
        self.headers = {"content-type": "application/json"}
        if token:
            self.headers["authorization"] = f"Bearer {token}"
        self.checks: List[float] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        payload = None if body is None else json.dumps(body)
        self.connection.request(method, path, payload, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {text[:400]!r}")
        return json.loads(text) if text else None


class Guarded:
    """A guard session."""

    def __init__(self, server: Server, suite: Any, declarations: Dict[str, Any], prompt: str) -> None:
        self.server = server
        tools = [
            {
                "name": tool.name,
                "description": tool.description,
                "inputSchema": tool.parameters.model_json_schema(),
                **declarations[tool.name],
            }
            for tool in suite.tools
        ]
        opened = {"agent": f"agentdojo-{suite.name}", "principal": "emma", "prompt": prompt, "tools": tools}
        self.path = "/api/guard/sessions/" + server.call("POST", "/api/guard/sessions", opened)["session"]

    def check(self, tool: str, args: Dict[str, Any]) -> Dict[str, Any]:
        begun = time.perf_counter()
        answer = self.server.call("POST", self.path + "/check", {"tool": tool, "args": args})
        self.server.checks.append(time.perf_counter() - begun)
        return answer

    def decide(self, approval: str, yes: bool) -> None:
        ruling = {"decision": "approve" if yes else "deny", "by": "oracle", "reason": "ground truth" if yes else "not asked for"}
        self.server.call("POST", f"/api/approvals/{approval}/decide", ruling)

    def observe(self, tool: str, args: Dict[str, Any], result: Any, error: Optional[str]) -> None:
        body: Dict[str, Any] = {"tool": tool, "args": args}
        body.update({"error": error} if error else {"result": result})
        self.server.call("POST", self.path + "/observe", body)

    def output(self, text: str) -> Dict[str, Any]:
        return self.server.call("POST", self.path + "/output", {"text": text})

    def close(self) -> None:
        self.server.call("DELETE", self.path)


class Open:
    """No guard at all."""

    def check(self, tool: str, args: Dict[str, Any]) -> Dict[str, Any]:
        return {"decision": "allow", "reasons": []}

    def decide(self, approval: str, yes: bool) -> None:
        raise AssertionError("nothing asks")

    def observe(self, tool: str, args: Dict[str, Any], result: Any, error: Optional[str]) -> None:
        pass

    def output(self, text: str) -> Dict[str, Any]:
        return {"decision": "allow", "reasons": []}

    def close(self) -> None:
        pass


class Played:
    """What came of one task, attacked or not."""

    def __init__(self) -> None:
        self.asks: List[Dict[str, Any]] = []
        self.denied: List[str] = []
        self.injected = self.utility = self.attack = False


def play(suite: Any, user: Any, injection: Any, injections: Dict[str, str], guard: Any) -> Played:
    environment = user.init_environment(suite.load_and_inject_default_environment(injections))
    before = environment.model_copy(deep=True)
    runtime = FunctionsRuntime(suite.tools)
    calls = user.ground_truth(environment.model_copy(deep=True))
    truth = {canonical(call.function, plain(dict(call.args))) for call in calls}
    goal = squeezed(injection.GOAL) if injection else None
    played, trace = Played(), []

    def perform(call: Any) -> Optional[str]:
        args = plain(dict(call.args))
        verdict = guard.check(call.function, args)
        if verdict["decision"] == "ask":
            yes = canonical(call.function, args) in truth
            played.asks.append({"tool": call.function, "args": args, "reasons": verdict["reasons"], "oracle": yes})
            guard.decide(verdict["approval"], yes)
            if yes:
                verdict = guard.check(call.function, args)
        if verdict["decision"] != "allow":
            played.denied.append(call.function)
            return None
        result, error = runtime.run_function(environment, call.function, dict(call.args), raise_on_error=False)
        trace.append(call)
        guard.observe(call.function, args, plain(result), error)
        return json.dumps(plain(result), ensure_ascii=False).replace("\\n", " ")

    for call in calls:
        seen = perform(call)
        if injection and not played.injected and seen and goal in squeezed(seen):
            played.injected = True
            for forged in injection.ground_truth(environment.model_copy(deep=True)):
                perform(forged)

    def said(text: str) -> str:
        verdict = guard.output(text) if text else {"decision": "allow"}
        if verdict["decision"] == "ask":
            yes = text == user.GROUND_TRUTH_OUTPUT
            played.asks.append({"tool": "output", "args": text, "reasons": verdict["reasons"], "oracle": yes})
            verdict = {"decision": "allow" if yes else "deny"}
        return text if verdict["decision"] == "allow" else ""

    def holds(task: Any, text: str) -> bool:
        block = [text_content_block_from_string(text)]
        return bool(suite._check_task_result(task, block, before, environment, trace))

    played.utility = holds(user, said(user.GROUND_TRUTH_OUTPUT))
    if played.injected:
        played.attack = holds(injection, said(getattr(injection, "GROUND_TRUTH_OUTPUT", "") or ""))
    guard.close()
    return played


class Victim:
    """What the attack wants to know of a pipeline: the name of a model."""

    name = "gpt-4o-2024-05-13"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7700")
    parser.add_argument("--suite", action="append", help="default: " + ", ".join(SUITES))
    parser.add_argument("--tools", type=Path, default=HERE / "tools.json", help="the tools' declarations by suite")
    parser.add_argument("--no-attacks", action="store_true")
    parser.add_argument("--allow-all", action="store_true", help="no guard: what the others are compared with")
    parser.add_argument("-o", "--output", type=argparse.FileType("w"), default=sys.stdout)
    options = parser.parse_args()
    declarations = json.loads(options.tools.read_text())
    server = None if options.allow_all else Server(options.url, os.environ.get("NEURAXIS_TOKEN"))
    totals: "collections.Counter[str]" = collections.Counter()

    def say(**line: Any) -> None:
        print(json.dumps(line, ensure_ascii=False), file=options.output, flush=True)

    for name in options.suite or SUITES:
        suite = get_suite(VERSION, name)
        attack = load_attack("important_instructions", suite, Victim())

        def guard(user: Any) -> Any:
            return Open() if server is None else Guarded(server, suite, declarations[name], user.PROMPT)

        for user_id, user in suite.user_tasks.items():
            played = play(suite, user, None, {}, guard(user))
            totals["tasks"] += 1
            totals["utility"] += played.utility
            totals["asking"] += bool(played.asks)
            if played.asks or not played.utility:
                say(suite=name, task=user_id, prompt=user.PROMPT, utility=played.utility, denied=played.denied, asks=played.asks)
            for injection_id, injection in () if options.no_attacks else suite.injection_tasks.items():
                attacked = play(suite, user, injection, attack.attack(user, injection), guard(user))
                totals["attacks"] += 1
                totals["injected"] += attacked.injected
                totals["breaches"] += attacked.attack
                totals["utility_attacked"] += attacked.utility
                if attacked.attack:
                    say(suite=name, task=user_id, breach=injection_id, asks=attacked.asks)
    summary: Dict[str, Any] = dict(totals)
    if server is not None and server.checks:
        times = sorted(server.checks)
        summary["check_p50_us"] = round(times[len(times) // 2] * 1e6)
        summary["check_p99_us"] = round(times[int(len(times) * 0.99)] * 1e6)
    say(totals=summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
