"""*Why*: from a refund back to the reading of a motor; and the same story told by agents in another language."""

import base64
import collections
import os
import re
import sqlite3
import sys
import time

from common import ROOT, Journey, wait_for

PYTHON_AGENTS = ROOT / "examples" / "parcels" / "python" / "parcels_agents.py"


def digest(text):
    """The bytes of a digest: hexadecimal for people, base64url in the record."""
    return bytes.fromhex(text) if len(text) == 64 else base64.urlsafe_b64decode(text + "=")


def nodes(node):
    """A chain of causes from the effect backwards, nearest first."""
    yield node
    for cause in node["because"]:
        yield from nodes(cause)


class Why(Journey):
    def parcels(self, *more, python=False):
        """The example up to the question about the large refund; the server and the question."""
        if python:
            os.environ["PARCELS_WORLD"] = str(self.dir / "data" / "parcels" / "world.json")
            self.addCleanup(os.environ.pop, "PARCELS_WORLD", None)
            more = (*more, "--example-agents-elsewhere")
        server = self.server("--example", "parcels", *more)
        if python:
            self.worker(PYTHON_AGENTS, server.url)
        return server

    def question(self, server):
        asked = wait_for(lambda: self.json(server, "approvals", "list")["items"], f"question\n{server.text()}")
        self.assertEqual([item["args"]["order"] for item in asked], ["A17"])
        return asked[0]

    def refunds(self, server):
        return self.json(server, "runs", "list", "--agent", "redirect-and-refund")["items"]

    def test_a_refund_is_explained_down_to_the_motor(self):
        server = self.parcels()
        begun = time.monotonic()
        wait_for(lambda: self.refunds(server), f"incident\n{server.text()}")
        first = time.monotonic() - begun
        print(f"first incident {first:.1f} s after ready", file=sys.stderr)
        self.assertLessEqual(first, 20)

        asked = self.question(server)
        approval, right = asked["id"], asked["hash"]
        wrong = "0" * 64
        refused = self.cli(server, "approvals", "approve", approval, "--hash", wrong, expect=1)
        self.assertIn("[NX-RUN-0007]", refused)
        self.assertIn(right, refused, "the refusal names the arguments as they are")
        self.assertEqual(self.json(server, "approvals", "show", approval)["status"], "waiting")
        self.cli(server, "approvals", "approve", approval, "--hash", right, "--reason", "called the customer")
        again = self.cli(server, "approvals", "deny", approval, "--hash", right, expect=1)
        self.assertRegex(again, r"\[NX-RUN-\d{4}\]", "an approval is used once")
        self.finished(server)
        self.explained(server, right)

    def explained(self, server, right):
        text = " ".join(self.cli(server, "why", "refund/A17").split())
        told = re.match(r"refund/A17 .* ← approved by local \(hash (\S+)…\): called the customer ←", text)
        self.assertTrue(told, text)
        parts = ["← approved by", "← run redirect-and-refund/P88 by reflex/", "← parcel.late", "← run late-parcels by reflex/"]
        parts += ["← belt.stopped", "← run stop-belt by reflex/overheat", "← motor.reading"]
        places = [text.find(part) for part in parts]
        self.assertEqual(places, sorted(places), text)
        self.assertNotIn(-1, places, text)

        self.assertEqual(text.count("← parcel.late"), 1, "the other late parcels are no cause of this refund")

        chain = list(nodes(self.json(server, "why", "refund/A17")))
        kinds = [node["type"] for node in chain]
        order = ["step.completed", "approval.decided", "approval.requested", "run.created", "reflex.fired"]
        order += ["parcel.late", "run.created", "belt.stopped", "run.created", "reflex.fired", "motor.reading"]
        found = iter(kinds)
        self.assertTrue(all(kind in found for kind in order), kinds)
        self.assertEqual(kinds[-1], "motor.reading")
        seqs = [node["seq"] for node in chain]
        self.assertEqual(seqs, sorted(seqs, reverse=True), "causes come before what they cause")
        for kind in ("approval.requested", "approval.decided"):
            data = next(node["data"] for node in chain if node["type"] == kind)
            self.assertEqual(digest(data["hash"]), digest(right), kind)
        self.assertTrue(digest(right).hex().startswith(told[1]), told[1])
        self.assertGreater(chain[-1]["data"]["value"], 90, "the reading that lifted the mean over 90")
        # The run's and the approval's own ids lead to the same reading.
        decided = next(node["data"]["id"] for node in chain if node["type"] == "approval.decided")
        run = next(node["subject"].removeprefix("run/") for node in chain if node["type"] == "step.completed")
        for target in (decided, run):
            self.assertEqual(list(nodes(self.json(server, "why", target)))[-1]["seq"], seqs[-1])
        self.assertIn("[NX-RUN-0022]", self.cli(server, "why", "refund/A9999", expect=3))

    def finished(self, server):
        def ended():
            runs = self.refunds(server)
            return len(runs) == 5 and all(run["status"] == "completed" for run in runs)

        wait_for(ended, f"five refunds\n{server.text()}")

    def outcome(self, server):
        """What the world looks like when the story is over."""
        asked = self.question(server)
        self.cli(server, "approvals", "approve", asked["id"], "--yes")
        self.finished(server)
        world = self.dir / "data" / "parcels"

        def rows(file, query):
            with sqlite3.connect(f"file:{world / file}?mode=ro", uri=True) as database:
                return database.execute(query).fetchall()

        results = [self.json(server, "runs", "show", run["id"])["result"] for run in self.refunds(server)]
        mails = [mail.read_text() for mail in (world / "maildir" / "new").iterdir()]
        return {
            "amounts": sorted((result["order"], result["cents"]) for result in results),
            "booked": sorted(rows("payments.db", "select reference, cents, iban, state from refunds")),
            "stock": sorted(rows("shop.db", "select sku, stock from items")),
            "restocked": sorted(rows("shop.db", "select order_id, undone from restocks")),
            "notices": sorted(rows("logistics.db", "select body from notices")),
            "stops": rows("belt.db", "select verb, count(*) from commands group by verb"),
            "mails": collections.Counter(
                (re.search(r"^Delivered-To: (.*)$", mail, re.M)[1], mail.split("\n\n", 1)[1]) for mail in mails
            ),
        }

    def test_agents_in_another_language_end_the_same(self):
        rust = self.parcels()
        ours = self.outcome(rust)
        rust.kill()
        (self.dir / "data").rename(self.dir / "rust")
        theirs = self.outcome(self.parcels(python=True))
        self.assertEqual(theirs, ours)
        self.assertEqual(ours["amounts"], [(order, cents) for order, cents, _, _ in ours["booked"]])
        self.assertEqual(len(ours["amounts"]), 5)
        self.assertEqual(sum(ours["mails"].values()), 5)
        self.assertEqual(ours["stops"], [("stop", 1)])
