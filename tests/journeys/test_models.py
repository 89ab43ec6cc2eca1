"""A model from file to answer: pulled with its hash, asked, its alias swapped and rolled back, and all of it still there
after a kill; each answer explained down to the version and the picture."""

import base64
import concurrent.futures
import gzip
import hashlib
import http.server
import json
import threading
import urllib.error
import urllib.request

import neuraxis as nx
import onnx
from common import ROOT, Journey, wait_for

LEFT_TO_LEFT = [1, 0, 0, 1, 1, 0, 0, 1]
LEFT_TO_RIGHT = [0, 1, 1, 0, 0, 1, 1, 0]
MANIFEST = """
name: sides
licence: Apache-2.0
inputs:
  - name: image
    dtype: f32
    shape: [batch, 1, 2, 2]
    layout: NCHW
    before:
      - { step: channels, order: grey }
      - { step: resize, width: 2, height: 2 }
      - { step: scale, by: 0.00392156862745098 }
outputs:
  - name: scores
    dtype: f32
    shape: [batch, 2]
    labels: [left, right]
    after: [{ step: softmax }, { step: top_k, k: 2 }]
"""

AGENT = """
import neuraxis as nx

@nx.agent
async def read_twice(image: str):
    first = await nx.infer("sides", image=image, subject="parcel/P88")
    await nx.signal("go")
    second = await nx.infer("sides@2", image=image)
    return [first.label, second.label, first.decision]

@nx.agent
def read_once(image: str):
    return nx.sync.infer("sides", image=image).label
"""


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Models(Journey):
    def setUp(self):
        super().setUp()
        self.one, self.two = self.dir / "sides.onnx", self.dir / "turned.onnx"
        self.one.write_bytes(onnx.sides(LEFT_TO_LEFT))
        self.two.write_bytes(onnx.sides(LEFT_TO_RIGHT))
        for model in (self.one, self.two):
            model.with_suffix(".yaml").write_text(MANIFEST)
        self.picture = self.dir / "right.png"
        self.picture.write_bytes(onnx.png([[0, 0, 255, 255]] * 4))

    def pull(self, server):
        return self.json(server, "model", "pull", "sides", "--from", str(self.one), "--sha256", digest(self.one))

    def infer(self, server, *args):
        return self.json(server, "infer", *args)

    def test_pulled_asked_swapped_rolled_back_killed(self):
        server = self.server()
        self.assertEqual(self.pull(server)["version"], 1)
        self.assertEqual(self.pull(server)["version"], 1, "the same file is the same version")
        first = self.infer(server, "sides", str(self.picture), "--subject", "parcel/P88")
        self.assertEqual((first["label"], first["version"], first["alias"]), ("right", 1, "live"))
        self.assertGreater(first["confidence"], 0.8)

        made = ["--made-from", "sides@1", "--method", "turned"]
        second = self.json(server, "model", "pull", "sides", "--from", str(self.two), *made)
        self.assertEqual((second["version"], second["model"]["aliases"]), (2, {"live": 1}))
        self.assertEqual(self.infer(server, "sides@2", str(self.picture))["label"], "left")
        self.assertIn("sides@live is 2", self.cli(server, "model", "alias", "sides", "live", "2"))
        turned = self.infer(server, "sides", str(self.picture))
        self.assertEqual((turned["label"], turned["version"]), ("left", 2))

        server.kill()
        server = self.server()
        self.assertEqual(self.infer(server, "sides", str(self.picture))["version"], 2)
        self.assertIn("sides@live is 1 again", self.cli(server, "model", "rollback", "sides"))
        back = self.infer(server, "sides", str(self.picture))
        self.assertEqual((back["label"], back["version"]), ("right", 1))
        self.assertIn("NX-MDL-0012", self.cli(server, "model", "rollback", "sides", expect=1))

        picture = hashlib.sha256(self.picture.read_bytes()).hexdigest()[:8]
        for target in (str(first["decision"]), "parcel/P88"):
            told = self.cli(server, "why", target)
            self.assertRegex(told, rf"`right` \(0\.\d\d\) by sides@1 on \S+ from image/png of \d+ bytes \(sha256 {picture}")
            self.assertIn("← sides@1 added by local from sides.onnx", told)
        chain = self.cli(server, "why", str(turned["decision"]))
        self.assertIn("← sides@2 added by local from turned.onnx", chain)
        self.assertIn("← sides@1 added by local", chain, "the version that it was made from")
        data = self.json(server, "why", str(first["decision"]))["data"]
        self.assertEqual(data["propensity"], 1.0)

        saved = self.dir / "saved.onnx"
        self.cli(server, "model", "save", "sides@2", str(saved))
        self.assertEqual(saved.read_bytes(), self.two.read_bytes())
        self.assertIn("NX-MDL-0011", self.cli(server, "model", "delete", "sides@1", "--yes", expect=1))
        self.cli(server, "model", "delete", "sides@2", "--yes")
        self.assertIn("NX-MDL-0002", self.cli(server, "infer", "sides@2", str(self.picture), expect=3))
        self.cli(server, "model", "delete", "sides", "--yes")
        self.assertIn("NX-MDL-0001", self.cli(server, "infer", "sides", str(self.picture), expect=3))
        self.assertIn("by sides@1", self.cli(server, "why", str(back["decision"])), "what it decided stays")

    def test_an_agent_asks_once_and_a_replay_has_the_recorded_answer(self):
        server = self.server()
        self.pull(server)
        self.json(server, "model", "pull", "sides", "--from", str(self.two))
        client = nx.Client(server.url)
        (self.dir / "agent.py").write_text(AGENT)
        worker = self.worker(self.dir / "agent.py", server.url)
        image = base64.b64encode(self.picture.read_bytes()).decode()
        run = client.start("read-twice", {"image": image}, key="P88")
        wait_for(lambda: client.get(run).raw.get("waiting_for") == "signal go", "the signal's wait")
        client.alias("sides", "live", 2)
        server.kill()
        worker.kill()
        server = self.server(listen=server.address)
        self.worker(self.dir / "agent.py", server.url)
        client.signal(run, "go")
        first, second, place = client.result(run, timeout="60s")
        self.assertEqual((first, second), ("right", "left"), "what was recorded of version 1, then version 2")
        decided = self.json(server, "events", "--type", "model.decided", "--from", "0")["items"]
        self.assertEqual(len(decided), 2, "a replay asks nothing again")
        self.assertEqual((decided[0]["seq"], decided[0]["subject"]), (place, "parcel/P88"))
        told = " ".join(self.cli(server, "why", f"{run}/1").split())
        self.assertRegex(told, r"← `right` \(0\.\d\d\) by sides@1 on \S+ from image/png .* ← run read-twice/P88 by local")

        # What no model answers fails the step, and says why.
        failing = client.start("read-twice", {"image": "AAAA"})
        with self.assertRaises(nx.RunFailed) as failed:
            client.result(failing, timeout="60s")
        self.assertIn("InferenceFailed", str(failed.exception))
        shown = self.json(server, "runs", "show", failing)
        self.assertEqual(shown["steps"][0]["error"]["details"], {"code": "NX-MDL-0007"})

        # A large input travels beside the connection and stands in blobs.
        noise = self.dir / "noise.png"
        noise.write_bytes(onnx.png([[(x * 7919 + y * 104729) % 251 for x in range(700)] for y in range(700)]))
        large = client.start("read-once", {"image": base64.b64encode(noise.read_bytes()).decode()})
        self.assertIn(client.result(large, timeout="60s"), ("left", "right"))

        # And from a program that is no agent.
        answer = client.infer("sides@1", image=self.picture.read_bytes(), subject="parcel/P89", cause=place)
        self.assertEqual((answer.label, answer.version, answer.alias), ("right", 1, None))
        self.assertEqual([model["name"] for model in client.models()], ["sides"])
        self.assertEqual(client.rollback("sides")["aliases"], {"live": 1})
        with self.assertRaises(nx.ApiError) as refused:
            client.infer("sides", tensor=[1])
        self.assertIn("NX-INF-0007", str(refused.exception) + str(refused.exception.code))

    def test_deleting_the_resource_removes_the_bytes_too(self):
        server = self.server()
        blobs = lambda: {path for path in (self.dir / "data" / "blobs").rglob("*") if path.is_file()}
        before = blobs()
        self.pull(server)
        self.json(server, "model", "pull", "sides", "--from", str(self.two))
        self.assertEqual(len(blobs() - before), 2)
        self.cli(server, "delete", "artifact", "sides")
        self.assertEqual(blobs() - before, set())
        self.assertEqual(self.json(server, "model", "list")["items"], [])
        erased = self.json(server, "events", "--type", "artifact.added", "--from", "0")["items"]
        self.assertEqual([event["erased"] for event in erased], [True, True])
        self.assertIn("NX-MDL-0001", self.cli(server, "delete", "artifact", "sides", expect=3))
        self.cli(server, "audit", "verify")
        # The name is free again; its versions go on counting from what is there.
        self.assertEqual(self.pull(server)["model"]["aliases"], {"live": 1})

    def test_digits_that_no_training_saw_are_read(self):
        server = self.server()
        pulled = self.json(server, "model", "pull", "digits", "--from", str(ROOT / "testdata/models/digits.onnx"))
        self.assertEqual(pulled["model"]["aliases"], {"live": 1})
        images = gzip.open(ROOT / "testdata/digits/images-idx3-ubyte.gz").read()[16:]
        labels = gzip.open(ROOT / "testdata/digits/labels-idx1-ubyte.gz").read()[8:]
        self.assertEqual((len(images), len(labels)), (8000 * 784, 8000))

        def ask(at):
            rows = [images[784 * at + 28 * row : 784 * at + 28 * (row + 1)] for row in range(28)]
            path = f"/api/infer/digits?subject=parcel/{at}"
            request = urllib.request.Request(server.url + path, onnx.png(rows), {"content-type": "image/png"})
            return json.load(urllib.request.urlopen(request, timeout=60))

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = dict(zip(range(7000, 7200), pool.map(ask, range(7000, 7200))))
        right = [at for at, answer in answers.items() if answer["label"] == str(labels[at])]
        self.assertGreaterEqual(len(right), 190)
        told = self.cli(server, "why", f"parcel/{right[0]}")
        self.assertIn(f"`{labels[right[0]]}` (", told)
        self.assertIn("← digits@1 added by local from digits.onnx", told)

    def test_pulled_from_a_url_with_its_hash(self):
        folder = str(self.dir)

        class Files(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=folder)

            def log_message(self, *_):
                pass

        shop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
        threading.Thread(target=shop.serve_forever, daemon=True).start()
        self.addCleanup(shop.server_close)
        self.addCleanup(shop.shutdown)
        url = f"http://127.0.0.1:{shop.server_port}/sides.onnx"
        server = self.server()
        manifest = ["--manifest", str(self.one.with_suffix(".yaml"))]
        refused = self.cli(server, "model", "pull", "sides", "--from", url, *manifest, expect=1)
        self.assertIn("--sha256", refused)
        wrong = self.cli(server, "model", "pull", "sides", "--from", url, "--sha256", "0" * 64, *manifest, expect=1)
        self.assertIn("[NX-MDL-0004]", wrong)
        self.assertEqual(self.json(server, "model", "list")["items"], [])
        missing = self.cli(server, "model", "pull", "sides", "--from", url + "x", "--sha256", "0" * 64, expect=1)
        self.assertIn("404", missing)
        pulled = self.json(server, "model", "pull", "sides", "--from", url, "--sha256", digest(self.one), *manifest)
        self.assertEqual(pulled["model"]["versions"][0]["source"], url)
        self.assertIn("live → 1", self.cli(server, "model", "list"))

    def test_bad_input_is_named(self):
        server = self.server()
        broken = self.dir / "broken.onnx"
        broken.write_bytes(self.one.read_bytes()[:-40])
        told = self.cli(server, "model", "pull", "sides", "--from", str(broken), "--licence", "MIT", expect=1)
        self.assertIn("[NX-INF-0001]", told)
        unlicensed = self.dir / "plain.onnx"
        unlicensed.write_bytes(self.one.read_bytes())
        self.assertIn("licence", self.cli(server, "model", "pull", "sides", "--from", str(unlicensed), expect=1))
        self.cli(server, "model", "pull", "plain", "--from", str(unlicensed), "--licence", "MIT")
        numbers = "[[[[0, 1], [0, 1]]]]"
        answer = self.infer(server, "plain", "--json", numbers)
        self.assertEqual(answer["outputs"]["scores"]["data"], [0.0, 2.0])
        for given, code in [("[[1, 2]]", "NX-INF-0007"), ('[[[["a", 1], [0, 1]]]]', "NX-MDL-0007"), ('{"inputs": {}}', "NX-MDL-0007")]:
            self.assertIn(f"[{code}]", self.cli(server, "infer", "plain", "--json", given, expect=1))
        self.assertIn("[NX-MDL-0007]", self.cli(server, "infer", "plain", str(self.picture), expect=1))
        self.assertIn("[NX-MDL-0003]", self.cli(server, "infer", "Plain", "--json", numbers, expect=1))
        self.assertIn("[NX-MDL-0002]", self.cli(server, "infer", "plain@canary", "--json", numbers, expect=3))
        self.assertIn("[NX-MDL-0002]", self.cli(server, "model", "alias", "plain", "live", "9", expect=3))

        def post(path, body, kind):
            request = urllib.request.Request(server.url + path, data=body, headers={"content-type": kind})
            try:
                return urllib.request.urlopen(request, timeout=60).status, None
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)["code"]

        for body, kind, expected in [
            (b"[]", "application/json", (400, "NX-API-0003")),
            (b'{"inputs": {"image": {}}}', "application/json", (400, "NX-API-0003")),
            (b'{"inputs": {"image": {"image": "?"}}}', "application/json", (400, "NX-API-0003")),
            (b"hello", "text/plain", (415, "NX-API-0004")),
            (b"x" * (33 << 20), "application/octet-stream", (413, "NX-API-0005")),
        ]:
            self.assertEqual(post("/api/infer/plain", body, kind), expected)
        self.assertEqual(post("/api/models/m/versions", b"x", "application/json"), (415, "NX-API-0004"))
        form = "multipart/form-data; boundary=b"
        self.assertEqual(post("/api/models/m/versions", b"--b--\r\n", form), (400, "NX-API-0003"))

    def test_a_burst_is_answered_or_refused_and_each_answer_is_in_the_log(self):
        server = self.server()
        self.pull(server)
        body = self.picture.read_bytes()

        def ask(_):
            request = urllib.request.Request(f"{server.url}/api/infer/sides", data=body, headers={"content-type": "image/png"})
            try:
                return json.load(urllib.request.urlopen(request, timeout=60))["decision"]
            except urllib.error.HTTPError as error:
                self.assertEqual((error.code, json.load(error)["code"]), (429, "NX-MDL-0008"))
                return None

        with concurrent.futures.ThreadPoolExecutor(96) as pool:
            decisions = [decision for decision in pool.map(ask, range(600)) if decision is not None]
        self.assertEqual(len(set(decisions)), len(decisions))
        events = self.json(server, "events", "--type", "model.decided", "--from", "0", "--limit", "1000")["items"]
        self.assertEqual({event["seq"] for event in events}, set(decisions))
