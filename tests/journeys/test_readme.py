"""The README's agent in Python, taken from the README and run by the README's commands."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

from common import ROOT, SDK, Journey, wait_for

README = (ROOT / "README.md").read_text()


def command(start):
    """The README's command that starts so, without the program's name."""
    line = re.search(rf"^\$ neuraxis ({re.escape(start)}.*)$", README, re.M)
    assert line, f"the README has no command `neuraxis {start}`"
    return shlex.split(line[1])


class Readme(Journey):
    def test_the_quickstart(self):
        blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", README, re.M | re.S)
        self.assertEqual([name for name, _ in blocks], ["agent.py"])
        agent = self.dir / "agent.py"
        agent.write_text(blocks[0][1])
        dev, file = command("dev ")
        self.assertEqual(file, agent.name)
        env = {"NEURAXIS_PYTHON": sys.executable, "PYTHONPATH": SDK, "PYTHONUNBUFFERED": "1"}
        server = self.server(file, command=dev, env=env)

        run = command("run refund-order")
        shown = self.cli(server, *run)
        self.assertRegex(shown, r"✔ find_order")
        self.assertRegex(shown, r"✔ refund")
        self.assertIn("completed", shown)
        details = self.json(server, *run)
        same = self.json(server, *run, "--detach")
        self.assertEqual((same["run"], same["existing"]), (details["id"], True), "the same key is the same run")
        self.assertEqual(details["status"], "completed")
        self.assertRegex(details["result"], r"^refunded 8400 for A17 under [\w-]{8}$")
        self.assertEqual([step["name"] for step in details["steps"]], ["find_order", "refund"])
        self.assertIn(f"run/{details['id']} completed", self.cli(server, *command("why refund-order")))
        self.assertIn("completed", self.cli(server, "runs", "show", details["id"][:8]))

        def workers():
            return {worker["worker"] for worker in self.json(server, "workers")["items"]}

        # The file changes, the worker restarts, and the next run runs the new code.
        before = workers()
        agent.write_text(blocks[0][1].replace('return f"refunded {cents}', 'return f"paid back {cents}'))
        wait_for(lambda: "changed: the worker restarts" in server.text(), f"reload\n{server.text()}")
        again = [part.replace("A17", "A18") for part in run]
        wait_for(lambda: workers() - before, f"new worker\n{server.text()}")
        self.assertIn("completed", self.cli(server, *again))
        self.assertRegex(self.json(server, *again)["result"], r"^paid back 8400 for A18 under [\w-]{8}$")
        self.assertEqual(json.loads(again[again.index("--input") + 1]), {"order": "A18"})

        # However the server ends, its worker ends with it: it would serve old code to the next one.
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.child.pid)], capture_output=True, text=True)
        [worker] = found.stdout.split()
        os.kill(server.child.pid, signal.SIGKILL)
        server.child.wait()
        wait_for(lambda: not pathlib.Path(f"/proc/{worker}").exists(), f"end of the worker\n{server.text()}")
