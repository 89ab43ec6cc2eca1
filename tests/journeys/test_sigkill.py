"""Server and worker are killed again and again while refunds are in flight. Nothing is lost and nothing happens twice."""

import collections
import concurrent.futures
import http.client
import json
import os
import random
import sys
import threading
import time
import urllib.error
import urllib.request

from common import Journey, wait_for
from world import Maildir, Payments

KILLS = 80
RUNS_A_KILL = 2
SEED = 20261124

AGENT = '''
import json, os, pathlib, time, urllib.request, uuid
import neuraxis as nx

PAYMENTS, MAILDIR = os.environ["PAYMENTS"], pathlib.Path(os.environ["MAILDIR"])
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@nx.step(effect="read")
def find_order(order: str) -> dict:
    number = int(order[1:])
    return {"id": order, "cents": 8400 if number % 3 == 0 else 1900 + number}


@nx.step(effect="idempotent", retry=nx.Retry(attempts=8, initial="20ms", max="200ms"))
def refund(order: str, cents: int, *, key: nx.Key) -> dict:
    body = json.dumps({"order": order, "cents": cents}).encode()
    request = urllib.request.Request(PAYMENTS + "/refunds", body, {"idempotency-key": key})
    with OPENER.open(request, timeout=30) as answer:
        return json.load(answer)


def find_mail(order: str, *, key: nx.Key):
    """Every second order's mail server does not tell what it has."""
    if int(order[1:]) % 2:
        return nx.UNKNOWN
    for mail in (MAILDIR / "new").iterdir():
        if json.loads(mail.read_text())["key"] == key:
            return nx.done({"sent": order})
    return nx.NOT_DONE


@nx.step(effect="once", probe=find_mail)
def send_mail(order: str, *, key: nx.Key) -> dict:
    name = uuid.uuid4().hex
    with open(MAILDIR / "tmp" / name, "w") as mail:
        json.dump({"order": order, "key": key}, mail)
        mail.flush()
        os.fsync(mail.fileno())
    time.sleep(0.02)
    os.rename(MAILDIR / "tmp" / name, MAILDIR / "new" / name)
    time.sleep(0.03)
    return {"sent": order}


@nx.agent(name="refund")
async def refund_agent(order: str):
    found = await find_order(order)
    paid = await refund(order, found["cents"], approve=nx.Approval("lead", within="1h", over_cents=5000))
    await send_mail(order)
    return paid
'''


class Client:
    """A client that does not give up: asks until it is answered."""

    def __init__(self, url):
        self.url, self.opener = url, urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.stop = threading.Event()

    def once(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with self.opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def ask(self, path, body=None):
        while not self.stop.is_set():
            try:
                return self.once(path, body)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise
            except (OSError, ValueError, http.client.HTTPException):
                pass
            self.stop.wait(0.02)
        raise AssertionError("the test ended before the server answered")

    def pages(self, path):
        cursor = ""
        while cursor is not None:
            page = self.ask(path + (f"&cursor={cursor}" if cursor else ""))
            yield from page["items"]
            cursor = page.get("next")


def decision(event):
    """The word of a recorded decision; some hold a value."""
    said = event["data"]["decision"]
    return said if isinstance(said, str) else next(iter(said))


class Lead(threading.Thread):
    """A person, by script: approves refunds, and says about mails in doubt what the maildir says."""

    def __init__(self, client, maildir):
        super().__init__(daemon=True)
        self.client, self.maildir = client, maildir
        self.seen, self.acknowledged, self.problems = {}, {}, []

    def run(self):
        while not self.client.stop.is_set():
            try:
                for question in self.client.pages("/api/approvals?status=waiting&limit=1000"):
                    self.seen[question["id"]] = question
                    self.decide(question)
            except AssertionError:
                return
            except Exception as error:  # A thread's failure is the test's.
                self.problems.append(repr(error))
            self.client.stop.wait(0.1)

    def decide(self, question):
        answer = {"hash": question["hash"], "reason": "by script"}
        if question["why"] == "call":
            answer["decision"] = "approve"
        elif any(mail["order"] == question["args"]["order"] for mail in self.maildir.mails()):
            answer.update(decision="complete", value={"sent": question["args"]["order"]})
        else:
            answer["decision"] = "not_done"
        try:
            self.client.ask(f"/api/approvals/{question['id']}/decide", answer)
            self.acknowledged[question["id"]] = answer["decision"]
        except urllib.error.HTTPError as error:
            # Decided by an earlier request whose answer was lost with the server.
            problem = json.load(error)
            if problem.get("code") != "NX-RUN-0006":
                self.problems.append(problem)


class Sigkill(Journey):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.payments = Payments()
        self.addCleanup(self.payments.server_close)
        self.addCleanup(self.payments.shutdown)
        self.maildir = Maildir(self.dir / "mail")
        for name, value in (("PAYMENTS", self.payments.url), ("MAILDIR", str(self.maildir.path))):
            os.environ[name] = value
            self.addCleanup(os.environ.pop, name, None)
        self.agent = self.dir / "agent.py"
        self.agent.write_text(AGENT)
        self.started, self.sampled = {}, {}

    def moment(self):
        """Waits for what the kill is to hit; or for a while."""
        kind = self.random.choice(("delay", "request", "booking", "mail", "mail"))
        if kind == "delay":
            time.sleep(self.random.uniform(0, 0.4))
        elif kind == "mail":
            before, end = self.maildir.count(), time.monotonic() + 2
            while self.maildir.count() == before and time.monotonic() < end:
                time.sleep(0.003)
        else:
            event = self.payments.requested if kind == "request" else self.payments.booking
            event.clear()
            event.wait(2)
        time.sleep(self.random.uniform(0, 0.03))
        return kind

    def start_run(self, order):
        body = {"agent": "refund", "input": {"order": order}, "key": order}
        first = self.client.ask("/api/runs", body)["run"]
        self.started[order] = first

    def sample(self):
        """Events as a reader saw them: they stand in the log for good."""
        try:
            head = self.client.once("/api/events?from=0&limit=1")["head"]
            for event in self.client.once(f"/api/events?from={max(0, head - 20)}&limit=20")["items"]:
                self.sampled[event["seq"]] = (event["id"], event["type"])
        except OSError as error:
            self.fail(f"a server that is up does not answer: {error}")

    def test_killed_again_and_again(self):
        server = self.server()
        self.client = Client(server.url)
        self.addCleanup(self.client.stop.set)
        worker = self.worker(self.agent, server.url)
        lead = Lead(self.client, self.maildir)
        lead.start()
        kills, hits = collections.Counter(), 0
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            starts = []
            for number in range(KILLS):
                for more in range(RUNS_A_KILL):
                    starts.append(pool.submit(self.start_run, f"A{number * RUNS_A_KILL + more}"))
                moment = self.moment()
                victim = self.random.choice(("server", "server", "worker", "worker", "both"))
                if victim != "worker":
                    self.sample()
                hits += len(starts) > self.maildir.count()
                kills[victim, moment] += 1
                if victim != "worker":
                    server.kill()
                if victim != "server":
                    worker.kill()
                    worker = self.worker(self.agent, server.url)
                if victim != "worker":
                    server = self.server(listen=server.address)
            for start in starts:
                start.result(timeout=60)
        shown = f"{sum(kills.values())} kills, {hits} with refunds in flight, in {time.monotonic() - begun:.1f} s"
        print(f"{shown}: {dict(kills)}", file=sys.stderr)
        self.assertGreaterEqual(hits, 50, "kills with refunds in flight")
        self.settle(server)
        print(f"settled after {time.monotonic() - begun:.1f} s", file=sys.stderr)
        self.client.stop.set()
        lead.join()
        self.client.stop.clear()
        self.judge(server, lead)

    def settle(self, server):
        def settled():
            runs = list(self.client.pages("/api/runs?limit=1000"))
            return len(runs) == KILLS * RUNS_A_KILL and all(
                run["status"] in ("completed", "failed", "cancelled") for run in runs
            )

        try:
            wait_for(settled, "end of all runs")
        except AssertionError:
            runs = [run for run in self.client.pages("/api/runs?limit=1000") if run["status"] != "completed"]
            shown = "\n".join(self.cli(server, "runs", "show", run["id"]) for run in runs[:5])
            raise AssertionError(f"{len(runs)} runs do not end:\n{shown}\n{server.text()}") from None

    def judge(self, server, lead):
        orders = {f"A{number}" for number in range(KILLS * RUNS_A_KILL)}
        self.assertEqual(set(self.started), orders)
        runs = {run["key"]: run for run in self.client.pages("/api/runs?limit=1000")}
        self.assertEqual({key: run["id"] for key, run in runs.items()}, self.started, "a start was lost")
        self.assertEqual({run["status"] for run in runs.values()}, {"completed"})
        events = self.events(server)
        by_run = collections.defaultdict(list)
        for event in events:
            by_run[event["subject"]].append(event)

        # Refunds: one booking for each key, one for each order, under the amounts that the agents computed.
        self.assertEqual(self.payments.conflicts, [])
        booked = sorted((body["order"], body["cents"]) for body in self.payments.booked.values())
        wanted = {order: 8400 if int(order[1:]) % 3 == 0 else 1900 + int(order[1:]) for order in orders}
        self.assertEqual(booked, sorted(wanted.items()))
        self.assertEqual(set(self.payments.attempts), set(self.payments.booked), "every key was booked once")
        # Mails: one for each order, or a recorded ruling for each further one.
        mails = collections.Counter(mail["order"] for mail in self.maildir.mails())
        rulings = [event for event in events if event["type"] == "approval.decided"]
        not_done = collections.Counter(event["subject"] for event in rulings if decision(event) == "not_done")
        for order in orders:
            self.assertLessEqual(1, mails[order], f"no mail about {order}")
            self.assertLessEqual(mails[order] - 1, not_done[f"run/{self.started[order]}"], f"mails about {order}")
        self.assertEqual(mails, {order: 1 for order in orders}, "the script answered by the truth")
        self.approvals(lead, by_run, rulings)
        doubts = sum(question["why"] == "in_doubt" for question in lead.seen.values())
        print(
            f"{len(orders)} runs, {len(events)} events, {sum(self.payments.attempts.values())} requests, "
            f"{len(self.payments.booked)} keys, faults {dict(self.payments.faults)}, {sum(mails.values())} mails, "
            f"{len(lead.acknowledged)} decisions, {doubts} in doubt asked",
            file=sys.stderr,
        )
        self.assertGreater(doubts, 0, "no kill hit a mail whose server does not tell")
        self.assertIn("intact", self.cli(server, "audit", "verify"))

    def approvals(self, lead, by_run, rulings):
        self.assertEqual(lead.problems, [])
        decided = collections.Counter(event["data"]["id"] for event in rulings)
        self.assertEqual({id: count for id, count in decided.items() if count > 1}, {}, "decided twice")
        said = {event["data"]["id"]: decision(event) for event in rulings}
        for id, acknowledged in lead.acknowledged.items():
            self.assertEqual(said.get(id), acknowledged, f"the decision on {id} was lost")
        self.assertEqual(set(lead.seen) - set(said), set(), "questions without an answer")
        self.assertEqual(list(self.client.pages("/api/approvals?status=waiting&limit=1000")), [])
        for order, run in self.started.items():
            asked = [
                event for event in by_run[f"run/{run}"]
                if event["type"] == "approval.requested" and event["data"]["why"] == "call"
            ]
            self.assertEqual(len(asked), int(int(order[1:]) % 3 == 0), f"questions about the refund of {order}")

    def events(self, server):
        """All of the log, gapless, with everything that a reader ever saw."""
        lines = self.cli(server, "export").splitlines()
        events = []
        while True:
            page = self.client.ask(f"/api/events?from={len(events)}&limit=1000")["items"]
            if not page:
                break
            events += page
        self.assertEqual([event["seq"] for event in events], list(range(len(events))))
        self.assertGreaterEqual(len(events), len(lines))
        versions = collections.Counter()
        for event in events:
            self.assertEqual(event["version"], versions[event["subject"]] + 1, event)
            versions[event["subject"]] += 1
        lost = {seq: seen for seq, seen in self.sampled.items() if (events[seq]["id"], events[seq]["type"]) != seen}
        self.assertEqual(lost, {})
        self.assertGreater(len(self.sampled), 100)
        return events
