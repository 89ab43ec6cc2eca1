"""A backup of a log at work, the log restored from it, and what was erased staying erased."""

import json
import re
import shutil
import subprocess
import threading

from common import BINARY, Journey, Server, wait_for

AGENT = '''
import time
import neuraxis as nx

@nx.step(effect="read")
def greet(name: str) -> str:
    return f"hello {name}"

@nx.step(effect="code")
def shout(text: str) -> str:
    return text.upper()

@nx.step(effect="idempotent", retries=5)
def pay(calls: str, *, key: nx.Key) -> str:
    """Notes each call's key. The first call never comes back."""
    with open(calls, "a+") as file:
        file.write(key + "\\n")
        file.flush()
        file.seek(0)
        if len(file.readlines()) == 1:
            time.sleep(3600)
    return "paid"

@nx.agent
async def refund(calls: str):
    return await pay(calls)

@nx.agent
async def welcome(name: str):
    return await shout(await greet(name))
'''


class Backup(Journey):
    def start(self, name):
        details = self.json(self.up, "run", "welcome", "--input", json.dumps({"name": name}), "--key", name)
        self.assertEqual((details["status"], details["result"]), ("completed", f"HELLO {name.upper()}"))
        return details["id"]

    def offline(self, *args, expect=0):
        done = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=120, cwd=self.dir)
        self.assertEqual(done.returncode, expect, f"$ neuraxis {' '.join(args)}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def restored(self, backup, name, *more):
        """A server on a directory that was restored from a backup."""
        home = self.dir / name
        keys = home / "data" / "keys"
        keys.mkdir(parents=True)
        for key in ("master.key", "run.key"):
            shutil.copy(self.keys / key, keys / key)
        self.offline("restore", str(backup), "--data", str(home / "data"), *more)
        verified = self.offline("audit", "verify", "--data", str(home / "data"))
        self.assertIn("intact", verified)
        server = Server(home)
        self.addCleanup(server.kill)
        return server

    def runs(self, server):
        items = self.json(server, "runs", "list", "--limit", "1000")["items"]
        return {item.get("key") or item["id"]: item["id"] for item in items}

    def at_work(self):
        """Starts runs all the while; gives how to stop that and get those that were started."""
        stop, started = threading.Event(), []

        def work():
            while not stop.is_set():
                started.append((f"w{len(started)}", self.start(f"w{len(started)}")))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        wait_for(lambda: len(started) > 2 or not thread.is_alive(), "work")

        def end():
            stop.set()
            thread.join(60)
            return started

        return end, started

    def test_backup_restore_erase(self):
        self.up = self.server()
        agent = self.dir / "agent.py"
        agent.write_text(AGENT)
        self.worker(agent, self.up.url)
        self.keys = self.dir / "data" / "keys"
        ada, bob = self.start("ada"), self.start("bob")
        origin = self.origin(self.up)

        end, started = self.at_work()
        backup = self.dir / "monday"
        before = dict(started)
        self.cli(self.up, "backup", "--to", str(backup))
        wait_for(lambda: len(started) > len(before) + 2, "work after the backup")
        everything = dict(end())
        self.assertFalse(list(backup.rglob("master.key")), "the master key is not in a backup")
        self.cli(self.up, "backup", "--to", str(backup), expect=1)

        # What was acknowledged before the backup is in it; what is in it is a log at one instant.
        restored = self.restored(backup, "restored")
        runs = self.runs(restored)
        self.assertLessEqual({"ada": ada, "bob": bob, **before}.items(), runs.items())
        self.assertLessEqual(runs.items(), {"ada": ada, "bob": bob, **everything}.items())
        self.assertLess(len(runs), 2 + len(everything))
        self.assertEqual(self.json(restored, "runs", "show", ada)["result"], "HELLO ADA")
        self.assertNotEqual(self.origin(restored), origin, "a restored log is a new log")
        self.assertIn("HELLO ADA", self.cli(restored, "runs", "show", ada))
        # It works: what was in flight goes on, and new runs start.
        self.worker(agent, restored.url)
        wait_for(lambda: {run["status"] for run in self.json(restored, "runs", "list")["items"]} == {"completed"}, "end")
        self.cli(restored, "run", "welcome", "--input", '{"name":"new"}')

        self.erased(backup, ada, bob)

    def test_an_effect_in_flight_keeps_its_key(self):
        self.up = self.server()
        self.keys = self.dir / "data" / "keys"
        agent, calls = self.dir / "agent.py", self.dir / "calls"
        agent.write_text(AGENT)
        worker = self.worker(agent, self.up.url)
        run = self.cli(self.up, "run", "refund", "--input", json.dumps({"calls": str(calls)}), "--detach").strip()
        wait_for(lambda: calls.exists() and calls.read_text().endswith("\n"), "first call")
        self.cli(self.up, "backup", "--to", str(self.dir / "monday"))
        worker.kill()
        self.up.kill()
        # A log without the secret of its keys does not make up another one.
        shutil.copytree(self.dir / "data", self.dir / "bare")
        (self.dir / "bare" / "keys" / "run.key").unlink()
        refusal = self.offline("up", "--data", str(self.dir / "bare"), "--listen", "127.0.0.1:0", expect=1)
        self.assertIn("run.key` is missing", refusal)
        restored = self.restored(self.dir / "monday", "restored")
        self.worker(agent, restored.url)
        self.assertIn("completed", self.cli(restored, "runs", "watch", run))
        keys = calls.read_text().split()
        self.assertGreaterEqual(len(keys), 2)
        self.assertEqual(len(set(keys)), 1, "the outside sees the same call again")

    def erased(self, backup, ada, bob):
        self.cli(self.up, "erase", f"run/{ada}", "--reason", "request of the customer", "--yes")
        self.assertNotIn("HELLO ADA", self.cli(self.up, "runs", "show", ada, expect=None))
        self.assertIn("intact", self.cli(self.up, "audit", "verify"))
        erasures = self.dir / "data" / "keys" / "erasures.jsonl"
        self.assertEqual(len(erasures.read_text().splitlines()), 1)

        again = self.restored(backup, "again", "--erasures", str(erasures))
        shown = self.cli(again, "runs", "show", ada, expect=None) + self.cli(again, "export")
        self.assertNotRegex(shown, r"(?i)hello ada|\"ada\"")
        self.assertIn("HELLO BOB", self.cli(again, "runs", "show", bob))
        events = self.json(again, "events", "--subject", f"run/{ada}", "--from", "0", "--limit", "100")["items"]
        self.assertGreater(len(events), 3, "headers stay")
        self.assertEqual({event["erased"] for event in events}, {True})
        for server in (self.up, again):
            self.exported(server)

    def exported(self, server):
        """Every line is a CloudEvent; those of the log are all there, in order."""
        lines = [json.loads(line) for line in self.cli(server, "export").splitlines()]
        for line in lines:
            self.assertEqual(line["specversion"], "1.0", line)
            for name in ("id", "source", "type"):
                self.assertTrue(isinstance(line[name], str) and line[name], line)
            for name in line:
                self.assertRegex(name, r"^[a-z0-9_]+$", "attribute names")
            self.assertTrue(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z$", line["time"]), line)
        self.assertEqual(len({(line["source"], line["id"]) for line in lines}), len(lines))
        head = self.json(server, "events", "--from", "0", "--limit", "1")["head"]
        self.assertEqual(len(lines), head)

    def origin(self, server):
        return self.cli(server, "audit", "checkpoint").splitlines()[0]
