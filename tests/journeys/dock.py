"""The flagship example, started: what its journeys share."""

import json
import os
import re
import sqlite3
import urllib.request

from common import ROOT, Journey, wait_for

PARCELS = ROOT / "examples" / "parcels"


class Dock(Journey):
    def start(self, *more, listen="127.0.0.1:0"):
        server = self.server("--example", "parcels", *more, listen=listen)
        self.told(server, r"^real: ", count=len(list(self.dir.glob("server*.log"))))
        return server

    def start_python(self, **options):
        os.environ["PARCELS_WORLD"] = str(self.dir / "data" / "parcels" / "world.json")
        self.addCleanup(os.environ.pop, "PARCELS_WORLD", None)
        server = self.start("--example-agents-elsewhere", **options)
        self.worker(PARCELS / "python" / "parcels_agents.py", server.url)
        return server

    def told(self, server, pattern, count=1):
        """Waits until the narrator, over all starts so far, has told this so often; the last match."""

        def look():
            if server.child.poll() is not None:
                raise AssertionError(f"the server ended with {server.child.returncode}:\n{server.text()}")
            matches = list(re.finditer(pattern, self.story(), re.M))
            return matches[-1] if len(matches) >= count else None

        try:
            return wait_for(look, f"{count} × {pattern}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from error

    def story(self):
        logs = sorted(self.dir.glob("server*.log"), key=lambda log: int(log.stem[6:]))
        return "".join(log.read_text(errors="replace") for log in logs)

    def world(self):
        return json.loads((self.dir / "data" / "parcels" / "world.json").read_text())

    def service(self, name, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.world()[name]}{path}", timeout=30) as answer:
            return json.load(answer)

    def rows(self, file, query):
        """What stands in a service's database."""
        path = self.dir / "data" / "parcels" / file
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            return database.execute(query).fetchall()

    def mails(self):
        """What the dock wrote to customers: of each mail, to whom and its content."""
        found = []
        for file in (self.dir / "data" / "parcels" / "maildir" / "new").iterdir():
            text = file.read_bytes().decode()
            to = re.search(r"^Delivered-To: (.*)\r$", text, re.M)[1]
            if to != "help@parcels.example":
                found.append((to, text.replace("\r\n", "\n").split("\n\n", 1)))
        return found

    def runs(self, server, agent, status="completed"):
        return self.json(server, "runs", "list", "--agent", agent, "--status", status)["items"]

    def approve(self, server, order):
        """A lead lets the refund of an order pass."""
        asked = self.told(server, rf"⏸ \S*refund {order} .* approvals approve (a_\w+)")[1]
        self.cli(server, "approvals", "approve", asked, "--yes", "--reason", "the customer waited long enough")
