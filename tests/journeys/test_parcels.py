"""The flagship example, as its README tells it: in Rust, in Python, and killed on the way."""

import collections
import json
import os
import random
import re
import signal
import sqlite3
import time
import urllib.request

from common import ROOT, Journey, wait_for

PARCELS = ROOT / "examples" / "parcels"


class Parcels(Journey):
    def start(self, *more, listen="127.0.0.1:0"):
        server = self.server("--example", "parcels", *more, listen=listen)
        self.told(server, r"^real: ", count=len(list(self.dir.glob("server*.log"))))
        return server

    def start_python(self, **options):
        os.environ["PARCELS_WORLD"] = str(self.dir / "data" / "parcels" / "world.json")
        self.addCleanup(os.environ.pop, "PARCELS_WORLD")
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

    def completed(self, server):
        """The refund runs that are completed."""
        runs = self.json(server, "runs", "list", "--agent", "redirect-and-refund", "--status", "completed")
        return runs["items"]

    def judge(self, server, undone=0):
        """The services' own counts: each effect took place once, besides those that were undone."""
        wait_for(lambda: len(self.completed(server)) == 5, f"five refunds\n{self.story()}")
        runs = self.cli(server, "runs", "list")
        self.assertEqual(len(self.json(server, "runs", "list")["items"]), 7, f"a stop, a search, five refunds\n{runs}")
        pay = self.service("payment", "/stats")
        self.assertEqual((pay["orders"], pay["cancelled"]), (5, undone), pay)
        self.assertEqual((pay["distinct_keys"], pay["refunds"]), (5 + undone, 5 + undone), pay)
        self.assertGreater(pay["faults"], 0, "the payment service never failed")
        stopped = {"belt": "conveyor-1", "running": False, "stops": 1}
        self.assertEqual(self.service("belt", "/belt"), stopped, self.story())
        self.assertEqual(self.service("logistics", "/stats")["notices"], 5)
        mails = list((self.dir / "data" / "parcels" / "maildir" / "new").iterdir())
        subjects = collections.Counter(re.search(r"^Subject: (.*)\r$", mail.read_bytes().decode(), re.M)[1] for mail in mails)
        orders = ["A103", "A12", "A17", "A31", "A58"]
        self.assertEqual(subjects, {f"Your order {order} is refunded": 1 for order in orders})

    def approve(self, server):
        approval = self.told(server, r"approvals approve (a_\w+)")[1]
        self.cli(server, "approvals", "approve", approval, "--yes", "--reason", "the customer waited long enough")

    def test_the_story(self):
        server = self.start()
        self.told(server, r"^real: motor series, .* · replayed: .* · simulated: conveyor, ")
        self.told(server, r"^parcel P88 of order A17 is late")
        self.told(server, r"⏸ refund A17 €84\.00 waits for lead")
        self.told(server, r"completed: order A\d+ got €", count=4)
        self.approve(server)
        self.told(server, r"↻ refund A17 €84\.00: 503")
        self.told(server, r"✔ refund A17 €84\.00 \(try 2\)")
        self.judge(server)
        why = self.cli(server, "why", "refund/A17")
        chain = ("refund/A17", "approved by", "run redirect-and-refund/P88", "reflex/overheat", "motor.reading")
        places = [why.find(part) for part in chain]
        self.assertEqual(places, sorted(places), why)
        self.assertNotIn(-1, places, why)

    def test_the_story_in_python(self):
        server = self.start_python()
        self.approve(server)
        self.judge(server)
        for run in self.json(server, "runs", "list")["items"]:
            starts = self.json(server, "events", "--subject", f"run/{run['id']}", "--type", "run.started", "--from", "0")
            self.assertEqual({start["data"]["version"] for start in starts["items"]}, {"python-1"})

    def test_python_goes_on_where_rust_was(self):
        server = self.start()
        self.told(server, r"⏸ refund A17")
        server.kill(signal.SIGKILL)
        server = self.start_python(listen=server.address)
        self.approve(server)
        self.judge(server)
        run = self.json(server, "runs", "list", "--key", "P88")["items"][0]["id"]
        events = self.json(server, "events", "--subject", f"run/{run}", "--from", "0", "--limit", "1000")["items"]
        versions = [event["data"]["version"] for event in events if event["type"] == "run.started"]
        self.assertEqual((versions[0], versions[-1]), ("rust-1", "python-1"))
        self.assertNotIn("incarnation.diverged", [event["type"] for event in events], "the agents differ")

    def test_what_fails_is_taken_back(self):
        self.taken_back(self.start())

    def test_what_fails_is_taken_back_in_python(self):
        self.taken_back(self.start_python())

    def taken_back(self, server):
        """The mail server can keep no mail: the refunds and the goods are taken back."""
        shop = sqlite3.connect(self.dir / "data" / "parcels" / "shop.db")
        self.addCleanup(shop.close)
        before = shop.execute("SELECT sku, stock FROM items ORDER BY sku").fetchall()
        (self.dir / "data" / "parcels" / "maildir" / "tmp").rmdir()
        self.told(server, r"takes back what it did", count=4)
        self.told(server, r"failed: .*451", count=4)
        pay = self.service("payment", "/stats")
        self.assertEqual((pay["refunds"], pay["cancelled"], pay["orders"], pay["booked_cents"]), (4, 4, 0, 0), pay)
        self.assertEqual(shop.execute("SELECT sku, stock FROM items ORDER BY sku").fetchall(), before)
        self.assertEqual(shop.execute("SELECT count(*), sum(undone) FROM restocks").fetchone(), (4, 4))
        failed = self.json(server, "runs", "list", "--status", "failed")["items"]
        self.assertEqual({run["agent"] for run in failed}, {"redirect-and-refund"})
        # The mail server is repaired, the failed runs are opened again: what was undone is done again, the rest is not.
        (self.dir / "data" / "parcels" / "maildir" / "tmp").mkdir()
        self.cli(server, "runs", "retry", "--all")
        self.approve(server)
        self.judge(server, undone=4)

    def test_a_denied_refund_is_none(self):
        server = self.start()
        approval = self.told(server, r"approvals approve (a_\w+)")[1]
        self.cli(server, "approvals", "deny", approval, "--yes", "--reason", "not ours")
        self.told(server, r"failed: .*not ours")
        self.told(server, r"completed: order A\d+ got €", count=4)
        self.assertEqual(self.service("payment", "/stats")["orders"], 4)

    def test_fifty_kills(self):
        """Server, worker and services die together, fifty times, after as many journal writes as the seed says. The
        services' own counts are the judge: whatever was in doubt was settled by a probe."""
        chance = random.Random(2013)
        server = self.start()
        self.told(server, r"stop-belt conveyor-1")
        for _ in range(50):
            self.written(server, chance.randrange(0, 24))
            server.kill(signal.SIGKILL)
            server = self.start(listen=server.address)
        waiting = wait_for(lambda: self.json(server, "approvals", "list")["items"], f"question\n{self.story()}")
        self.assertEqual([question["who"] for question in waiting], ["lead"], waiting)
        self.cli(server, "approvals", "approve", waiting[0]["id"], "--yes")
        self.judge(server)
        self.cli(server, "audit", "verify")

    def written(self, server, writes):
        """Waits until the log was written to so often, or has been quiet for a while."""
        log = self.dir / "data" / "journal.db-wal"
        seen, quiet_since = log.stat().st_mtime_ns, time.monotonic()
        while writes > 0 and time.monotonic() - quiet_since < 1:
            changed = log.stat().st_mtime_ns
            if changed != seen:
                seen, quiet_since, writes = changed, time.monotonic(), writes - 1
