"""Executes every example of docs/python.md, in the order of the page."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, List, Tuple

from harness import PATIENCE_S, Harness
from neuraxis._load import load
from neuraxis._registry import registry

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "python.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:<!-- (run|call) (\S+) (?:(.*?) )?gives (.*?) -->)?", re.S)

READ = {"decision": 4711, "model": "digits", "version": 1, "engine": "rten", "label": "7", "confidence": 0.98}
"""What the model of the guide answers."""


def examples() -> List[Tuple[str, ...]]:
    """Code, `run` or `call`, name, input and result of each."""
    return [match.groups() for match in EXAMPLE.finditer(GUIDE.read_text())]


class Guide(Harness):
    async def test_examples(self) -> None:
        found = examples()
        self.assertGreater(len(found), 8)
        with tempfile.TemporaryDirectory() as folder:
            for place, (code, what, name, given, gives) in enumerate(found):
                with self.subTest(f"{name}"):
                    self.assertIsNotNone(what, f"the example has no line that says what it gives:\n{code}")
                    for table in (registry.agents, registry.steps, registry.tools):
                        table.clear()
                    file = Path(folder) / f"guide_{place}.py"
                    file.write_text(code)
                    module = load(str(file))
                    await self.work()
                    self.server.models["digits"] = READ
                    result = await (self.run_example(name, given) if what == "run" else self.call_example(module, name))
                    self.assertEqual(result, json.loads(gives))
                    await self.stop_worker()
                    await self.until(lambda: not self.server.sessions)
                    sys.path.remove(folder)

    async def run_example(self, agent: str, given: str) -> Any:
        run = self.server.start(agent, json.loads(given))
        while not run.ended:
            await self.until(lambda: run.ended or bool(self.server.pending()))
            for approval in self.server.pending():
                self.server.decide(approval, "approve")
        self.assertEqual((run.status, run.error), ("completed", None))
        return run.result

    async def call_example(self, module: Any, function: str) -> Any:
        call = asyncio.get_running_loop().run_in_executor(None, getattr(module, function), self.url)
        return await asyncio.wait_for(call, PATIENCE_S)
