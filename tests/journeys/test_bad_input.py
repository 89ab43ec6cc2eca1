"""What goes wrong from outside: each time a clear error with a code, a server that lives on, and nothing lost."""

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request

import websockets.exceptions
import websockets.sync.client

from common import BINARY, Journey, wait_for

AGENT = '''
import neuraxis as nx

@nx.step(effect="read")
def look(text: str) -> int:
    return len(text)

@nx.agent
async def measure(text: str):
    return await look(text)
'''


class BadInput(Journey):
    def refused(self, *args, env=None):
        """A command that ends by itself, with an error."""
        done = subprocess.run(
            [BINARY, *args], capture_output=True, text=True, timeout=60, cwd=self.dir, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        self.assertNotIn(done.returncode, (0, -signal.SIGABRT), f"{args}\n{done.stdout}{done.stderr}")
        self.assertNotIn("panicked", done.stderr)
        return done.stdout + done.stderr

    def http(self, server, path, body=None, headers=None, method=None):
        """Status and JSON of a request."""
        request = urllib.request.Request(server.url + path, body, headers or {}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def alive(self, server):
        self.assertEqual(self.http(server, "/api/server")[0], 200, server.text())
        self.assertIsNone(server.child.poll())

    def finished(self, server, texts):
        """Runs of the agent, each to its end; id by input."""
        return {text: self.json(server, "run", "measure", "--input", json.dumps({"text": text}), "--key", text)["id"]
                for text in texts}

    def agent(self, server):
        file = self.dir / "agent.py"
        file.write_text(AGENT)
        return self.worker(file, server.url)

    def test_starts_that_cannot_be(self):
        server = self.server()
        data = str(self.dir / "data")
        locked = self.refused("up", "--data", data, "--listen", "127.0.0.1:0")
        self.assertIn("[NX-JRN-0009]", locked)
        self.assertIn(f"process {server.child.pid}", locked)
        self.assertIn("[NX-JRN-0009]", self.refused("doctor", "--data", data))
        taken = self.refused("up", "--data", "other", "--listen", server.address)
        self.assertIn("[NX-API-0011]", taken)
        self.assertRegex(self.refused("up", "--data", "third", "--example", "parcel"), r"no example `parcel`.*`parcels`")
        for listen in ("0.0.0.0:0", "[::]:0"):
            open_to_all = self.refused("up", "--data", "fourth", "--listen", listen)
            self.assertIn("[NX-API-0009]", open_to_all)
            self.assertIn("--tls-cert", open_to_all)
        (self.dir / "no.pem").write_text("not a certificate")
        tls = self.refused("up", "--data", "fifth", "--listen", "127.0.0.1:0", "--tls-cert", "no.pem", "--tls-key", "no.pem")
        self.assertIn("[NX-API-0010]", tls)
        unreachable = self.refused("runs", "list", env={"NEURAXIS_URL": "http://127.0.0.1:9"})
        self.assertIn("127.0.0.1:9", unreachable)
        self.alive(server)

    def test_requests(self):
        server = self.server()

        def manifest(text):
            (self.dir / "m.yaml").write_text(text)
            return self.cli(server, "apply", "-f", "m.yaml", expect=None)

        head = "apiVersion: neuraxis/v1\nmetadata: {name: x}\n"
        unknown = manifest(head + "kind: Reflex\nspec: {on: a.b, windo: {over: 1h}, run: {agent: x}}\n")
        self.assertRegex(unknown, r"unknown field `windo`; did you mean `window`\?.*\[NX-CTL-0002\]")
        self.assertRegex(manifest(head + "kind: Reflx\nspec: {}\n"), r"did you mean `Reflex`\?.*\[NX-CTL-0003\]")
        self.assertRegex(manifest("kind: [unclosed"), r"\[NX-CTL-0001\]")
        self.assertRegex(manifest("a: &a [x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(5000))), r"\[NX-CTL-\d{4}\]")

        as_json = {"content-type": "application/json"}
        for path, body, headers, status, code in (
            ("/api/runs", b'"' + b"a" * (5 << 20) + b'"', as_json, 413, "NX-API-0005"),
            ("/api/runs", b"{", as_json, 400, "NX-API-0003"),
            ("/api/runs", b"[" * 100_000, as_json, 400, "NX-API-0003"),
            ("/api/runs", b'{"agent": "x", "agents": 1}', as_json, None, "NX-API-0003"),
            ("/api/runs", b'{"agent": "x", "input": 9007199254740993}', as_json, None, "NX-"),
            ("/api/runs", b"{}", {"content-type": "text/plain"}, 415, "NX-API-0004"),
            ("/api/runs", b"\xff\xfe", as_json, 400, "NX-API-0003"),
            ("/api/nothing", None, {}, 404, "NX-API-0006"),
            ("/api/runs/r_7f3k2m9q0a1b2c3d", None, {}, 404, "NX-RUN-0001"),
            ("/api/runs?limit=-1", None, {}, 400, "NX-API-0003"),
            ("/api/server", None, {"host": "elsewhere.example"}, None, "NX-API-0008"),
            ("/api/runs", b'{"agent": "x"}', {**as_json, "origin": "https://elsewhere.example"}, None, "NX-API-0008"),
        ):
            with self.subTest(path=path, body=(body or b"")[:40]):
                got, problem = self.http(server, path, body, headers)
                self.assertGreaterEqual(got, 400)
                self.assertLess(got, 500, problem)
                self.assertEqual(got, status or got, problem)
                self.assertTrue(problem["code"].startswith(code), problem)
                self.assertTrue(problem["detail"])
        self.assertEqual(self.json(server, "runs", "list")["items"], [])
        self.alive(server)

    def test_tokens(self):
        server = self.server("--require-token")
        for env in ({"NEURAXIS_TOKEN": ""}, {"NEURAXIS_TOKEN": "nx_wrong"}):
            self.assertIn("[NX-API-0001]", self.refused("runs", "list", env={"NEURAXIS_URL": server.url, **env}))
        admin = (self.dir / "data" / "keys" / "admin.token").read_text().strip()

        def run(token, *args):
            env = {**os.environ, "NEURAXIS_URL": server.url, "NEURAXIS_TOKEN": token}
            done = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60, env=env, cwd=self.dir)
            return done.returncode, done.stdout + done.stderr

        status, secret = run(admin, "token", "create", "maria", "--role", "viewer")
        self.assertEqual(status, 0, secret)
        secret = secret.split()[-1]
        self.assertEqual(run(secret, "runs", "list")[0], 0)
        status, shown = run(secret, "run", "measure", "--detach")
        self.assertEqual((status, "[NX-API-0002]" in shown), (1, True), shown)
        for headers in ({}, {"Authorization": "Bearer nx_wrong"}, {"Authorization": f"Bearer {secret}"}):
            with self.assertRaises(websockets.exceptions.InvalidStatus) as refusal:
                self.connect(server, headers)
            self.assertIn(refusal.exception.response.status_code, (401, 403))
        self.assertEqual(run(admin, "token", "revoke", "maria")[0], 0)
        self.assertIn("[NX-API-0001]", run(secret, "runs", "list")[1])

    def test_off_loopback_nobody_is_let_in_without_a_token(self):
        server = self.server("--insecure-http", listen="0.0.0.0:0")
        server.url = re.sub(r"//.*:", "//127.0.0.1:", server.url)
        for path in ("/api/server", "/api/runs", "/metrics"):
            status, problem = self.http(server, path)
            self.assertEqual((status, problem["code"]), (401, "NX-API-0001"), path)
        admin = (self.dir / "data" / "keys" / "admin.token").read_text().strip()
        self.assertEqual(self.http(server, "/api/runs", headers={"authorization": f"Bearer {admin}"})[0], 200)

    def connect(self, server, headers=None):
        address = f"ws://{server.address}/api/workers/connect"
        return websockets.sync.client.connect(
            address, subprotocols=["neuraxis.worker.v1"], additional_headers=headers, proxy=None, compression=None
        )

    def test_frames(self):
        server = self.server()
        self.agent(server)
        hello = json.dumps({"t": "hello", "protocol": [1], "sdk": "test", "worker": "w_test", "runs": 1, "agents": []})
        binary = b"\x00\x01"
        for name, greeted, frame, code in (
            ("binary", False, binary, "NX-RUN-0011"),
            ("binary later", True, binary, "NX-RUN-0011"),
            ("no JSON", False, "hello?", "NX-RUN-0011"),
            ("no object", True, "[1]", "NX-RUN-0011"),
            ("an unknown type", True, '{"t": "abolish"}', "NX-RUN-0011"),
            ("an unknown field", False, hello.replace('"runs"', '"runz": 2, "runs"'), "NX-RUN-0011"),
            ("not hello first", False, '{"t": "heartbeat", "run": "r_7f3k2m9q0a1b2c3d", "inc": 1, "call": 1}', "NX-RUN-0011"),
            ("hello twice", True, hello, "NX-RUN-0011"),
            ("another protocol", False, hello.replace("[1]", "[99]"), "NX-RUN-0013"),
            ("too deep", True, "[" * 100_000, "NX-RUN-0011"),
            ("over 1 MiB", True, '{"t": "' + "a" * (1 << 20) + '"}', "NX-RUN-0012"),
            ("over 1 MiB at first", False, "a" * ((1 << 20) + 1), "NX-RUN-0012"),
        ):
            with self.subTest(name), self.connect(server) as socket:
                if greeted:
                    socket.send(hello)
                    self.assertEqual(json.loads(socket.recv(timeout=30))["t"], "welcome")
                socket.send(frame)
                answer = json.loads(socket.recv(timeout=30))
                self.assertEqual((answer["t"], answer.get("problem", {}).get("code")), ("goodbye", code), answer)
                with self.assertRaises(websockets.exceptions.ConnectionClosed):
                    socket.recv(timeout=30)
        with self.connect(server) as socket, self.assertRaises(websockets.exceptions.ConnectionClosed):
            socket.send("a" * (16 << 20))
            socket.recv(timeout=30)
        self.alive(server)
        self.assertEqual(len(self.finished(server, ["still", "here"])), 2)

    def stopped(self, texts):
        """A data directory with finished runs, its server stopped in good order."""
        server = self.server()
        worker = self.agent(server)
        runs = self.finished(server, texts)
        worker.kill()
        server.kill(signal.SIGTERM)
        return self.dir / "data", runs

    def test_a_newer_format(self):
        data, runs = self.stopped(["one"])
        newer = self.dir / "newer"
        shutil.copytree(data, newer)
        with sqlite3.connect(newer / "journal.db") as database:
            changed = database.execute("update meta set value = ? where name = 'format'", [(99).to_bytes(8, "little")])
            self.assertEqual(changed.rowcount, 1)
        before = (newer / "journal.db").read_bytes()
        refusal = self.refused("up", "--data", str(newer), "--listen", "127.0.0.1:0")
        self.assertIn("[NX-JRN-0010]", refusal)
        self.assertIn("99", refusal)
        self.assertEqual((newer / "journal.db").read_bytes(), before, "nothing was changed")
        self.assertEqual(self.json(self.server(), "runs", "list")["items"][0]["id"], runs["one"])

    def test_a_missing_key(self):
        data, _ = self.stopped(["one"])
        key = data / "keys" / "master.key"
        kept = key.read_bytes()
        key.unlink()
        self.assertIn("[NX-JRN-0013]", self.refused("up", "--data", str(data), "--listen", "127.0.0.1:0"))
        self.assertFalse(key.exists(), "no new key in an old log")
        key.write_bytes(kept)
        key.chmod(0o600)
        self.assertEqual(len(self.json(self.server(), "runs", "list")["items"]), 1)

    def test_damaged_pages(self):
        data, _ = self.stopped([f"text {n}" for n in range(30)])
        size = 4096
        with sqlite3.connect(data / "journal.db") as database:
            database.execute("pragma wal_checkpoint(truncate)")
        pages = (data / "journal.db").stat().st_size // size
        found = 0
        for page in range(0, pages, max(1, pages // 12)):
            copy = self.dir / f"damaged{page}"
            shutil.copytree(data, copy)
            with open(copy / "journal.db", "r+b") as file:
                file.seek(page * size)
                file.write(os.urandom(size))
            with self.subTest(page=page):
                examined = subprocess.run(
                    [BINARY, "doctor", "--data", str(copy)], capture_output=True, text=True, timeout=60
                )
                verified = subprocess.run(
                    [BINARY, "audit", "verify", "--data", str(copy)], capture_output=True, text=True, timeout=60
                )
                shown = examined.stdout + examined.stderr + verified.stdout + verified.stderr
                self.assertNotIn("panicked", shown)
                self.assertTrue(examined.returncode or verified.returncode, f"page {page} of {pages}\n{shown}")
                found += 1
            shutil.rmtree(copy)
        self.assertGreaterEqual(found, 10)
        with open(data / "journal.db", "r+b") as file:
            file.write(os.urandom(size))
        self.assertRegex(self.refused("up", "--data", str(data), "--listen", "127.0.0.1:0"), r"\[NX-JRN-\d{4}\]")

    def test_a_disk_that_fills_up(self):
        disk = self.dir / "data"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(disk)], capture_output=True)
        if mounted.returncode:
            self.skipTest(f"a small disk cannot be mounted here: {mounted.stderr.decode()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        server = self.server()
        kept = self.work_until_refused(server, r"^NX-JRN-0008$")
        # Another program takes the rest, down to the last byte.
        try:
            with open(disk / "ballast", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 20))
        except OSError:
            pass
        kept += self.work_until_refused(server, r"^NX-JRN-000[78]$", "full")
        self.alive(server)
        server.kill()
        (disk / "ballast").unlink()
        again = self.server(listen=server.address)
        self.assertIn("intact", self.cli(again, "audit", "verify"))
        self.assertGreater(len(kept), 10)
        self.nothing_lost(again, kept)

    def work_until_refused(self, server, codes, keys="n"):
        """Starts runs until five were refused; the runs that were acknowledged."""
        acknowledged, refusals = [], []
        for number in range(3000):
            key = f"{keys}{number}"
            body = json.dumps({"agent": "measure", "input": {"text": "x" * 8000}, "key": key}).encode()
            status, answer = self.http(server, "/api/runs", body, {"content-type": "application/json"})
            if status < 300:
                acknowledged.append((key, answer["run"]))
            else:
                refusals.append(answer)
                self.assertRegex(answer["code"], codes, answer)
                self.assertRegex(answer["detail"], r"full|free", answer)
                self.assertEqual((status, answer["retryable"]), (507, True), answer)
                if len(refusals) == 5:
                    return acknowledged
        self.fail("the disk never filled up")

    def nothing_lost(self, server, acknowledged):
        for key, run in acknowledged:
            status, shown = self.http(server, f"/api/runs?key={key}")
            self.assertEqual((status, [item["id"] for item in shown["items"]]), (200, [run]), key)

    def test_a_file_that_may_not_grow(self):
        server = self.server()
        worker = self.agent(server)
        kept = self.finished(server, ["before"])
        worker.kill()
        server.kill(signal.SIGTERM)
        room = (self.dir / "data" / "journal.db").stat().st_size + (1 << 20)

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

        log = self.dir / "limited.log"
        with open(log, "wb") as out:
            limited = subprocess.Popen(
                [BINARY, "up", "--data", str(self.dir / "data"), "--listen", server.address],
                stdout=out, stderr=subprocess.STDOUT, preexec_fn=limit, start_new_session=True,
            )
        self.addCleanup(limited.wait)
        self.addCleanup(limited.kill)
        wait_for(lambda: "ready " in log.read_text(), f"ready line\n{log.read_text()}")
        acknowledged = self.work_until_refused(server, r"^NX-JRN-0007$")
        self.assertGreater(len(acknowledged), 10)
        # Reading goes on, and the process lives.
        self.assertEqual(self.json(server, "runs", "show", kept["before"])["status"], "completed")
        self.assertIsNone(limited.poll(), log.read_text())
        limited.send_signal(signal.SIGTERM)
        self.assertIsNotNone(limited.wait(timeout=60), log.read_text())
        self.assertNotIn("panicked", log.read_text())

        again = self.server(listen=server.address)
        self.assertIn("intact", self.cli(again, "audit", "verify"))
        self.nothing_lost(again, acknowledged)
        self.agent(again)
        wait_for(
            lambda: not self.json(again, "runs", "list", "--status", "queued")["items"]
            and not self.json(again, "runs", "list", "--status", "running")["items"],
            "end of what waited",
        )
        self.assertEqual(len(self.finished(again, ["after"])), 1)
