"""The manual's commands, taken from its pages and run by a shell as they stand."""

import os
import re
import subprocess

from common import BINARY, ROOT, Journey


def commands(page, heading):
    """The commands of a section's console blocks."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / page).read_text(), re.M | re.S)
    assert section, f"{page} has no section `{heading}`"
    blocks = re.findall(r"^```console\n(.*?)^```$", section[1], re.M | re.S)
    found = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert found, f"{page}, `{heading}` has no commands"
    return found


class Docs(Journey):
    own = {}

    def shell(self, server, command, **replaced):
        for old, new in replaced.items():
            command = command.replace(old, new)
        command = command.replace("http://127.0.0.1:7700", server.url)
        env = {**os.environ, "NEURAXIS_URL": server.url, "NO_PROXY": "127.0.0.1", **self.own, "PATH": f"{self.dir}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, timeout=120, env=env, cwd=self.dir,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual(done.returncode, 0, f"$ {command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_the_commands_run(self):
        (self.dir / "bin").mkdir()
        (self.dir / "bin" / "neuraxis").symlink_to(BINARY)
        server = self.server()
        resources = commands("concepts.md", "Resources")
        for command in resources:
            shown = self.shell(server, command)
        self.assertIn("order.placed", shown)
        self.assertIn("order/A17", shown)

        for command in commands("operations.md", "Audit"):
            self.shell(server, command)

        backup, *rest = commands("operations.md", "Backup and restore")
        (self.dir / "old").symlink_to(self.dir / "data")
        (self.dir / "backups").mkdir()
        here = {"/backups": f"{self.dir}/backups"}
        self.shell(server, backup, **here)
        self.shell(server, "neuraxis erase order/A17 --reason 'request of the customer' --yes")
        for command in rest:
            shown = self.shell(server, command, **here)
        self.assertIn("1 erased again", shown)
        self.shell(server, "neuraxis doctor --data new")
        left = self.shell(server, "neuraxis export --data new")
        self.assertIn("order.placed", left)
        self.assertNotIn('"id":"A17"', left)

    def test_a_model_made_smaller(self):
        (self.dir / "bin").mkdir()
        (self.dir / "bin" / "neuraxis").symlink_to(BINARY)
        (self.dir / "testdata").symlink_to(ROOT / "testdata")
        self.own = {"XDG_CONFIG_HOME": f"{self.dir}/config", "XDG_CACHE_HOME": f"{self.dir}/cache", "NEURAXIS_ONNXRUNTIME": "off"}
        server = self.server()
        compress, verify = commands("compression.md", "From a file to a smaller file")
        self.assertIn("On 500 samples that the search did not see", self.shell(server, compress))
        told = self.shell(server, verify)
        key = re.search(r"signed by (\S+)", told)[1]
        (checked,) = commands("compression.md", "The folder")
        self.shell(server, re.sub(r"neuraxis-report\+[^\"]+", lambda _: key, checked))
        shown = [self.shell(server, command) for command in commands("compression.md", "Measuring")]
        self.assertIn("instructions", shown[0])
        self.assertIn("P50 US", shown[1])
        self.assertNotIn("cannot run", shown[1])
        self.assertIn("chosen", shown[2])
