"""What people and programs do to runs and resources from outside, by the command line and by HTTP: quorums, escalation, edited
arguments, rulings, forks, deadlines, bulk retries, streams that resume, secrets that nobody is shown."""

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

from common import BINARY, Journey, wait_for

AGENT = '''
import asyncio, logging, os, pathlib, time
import neuraxis as nx

HERE = pathlib.Path(os.environ["SURFACES"])
log = logging.getLogger("desk")


def note(*words):
    with open(HERE / "effects", "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


@nx.step(effect="idempotent")
def pay(order: str, cents: int, *, key: nx.Key) -> str:
    note("pay", order, cents, key)
    return f"paid {cents} for {order}"


@nx.step(effect="once")
def post(order: str) -> str:
    note("post", order)
    return f"posted {order}"


@nx.step(effect="read")
def look(order: str) -> str:
    log.info("looking at %s", order)
    return order


@nx.step(effect="read")
async def long(order: str) -> str:
    nx.heartbeat({"rows": 5000})
    while not (HERE / "go").exists():
        await asyncio.sleep(0.02)
    return order


@nx.agent
async def two_agree(order: str):
    return await pay(order, 8400, approve=nx.Approval("lead", quorum=2))


@nx.agent
async def editable(order: str):
    return await pay(order, 8400, approve=nx.Approval("lead", edit=True))


@nx.agent
async def escalates(order: str):
    return await pay(order, 8400, approve=nx.Approval("lead", within="200ms", escalate=[("head", "1h")]))


@nx.agent
async def expires(order: str):
    if (HERE / "patient").exists():
        return await pay(order, 100)
    return await pay(order, 8400, approve=nx.Approval("lead", within="100ms"))


@nx.agent
async def two_steps(order: str):
    found = await look(order)
    paid = await pay(found, 100)
    return [paid, await post(order)]


@nx.agent
async def sleeper(order: str):
    await nx.sleep("1h")


@nx.agent
async def signalled(order: str):
    return [order, await nx.signal("go")]


@nx.agent
async def long_one(order: str):
    return await long(order)
'''


class Surfaces(Journey):
    def begin(self, *args, **options):
        os.environ["SURFACES"] = str(self.dir)
        self.addCleanup(os.environ.pop, "SURFACES", None)
        server = self.server(*args, **options)
        agent = self.dir / "agent.py"
        agent.write_text(AGENT)
        self.crew = self.worker(agent, server.url)
        return server

    def http(self, server, path, body=None, token=None, method=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
        if token:
            headers["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(server.url + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def start(self, server, agent, order, *more):
        body = json.dumps({"order": order})
        return self.cli(server, "run", agent, "--input", body, "--key", order, "--detach", *more).strip()

    def asked(self, server, run):
        def waiting():
            items = self.json(server, "approvals", "list")["items"]
            return next((item for item in items if item["run"] == run), None)

        return wait_for(waiting, f"question of {run}")

    def ended(self, server, run):
        def over():
            shown = self.json(server, "runs", "show", run)
            return shown if shown["status"] in ("completed", "failed", "cancelled") else None

        return wait_for(over, f"end of {run}")

    def effects(self, kind):
        file = self.dir / "effects"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [line[1:] for line in lines if line[0] == kind]

    def test_people_with_roles_decide(self):
        server = self.server("--require-token")
        admin = (self.dir / "data" / "keys" / "admin.token").read_text().strip()
        os.environ["NEURAXIS_TOKEN"] = admin
        self.addCleanup(os.environ.pop, "NEURAXIS_TOKEN", None)
        os.environ["SURFACES"] = str(self.dir)
        self.addCleanup(os.environ.pop, "SURFACES", None)
        (self.dir / "agent.py").write_text(AGENT)
        self.worker(self.dir / "agent.py", server.url)
        token = {}
        for name, role in (("maria", "lead"), ("tom", "lead"), ("eve", "viewer"), ("ada", "head")):
            made = self.json(server, "token", "create", name, "--role", role, "--role", "viewer")
            token[name] = made["token"]

        run = self.start(server, "two-agree", "q1")
        asked = self.asked(server, run)
        path, yes = f"/api/approvals/{asked['id']}/decide", {"decision": "approve", "hash": asked["hash"]}
        status, refused = self.http(server, path, yes, token["eve"])
        self.assertEqual((status, refused["code"]), (403, "NX-RUN-0008"), refused)
        for _ in range(2):
            status, shown = self.http(server, path, yes, token["maria"])
            self.assertEqual((status, shown["status"], shown["votes"]), (200, "waiting", ["maria"]), shown)
        text = self.cli(server, "approvals", "show", asked["id"])
        self.assertRegex(text, r"agree +1 of 2 \(maria\)")
        self.assertEqual(self.effects("pay"), [])
        os.environ["NEURAXIS_TOKEN"] = token["tom"]
        self.cli(server, "approvals", "approve", asked["id"], "--hash", asked["hash"], "--reason", "fine")
        os.environ["NEURAXIS_TOKEN"] = admin
        self.assertEqual(self.ended(server, run)["result"], "paid 8400 for q1")
        decided = self.json(server, "approvals", "show", asked["id"])
        self.assertEqual((decided["decided_by"], decided["reason"]), ("maria, tom", "fine"))

        # Nobody of the first rung answers in time: the next one is asked.
        run = self.start(server, "escalates", "e1")
        asked = wait_for(lambda: self.rung(server, run, "head"), "escalation")
        path, yes = f"/api/approvals/{asked['id']}/decide", {"decision": "approve", "hash": asked["hash"]}
        status, shown = self.http(server, path, yes, token["ada"])
        self.assertEqual((status, shown["status"], shown["decided_by"]), (200, "approved", "ada"))
        self.assertEqual(self.ended(server, run)["status"], "completed")

    def rung(self, server, run, who):
        asked = self.asked(server, run)
        return asked if asked["who"] == who else None

    def test_arguments_are_edited_and_questions_expire(self):
        server = self.begin()
        run = self.start(server, "editable", "x1")
        asked = self.asked(server, run)
        edit = json.dumps({"order": "x1", "cents": 5000})
        self.cli(server, "approvals", "approve", asked["id"], "--hash", asked["hash"], "--edit", edit)
        self.assertEqual(self.ended(server, run)["result"], "paid 5000 for x1")
        self.assertIn('"cents":5000', self.cli(server, "approvals", "show", asked["id"]))
        self.assertEqual([effect[:2] for effect in self.effects("pay")], [["x1", "5000"]])

        # What failed stands in the inbox, and is opened again in bulk.
        runs = [self.start(server, "expires", f"late{n}") for n in range(3)]
        for run in runs:
            self.assertIn("ApprovalExpired", self.ended(server, run)["error"])
        inbox = self.json(server, "runs", "list", "--inbox")["items"]
        self.assertEqual({item["id"] for item in inbox}, set(runs))
        (self.dir / "patient").touch()
        self.assertIn("0 retried", self.cli(server, "runs", "retry", "--error", "Other"))
        self.assertIn("3 retried, 0 skipped", self.cli(server, "runs", "retry", "--error", "ApprovalExpired"))
        for run in runs:
            self.assertEqual(self.ended(server, run)["status"], "completed")
        self.assertEqual(self.json(server, "runs", "list", "--inbox")["items"], [])

    def test_a_new_once_step_names_what_it_may_be(self):
        """Code that renames an effect under a run in flight: the person is shown which recorded step it may be."""
        server = self.begin()
        run = self.start(server, "two-steps", "c1")
        self.ended(server, run)
        fork = self.json(server, "runs", "fork", run, "--live")["run"]
        self.assertEqual(self.ended(server, fork)["status"], "completed")
        before = self.effects("post")

        # A run whose once step is recorded, its worker gone before the end.
        agent = self.dir / "agent.py"
        held = AGENT + "\n\n@nx.agent\nasync def held(order: str):\n    await post(order)\n    return await long(order)\n"
        agent.write_text(held)
        self.crew.kill(signal.SIGTERM)
        self.crew = self.worker(agent, server.url)
        run = self.start(server, "held", "h1")
        wait_for(lambda: len(self.effects("post")) > len(before), "effect")
        wait_for(lambda: self.json(server, "runs", "show", run)["steps"][:1], "record")
        wait_for(lambda: self.json(server, "runs", "show", run)["steps"][0]["status"] == "completed", "record")
        self.crew.kill()
        agent.write_text(held.replace("await post(order)\n    return await long", "await post2(order)\n    return await long") + POST2)
        (self.dir / "go").touch()
        self.worker(agent, server.url)
        asked = self.asked(server, run)
        self.assertEqual((asked["why"], asked["candidates"]), ("new_once", [1]))
        shown = self.cli(server, "approvals", "show", asked["id"])
        self.assertRegex(shown, r'reuse +step 1 post completed of .*→ "posted h1"')
        self.cli(server, "approvals", "rule", "reuse", asked["id"], "--step", "1", "--yes")
        self.assertEqual(self.ended(server, run)["status"], "completed")
        self.assertEqual(len(self.effects("post")), len(before) + 1, "the effect was not repeated")

    def test_forks_repeat_no_effect_unless_they_are_live(self):
        server = self.begin()
        run = self.start(server, "two-steps", "f1")
        self.assertEqual(self.ended(server, run)["result"], ["paid 100 for f1", "posted f1"])
        effects = (self.effects("pay"), self.effects("post"))
        fork = self.json(server, "runs", "fork", run, "--at", "2")["run"]
        simulated = self.ended(server, fork)
        self.assertEqual(simulated["forked_from"], {"run": run, "at_step": 2, "live": False})
        self.assertEqual((self.effects("pay"), self.effects("post")), effects, "nothing was done")
        edited = self.json(server, "runs", "fork", run, "--at", "2", "--result", '"nothing was paid"')["run"]
        self.assertEqual(self.ended(server, edited)["result"][0], "nothing was paid")
        other = self.json(server, "runs", "fork", run, "--at", "1", "--input", '{"order": "f2"}')["run"]
        ended = self.ended(server, other)
        self.assertEqual((ended["status"], ended["input"]), ("failed", {"order": "f2"}))
        self.assertIn("SimulatedEffect", str(ended["error"]), "with another input the record has no value for it")
        self.assertEqual((self.effects("pay"), self.effects("post")), effects, "still nothing was done")
        self.assertIn("fork at step 4 at the latest", self.cli(server, "runs", "fork", run, "--at", "9", expect=1))
        live = self.json(server, "runs", "fork", run, "--at", "2", "--live")["run"]
        self.assertEqual(self.ended(server, live)["result"], ["paid 100 for f1", "posted f1"])
        keys = [effect[-1] for effect in self.effects("pay")]
        self.assertEqual((len(keys), len(set(keys)), len(self.effects("post"))), (2, 2, 2))

    def test_deadlines_logs_and_how_far_a_step_is(self):
        server = self.begin()
        run = self.start(server, "sleeper", "d1", "--deadline", "300ms")
        self.assertIn("DeadlineExceeded", self.ended(server, run)["error"])
        shown = self.cli(server, "run", "two-steps", "--input", '{"order": "l1"}')
        self.assertRegex(shown, r"\d\d:\d\d:\d\dZ info +.*looking at l1")
        run = self.start(server, "long-one", "b1")
        progress = wait_for(lambda: self.json(server, "runs", "show", run).get("progress"), "heartbeat")
        self.assertEqual([(part["name"], part["detail"]) for part in progress], [("long", {"rows": 5000})])
        self.assertIn('long: {"rows":5000}', self.cli(server, "runs", "show", run))
        (self.dir / "go").touch()
        self.assertNotIn("progress", self.ended(server, run))

    def test_commands_act_in_their_namespace(self):
        os.environ["NEURAXIS_NAMESPACE"] = "shop"
        self.addCleanup(os.environ.pop, "NEURAXIS_NAMESPACE", None)
        server = self.begin()
        run = self.start(server, "signalled", "s1")
        for payload in ("5", "6"):
            self.cli(server, "runs", "signal", run[:9], "go", "--payload", payload, "--id", "once")
        self.assertEqual(self.ended(server, run)["result"], ["s1", 5], "a signal's id counts once")
        fork = self.json(server, "runs", "fork", run)["run"]
        self.assertEqual(self.ended(server, fork)["result"], ["s1", 5])
        run = self.start(server, "signalled", "s2")
        self.cli(server, "runs", "cancel", run, "--reason", "no longer wanted")
        self.assertEqual(self.ended(server, run)["status"], "cancelled")
        self.assertIn("only a failed run", self.cli(server, "runs", "retry", run, expect=1))
        shown = self.cli(server, "--namespace", "default", "runs", "cancel", run, expect=3)
        self.assertIn("in namespace `default`", shown)
        # The newest events that match, however many others came after them.
        newest = self.json(server, "events", "--type", "run.cancelled,run.created", "--limit", "2")["items"]
        self.assertEqual([event["type"] for event in newest], ["run.created", "run.cancelled"])
        self.assertEqual({event["subject"] for event in newest}, {f"run/{run}"})

    def test_secrets_are_shown_to_nobody(self):
        server = self.server()
        first, second = "hunter2-first-Xq7", "hunter2-second-Zk9"

        def manifest(value, kind="Secret"):
            (self.dir / "secret.yaml").write_text(
                f"apiVersion: neuraxis/v1\nkind: {kind}\nmetadata: {{name: shop}}\nspec: {{values: {{password: {value}}}}}\n"
            )

        said = []
        for value in (first, second):
            manifest(value)
            for args in (("diff", "-f", "secret.yaml"), ("apply", "-f", "secret.yaml", "--dry-run", "-o", "yaml")):
                said.append(self.cli(server, *args))
            said.append(self.cli(server, "apply", "-f", "secret.yaml", "-o", "json"))
        # Refusals do not repeat what was sent.
        for wrong in (f"[{second}, {second}]", f"{{a: {second}}}"):
            manifest(wrong)
            said.append(self.cli(server, "apply", "-f", "secret.yaml", expect=None))
        manifest(second, kind="Secrit")
        said.append(self.cli(server, "apply", "-f", "secret.yaml", expect=3))
        for args in (
            ("get", "secrets"), ("get", "secret/shop", "-o", "yaml"), ("describe", "secret", "shop"),
            ("describe", "secret", "shop", "-o", "yaml"), ("events", "--limit", "1000"),
            ("events", "--limit", "1000", "-o", "json"), ("export",), ("audit", "verify"), ("doctor",),
        ):
            said.append(self.cli(server, *args))
        said.append(json.dumps(self.http(server, "/api/resources/secrets/shop?events=true")[1]))
        self.cli(server, "backup", "--to", str(self.dir / "backup"))
        self.cli(server, "delete", "secret/shop")
        server.kill(signal.SIGTERM)
        said.append(server.text())
        (self.dir / "secret.yaml").unlink()
        shown = "\n".join(said)
        files = [path for path in self.dir.rglob("*") if path.is_file()]
        self.assertTrue(any(path.name == "journal.db" for path in files))
        for value in (first, second):
            self.assertNotIn(value, shown)
            for path in files:
                self.assertNotIn(value.encode(), path.read_bytes(), path)

    def test_streams_go_on_where_they_were(self):
        server = self.server()
        self.cli(server, "apply", "-f", self.source())

        def place(order):
            status, answer = self.http(server, "/api/sources/orders/events", {"id": order})
            self.assertEqual(status, 200, answer)
            return answer["items"][0]["seq"]

        first = place("A1")
        second, third = place("A2"), place("A3")
        path = "/api/events/stream?type=order."
        seen = self.stream(server, path, {"last-event-id": str(first)}, 2)
        self.assertEqual([(event["id"], event["data"]["data"]["id"]) for event in seen], [(second, "A2"), (third, "A3")])

        following = self.spawn_cli(server, "events", "--type", "order.", "--follow", "--from", "0", "-o", "json")

        def followed():
            found = [json.loads(line) for line in following.text().splitlines() if line.startswith("{")]
            return [event["data"]["id"] for event in found]

        wait_for(lambda: followed() == ["A1", "A2", "A3"], "followed events")
        server.kill()
        server = self.server(listen=server.address)
        place("A4")
        wait_for(lambda: len(followed()) >= 4, f"events after the restart\n{following.text()}")
        self.assertEqual(followed(), ["A1", "A2", "A3", "A4"], "none lost, none twice")

    def source(self):
        path = self.dir / "source.yaml"
        done = subprocess.run([BINARY, "init", "source"], capture_output=True, text=True, timeout=60)
        path.write_text(done.stdout)
        return str(path)

    def stream(self, server, path, headers, count):
        """The first events of a stream."""
        request = urllib.request.Request(server.url + path, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        found, event = [], {}
        with opener.open(request, timeout=30) as answer:
            for line in answer:
                name, _, value = line.decode().rstrip("\n").partition(":")
                if name == "id":
                    event["id"] = int(value)
                elif name == "data":
                    event["data"] = json.loads(value)
                elif not name and event:
                    found.append(event)
                    event = {}
                    if len(found) == count:
                        return found
        raise AssertionError(f"the stream ended: {found}")

    def test_the_log_is_proved_from_outside_and_forgets(self):
        server = self.begin()
        self.ended(server, self.start(server, "two-steps", "a0"))
        server.kill(signal.SIGTERM)
        young = self.dir / "young"
        shutil.copytree(self.dir / "data", young)
        server = self.server(listen=server.address)
        for n in range(1, 3):
            self.ended(server, self.start(server, "two-steps", f"a{n}"))
        self.crew.kill()
        (self.dir / "kept.txt").write_text(self.cli(server, "audit", "checkpoint"))
        key = self.cli(server, "audit", "key").strip()
        (self.dir / "proof.txt").write_text(self.cli(server, "audit", "prove", "5"))
        proved = self.cli(server, "audit", "verify", "--proof", "proof.txt", "--key", key)
        self.assertRegex(proved, r"event 5 \(\S+ of \S+, .*\) stands in neuraxis/\w+ of \d+ events")
        self.cli(server, "audit", "tiles", str(self.dir / "tiles"))
        self.cli(server, "audit", "verify", "--tiles", "tiles", "--key", key, "--checkpoint", "kept.txt")

        # A proof with another leaf, a tile with another hash: found.
        text = (self.dir / "proof.txt").read_text()
        lines = text.split("\n")
        lines[1] = self.json(server, "audit", "prove", "6")["proof"].split("\n")[1]
        (self.dir / "forged.txt").write_text("\n".join(lines))
        forged = self.cli(server, "audit", "verify", "--proof", "forged.txt", "--key", key, expect=1)
        self.assertIn("[NX-JRN-0022]", forged)
        tile = next(path for path in sorted((self.dir / "tiles" / "tile" / "0").rglob("*")) if path.is_file())
        tile.write_bytes(bytes([tile.read_bytes()[0] ^ 1]) + tile.read_bytes()[1:])
        self.assertIn("WRONG", self.cli(server, "audit", "verify", "--tiles", "tiles", "--key", key, expect=1))

        # What is older than a moment is forgotten; the log stays whole, the old checkpoint and the proof hold.
        self.assertIn("3 data subjects", self.cli(server, "retain", "--older-than", "1us", "--yes"))
        self.assertIn("intact", self.cli(server, "audit", "verify", "--checkpoint", "kept.txt"))
        self.cli(server, "audit", "verify", "--proof", "proof.txt", "--key", key)
        self.cli(server, "doctor")

        # A history that was cut off fits together in itself, but not with the checkpoint kept elsewhere.
        server.kill(signal.SIGTERM)
        for data, outside, status, found in (
            ("data", ["--checkpoint", "kept.txt"], 0, "intact"),
            ("young", [], 0, "intact"),
            ("young", ["--checkpoint", "kept.txt"], 1, "WRONG"),
        ):
            done = subprocess.run(
                [BINARY, "audit", "verify", "--data", data, *outside], capture_output=True, text=True, timeout=60, cwd=self.dir
            )
            self.assertEqual((done.returncode, found in done.stdout), (status, True), done.stdout + done.stderr)


POST2 = '''

@nx.step(effect="once")
def post2(order: str) -> str:
    note("post", order)
    return f"posted {order}"
'''
