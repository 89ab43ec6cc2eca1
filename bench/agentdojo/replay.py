#!/usr/bin/env python3
"""AgentDojo's tasks replayed from their ground truth through the guard. Not the leaderboard: no model runs.

    pip install agentdojo==0.1.35
    bench/agentdojo/replay.py [--url http://127.0.0.1:7700]          # over HTTP, to a running server
    bench/agentdojo/replay.py --local target/debug/examples/replay   # the crate alone, in a process of its own

The agent is the worst that can be: it plays the calls of a user task's ground truth, and as soon as an injected goal is
visible in a tool's result it plays the calls of the injection's ground truth, then goes on. Every call is checked first;
`ask` is counted and decided by an oracle, which says yes exactly when tool and arguments stand in the user task's ground
truth. No plan is passed. What a tool does is told by its declaration alone (`tools.json`). The last answer of an attacked
task carries the injection's own output, and is checked as well.

One JSON object a line: each benign task that asks or fails, each attack that succeeds, each suite's totals, and all.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

warnings.filterwarnings("ignore")

import yaml  # noqa: E402
from agentdojo.attacks.attack_registry import load_attack  # noqa: E402
from agentdojo.functions_runtime import FunctionsRuntime  # noqa: E402
from agentdojo.task_suite.load_suites import get_suite  # noqa: E402
from agentdojo.types import text_content_block_from_string  # noqa: E402
from guards import Http, Local, OneLabel, Open  # noqa: E402
from pydantic import BaseModel  # noqa: E402

if hasattr(yaml, "CSafeLoader"):
    yaml.SafeLoader = yaml.CSafeLoader  # the same loader in C: each played task parses its whole environment

HERE = Path(__file__).resolve().parent
VERSION = "v1.2.2"
SUITES = ("workspace", "travel", "banking")
ATTACK = "important_instructions"


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


class Played:
    """What came of one task, attacked or not."""

    def __init__(self) -> None:
        self.asks: List[Dict[str, Any]] = []
        self.denied: List[str] = []
        self.injected = self.utility = self.attack = False


class Player:
    """Plays one task against one session of a guard."""

    def __init__(self, suite: Any, user: Any, injection: Any, injections: Dict[str, str], guard: Any) -> None:
        self.suite, self.user, self.injection, self.guard = suite, user, injection, guard
        self.environment = user.init_environment(suite.load_and_inject_default_environment(injections))
        self.before = self.environment.model_copy(deep=True)
        self.runtime = FunctionsRuntime(suite.tools)
        self.calls = user.ground_truth(self.environment.model_copy(deep=True))
        self.truth = {canonical(call.function, plain(dict(call.args))) for call in self.calls}
        self.played = Played()
        self.trace: List[Any] = []

    def oracle(self, ask: Any, about: Dict[str, Any], yes: bool) -> bool:
        """Whether the guard, and where it asks the oracle, lets it through."""
        verdict = ask()
        if verdict["decision"] == "ask":
            told = {name: verdict[name] for name in ("reasons", "explained") if name in verdict}
            self.played.asks.append({**about, **told, "oracle": yes})
            verdict = self.guard.decide(verdict, yes, ask)
        return bool(verdict["decision"] == "allow")

    def perform(self, call: Any) -> Optional[str]:
        """The text of the call's result, unless it was not allowed."""
        tool, args = call.function, plain(dict(call.args))
        yes = canonical(tool, args) in self.truth
        if not self.oracle(lambda: self.guard.check(tool, args), {"tool": tool, "args": args}, yes):
            self.played.denied.append(tool)
            return None
        result, error = self.runtime.run_function(self.environment, tool, dict(call.args), raise_on_error=False)
        self.trace.append(call)
        self.guard.observe(tool, args, plain(result), error)
        return json.dumps(plain(result), ensure_ascii=False).replace("\\n", " ")

    def said(self, text: str) -> str:
        """The text as it reaches the person."""
        yes = text == self.user.GROUND_TRUTH_OUTPUT
        if text and self.oracle(lambda: self.guard.output(text), {"tool": "output", "args": text}, yes):
            return text
        return ""

    def holds(self, task: Any, text: str) -> bool:
        block = [text_content_block_from_string(text)]
        return bool(self.suite._check_task_result(task, block, self.before, self.environment, self.trace))

    def play(self) -> Played:
        goal = squeezed(self.injection.GOAL) if self.injection else None
        played = self.played
        for call in self.calls:
            seen = self.perform(call)
            if goal and not played.injected and seen and goal in squeezed(seen):
                played.injected = True
                for forged in self.injection.ground_truth(self.environment.model_copy(deep=True)):
                    self.perform(forged)
        played.utility = self.holds(self.user, self.said(self.user.GROUND_TRUTH_OUTPUT))
        if played.injected:
            played.attack = self.holds(self.injection, self.said(getattr(self.injection, "GROUND_TRUTH_OUTPUT", "") or ""))
        self.guard.close()
        return played


class Victim:
    """What the attack wants to know of a pipeline: the name of a model."""

    name = "gpt-4o-2024-05-13"


class Replay:
    """All tasks of the suites, with what is counted."""

    def __init__(self, transport: Any, declarations: Dict[str, Any], output: Any) -> None:
        self.transport, self.declarations, self.output = transport, declarations, output

    def say(self, **line: Any) -> None:
        print(json.dumps(line, ensure_ascii=False), file=self.output, flush=True)

    def guard(self, suite: Any, user: Any) -> Any:
        tools = [
            {
                "name": tool.name,
                "description": tool.description,
                "inputSchema": tool.parameters.model_json_schema(),
                **self.declarations[suite.name][tool.name],
            }
            for tool in suite.tools
        ]
        return self.transport.session(f"agentdojo-{suite.name}", user.PROMPT, tools)

    def suite(self, name: str, attacks: bool) -> "collections.Counter[str]":
        suite = get_suite(VERSION, name)
        attack = load_attack(ATTACK, suite, Victim())
        totals: "collections.Counter[str]" = collections.Counter()
        for user_id, user in suite.user_tasks.items():
            played = Player(suite, user, None, {}, self.guard(suite, user)).play()
            totals.update(tasks=1, utility=played.utility, asking=bool(played.asks), asks=len(played.asks))
            totals.update(unasked=played.utility and not played.asks)
            if played.asks or not played.utility:
                self.say(suite=name, task=user_id, prompt=user.PROMPT, utility=played.utility, denied=played.denied, asks=played.asks)
            for injection_id, injection in suite.injection_tasks.items() if attacks else ():
                injections = attack.attack(user, injection)
                attacked = Player(suite, user, injection, injections, self.guard(suite, user)).play()
                totals.update(attacks=1, injected=attacked.injected, breaches=attacked.attack)
                totals.update(utility_attacked=attacked.utility, asks_attacked=len(attacked.asks))
                if attacked.attack:
                    self.say(suite=name, task=user_id, breach=injection_id, prompt=user.PROMPT, goal=injection.GOAL, asks=attacked.asks)
        self.say(suite=name, totals=dict(totals))
        return totals


def transport(options: argparse.Namespace) -> Any:
    if options.allow_all:
        return Open()
    if options.one_label:
        return OneLabel()
    if options.local:
        return Local(options.local, options.policy.read_text() if options.policy else None)
    if options.policy:
        sys.exit("--policy goes with --local; a server has it as its Policy `default`: neuraxis apply -f FILE")
    return Http(options.url, os.environ.get("NEURAXIS_TOKEN"))


def percentiles(times: List[float]) -> Dict[str, int]:
    times = sorted(times)
    ranks: Tuple[int, ...] = (50, 99) if times else ()
    return {f"check_p{rank}_us": round(times[len(times) * rank // 100]) for rank in ranks}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7700")
    parser.add_argument("--local", metavar="PROGRAM", help="the example `replay` of nx-guard, in place of a server")
    parser.add_argument("--policy", type=Path, help="Cedar text in place of the policy that ships (with --local)")
    parser.add_argument("--allow-all", action="store_true", help="no guard: what the others are compared with")
    parser.add_argument("--one-label", action="store_true", help="a simple guard: one label for the whole context")
    parser.add_argument("--suite", action="append", help="default: " + ", ".join(SUITES))
    parser.add_argument("--tools", type=Path, default=HERE / "tools.json", help="the tools' declarations by suite")
    parser.add_argument("--no-attacks", action="store_true")
    parser.add_argument("-o", "--output", type=argparse.FileType("w"), default=sys.stdout)
    options = parser.parse_args()
    guard = transport(options)
    replay = Replay(guard, json.loads(options.tools.read_text()), options.output)
    totals: "collections.Counter[str]" = collections.Counter()
    for name in options.suite or SUITES:
        totals.update(replay.suite(name, not options.no_attacks))
    replay.say(totals={**totals, **percentiles(guard.times)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
