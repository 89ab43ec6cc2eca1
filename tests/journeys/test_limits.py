"""An agent's bounds hold in any namespace, from the first moment of a server on: what is declared is known before workers
are let in."""

import json
import os

from common import Journey, wait_for

MANIFEST = """
apiVersion: neuraxis/v1
kind: Agent
metadata: {name: hold, namespace: shop}
spec: {limits: {concurrency: 2}}
"""

AGENT = '''
import asyncio, os, pathlib
import neuraxis as nx

HERE = pathlib.Path(os.environ["HOLD_DIR"])

@nx.step(effect="read")
async def busy(name: str) -> str:
    with open(HERE / "log", "a") as log:
        log.write("+\\n")
    while not (HERE / "go").exists():
        await asyncio.sleep(0.02)
    with open(HERE / "log", "a") as log:
        log.write("-\\n")
    return name

@nx.agent
async def hold(name: str):
    return await busy(name)
'''


class Limits(Journey):
    def begun(self):
        log = self.dir / "log"
        return log.read_text().split() if log.exists() else []

    def most(self, lines):
        """How many were busy at once."""
        busy, most = 0, 0
        for line in lines:
            busy += 1 if line == "+" else -1
            most = max(most, busy)
        return most

    def test_concurrency_holds_over_a_restart(self):
        os.environ["HOLD_DIR"] = str(self.dir)
        os.environ["NEURAXIS_NAMESPACE"] = "shop"
        self.addCleanup(os.environ.pop, "HOLD_DIR", None)
        self.addCleanup(os.environ.pop, "NEURAXIS_NAMESPACE", None)
        file = self.dir / "agent.py"
        file.write_text(AGENT)
        (self.dir / "hold.yaml").write_text(MANIFEST)
        server = self.server()
        self.cli(server, "apply", "-f", str(self.dir / "hold.yaml"))
        names = [f"n{number}" for number in range(7)]
        for name in names:
            self.cli(server, "run", "hold", "--input", json.dumps({"name": name}), "--key", name, "--detach")
        worker = self.worker(file, server.url)
        wait_for(lambda: len(self.begun()) >= 2, f"two busy runs\n{worker.text()}")
        worker.kill()
        server.kill()
        self.assertLessEqual(len(self.begun()), 2)
        (self.dir / "log").unlink()

        # The worker is there before the server: it comes in at the first moment.
        worker = self.worker(file, server.url)
        server = self.server(listen=server.address)
        wait_for(lambda: len(self.begun()) >= 2, f"two busy runs again\n{worker.text()}")
        listed = self.json(server, "runs", "list", "--agent", "hold")["items"]
        self.assertEqual(sorted(run["status"] for run in listed), ["queued"] * 5 + ["running"] * 2)
        (self.dir / "go").touch()

        def over():
            listed = self.json(server, "runs", "list", "--agent", "hold")["items"]
            return len(listed) == 7 and all(run["status"] == "completed" for run in listed)

        wait_for(over, f"end of all runs\n{worker.text()}")
        self.assertEqual(len(self.begun()), 14)
        self.assertLessEqual(self.most(self.begun()), 2)
