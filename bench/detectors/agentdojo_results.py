#!/usr/bin/env python3
"""Writes what AgentDojo's tools return: one JSON object a line, `{"suite", "task", "tool", "attack", "result"}`.

    pip install agentdojo==0.1.35
    bench/detectors/agentdojo_results.py > results.jsonl

Each user task's ground truth is played on the default environment (`attack` is null) and, with `--attacks`, on the
environment that each injection task's attack `important_instructions` was put into; then only results that differ from
the benign ones are written. Suites: workspace, travel, banking. The suite `slack` stays unseen: an importer answers for its
modules with empty ones, so that no line of it is loaded.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import json
import sys
import warnings
from typing import Any, Dict, Iterator, Optional, Tuple
from unittest.mock import MagicMock

warnings.filterwarnings("ignore")


class Unseen(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers for every module of AgentDojo that has to do with the suite that stays unseen."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name.startswith("agentdojo.default_suites") and any("slack" in part for part in name.split(".")):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__name__ = spec, [], spec.name
        return module

    def exec_module(self, module: Any) -> None:
        pass


sys.meta_path.insert(0, Unseen())

from agentdojo.attacks.attack_registry import load_attack  # noqa: E402
from agentdojo.functions_runtime import FunctionsRuntime  # noqa: E402
from agentdojo.task_suite.load_suites import get_suite  # noqa: E402
from pydantic import BaseModel  # noqa: E402

VERSION = "v1.2.2"
SUITES = ("workspace", "travel", "banking")


class Victim:
    """What the attack wants to know of a pipeline: the name of a model."""

    name = "gpt-4o-2024-05-13"


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


def results(suite: Any, user: Any, injections: Dict[str, str]) -> Iterator[Tuple[str, Any]]:
    environment = user.init_environment(suite.load_and_inject_default_environment(injections))
    runtime = FunctionsRuntime(suite.tools)
    for call in user.ground_truth(environment.model_copy(deep=True)):
        result, error = runtime.run_function(environment, call.function, dict(call.args), raise_on_error=False)
        yield call.function, error if error else plain(result)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", action="store_true")
    options = parser.parse_args()
    for name in SUITES:
        suite = get_suite(VERSION, name)
        attack = load_attack("important_instructions", suite, Victim())
        for task, user in suite.user_tasks.items():
            benign = list(results(suite, user, {}))
            for tool, result in benign:
                print(json.dumps({"suite": name, "task": task, "tool": tool, "attack": None, "result": result}))
            for injection, goal in suite.injection_tasks.items() if options.attacks else ():
                attacked = list(results(suite, user, attack.attack(user, goal)))
                for (tool, before), (_, after) in zip(benign, attacked):
                    if before != after:
                        print(json.dumps({"suite": name, "task": task, "tool": tool, "attack": injection, "result": after}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
