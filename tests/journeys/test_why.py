"""*Why*: from a refund back to the reading of a motor; and the same story told by agents in another language."""

import base64
import collections
import re
import sys
import time

from common import wait_for
from dock import Dock


def digest(text):
    """The bytes of a digest: hexadecimal for people, base64url in the record."""
    return bytes.fromhex(text) if len(text) == 64 else base64.urlsafe_b64decode(text + "=")


def nodes(node):
    """A chain of causes from the effect backwards, nearest first."""
    yield node
    for cause in node["because"]:
        yield from nodes(cause)


class Why(Dock):
    def question(self, server, order="A17"):
        """The question about the refund of an order."""

        def asked():
            items = self.json(server, "approvals", "list")["items"]
            return [item for item in items if item["args"]["order"] == order]

        return wait_for(asked, f"question about {order}\n{self.story()}")[0]

    def refunds(self, server):
        return self.json(server, "runs", "list", "--agent", "redirect-and-refund")["items"]

    def test_a_refund_is_explained_down_to_the_motor(self):
        server = self.start()
        begun = time.monotonic()
        wait_for(lambda: self.refunds(server), f"incident\n{self.story()}")
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
            return len(self.runs(server, "redirect-and-refund")) == 5

        wait_for(ended, f"five refunds\n{self.story()}")

    def outcome(self, server):
        """What the world looks like when the story is over."""
        for order in ("A24", "A17"):
            self.cli(server, "approvals", "approve", self.question(server, order)["id"], "--yes")
        self.finished(server)
        wait_for(lambda: len(self.runs(server, "answer-mail")) == 3, f"three answers\n{self.story()}")
        runs = [*self.refunds(server), *self.runs(server, "answer-mail")]
        results = [self.json(server, "runs", "show", run["id"])["result"] for run in runs]
        decided = self.json(server, "policy", "decisions", "--limit", "1000")["items"]
        return {
            "amounts": sorted((result["order"], result["cents"]) for result in results),
            "booked": sorted(self.rows("payments.db", "select reference, cents, iban, state from refunds")),
            "stock": sorted(self.rows("shop.db", "select sku, stock from items")),
            "restocked": sorted(self.rows("shop.db", "select order_id, undone from restocks")),
            "closed": sorted(self.rows("shop.db", "select order_id from closings")),
            "notices": sorted(self.rows("logistics.db", "select body from notices")),
            "stops": self.rows("belt.db", "select verb, count(*) from commands group by verb"),
            "mails": collections.Counter((to, mail[1]) for to, mail in self.mails()),
            "decided": collections.Counter((item["call"], item["outcome"]) for item in decided),
        }

    def test_agents_in_another_language_end_the_same(self):
        rust = self.start()
        ours = self.outcome(rust)
        rust.kill()
        (self.dir / "data").rename(self.dir / "rust")
        for log in self.dir.glob("server*.log"):
            log.rename(log.with_suffix(".rust"))
        theirs = self.outcome(self.start_python())
        self.assertEqual(theirs, ours)
        self.assertEqual(ours["amounts"], [(order, cents) for order, cents, _, _ in ours["booked"]])
        self.assertEqual(len(ours["amounts"]), 8)
        self.assertEqual(sum(ours["mails"].values()), 8)
        self.assertEqual(ours["stops"], [("stop", 1)])
