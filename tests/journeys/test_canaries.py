"""Labels stay with values: canaries in an untrusted mail are traced through a run, its child, a restart and an export."""

import json
import re
import urllib.parse
import urllib.request

from common import Journey, wait_for

COUNT = 40

AGENTS = '''
import neuraxis as nx

COUNT = %d

def canary(n):
    return f"canary-{n:03d}-{(n * 7919) %% 100003:05d}"

@nx.step(effect="read")
def read_mail(box: str) -> dict:
    """Nobody vouches for what a read step returns, unless its declaration says so."""
    forms = [lambda c: c, lambda c: {"deep": [c]}, lambda c: f"please use {c} for this", lambda c: [c, 1]]
    return {"from": "eve@example.net", "parts": [forms[n %% 4](canary(n)) for n in range(COUNT)]}

@nx.step(effect="read", output="trusted")
def read_book() -> dict:
    return {"account": "account-on-file"}

@nx.step
def shape(parts: list) -> dict:
    """Code of ours passes the values on in another form."""
    return {"shaped": {str(n): part for n, part in enumerate(parts)}, "count": len(parts)}

@nx.step(effect="idempotent", sinks=["target"])
def act(target: str, *, key: nx.Key) -> str:
    return f"done for {target}"

@nx.agent
async def collect(box: str):
    mail = await read_mail(box)
    book = await read_book()
    shaped = await shape(mail["parts"])
    await nx.emit("mail.shaped", shaped)
    await nx.signal("go")
    return await nx.child(use, {"values": shaped["shaped"], "account": book["account"]})

@nx.agent
async def use(values: dict, account: str):
    await act(account, step_key="account")
    asked = 0
    for n in range(COUNT):
        try:
            await act(canary(n), step_key=str(n))
        except nx.StepFailed:
            asked += 1
    return asked
''' % COUNT


def canary(n):
    return f"canary-{n:03d}-{(n * 7919) % 100003:05d}"


class Canaries(Journey):
    def get(self, server, path, **query):
        url = f"{server.url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)

    def deny(self, server, waiting):
        body = json.dumps({"decision": "deny", "hash": waiting["hash"], "reason": "a canary"}).encode()
        request = urllib.request.Request(
            f"{server.url}/api/approvals/{waiting['id']}/decide", body, {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=60).close()

    def test_every_canary_is_traced(self):
        agents = self.dir / "canaries.py"
        agents.write_text(AGENTS)
        server = self.server()
        worker = self.worker(agents, server.url)
        run = self.json(server, "run", "collect", "--input", '{"box": "in"}', "--detach")["run"]
        wait_for(lambda: self.json(server, "runs", "show", run).get("waiting_for") == "signal go", "signal")
        server.kill()
        server = self.server(listen=server.address)
        self.cli(server, "runs", "signal", run, "go")

        decided = 0
        while decided < COUNT:
            waiting = wait_for(
                lambda: self.get(server, "/api/approvals", limit=100)["items"],
                f"question\n{worker.text()}\n{server.text()}",
            )
            for item in waiting:
                self.deny(server, item)
                decided += 1
        wait_for(lambda: self.json(server, "runs", "show", run)["status"] == "completed", f"end\n{worker.text()}")
        self.assertEqual(self.json(server, "runs", "show", run)["result"], COUNT)

        # Each call with a canary was traced to the mail; the account on file was nobody's business.
        asked = self.get(server, "/api/guard/decisions", outcome="ask", limit=1000)["items"]
        seen = {}
        for decision in asked:
            (origin,) = decision["decision"]["origins"]
            seen[decision["args"]["target"]] = origin
        self.assertEqual(set(seen), {canary(n) for n in range(COUNT)})
        for target, origin in seen.items():
            self.assertNotIn(origin["standing"], ("reference", "request", "trusted", "own"), target)
            self.assertIn("untrusted/step/read_mail", origin["sources"], target)
        allowed = self.get(server, "/api/guard/decisions", outcome="allow", limit=1000)["items"]
        self.assertIn("account-on-file", [decision["args"].get("target") for decision in allowed])

        # In the export, every event that holds a canary, or was made of them, says where it is from.
        events = [json.loads(line) for line in self.cli(server, "export").splitlines()]
        labels = {
            event["subject"].removeprefix("label/"): event["data"] for event in events if event["type"] == "label.defined"
        }
        found = {n: 0 for n in range(COUNT)}
        for event in events:
            if event["type"] not in ("step.completed", "mail.shaped", "run.created"):
                continue
            held = [int(number) for number in re.findall(r"canary-(\d{3})-", json.dumps(event.get("data")))]
            value = json.dumps((event.get("data") or {}).get("value", event.get("data")))
            if not held or "canary-" not in value:
                continue
            label = labels[event["label"]] if event.get("label") else {"sources": []}
            self.assertIn("untrusted/step/read_mail", label["sources"], event["type"])
            for n in held:
                found[n] += 1
        self.assertTrue(all(found.values()), found)
