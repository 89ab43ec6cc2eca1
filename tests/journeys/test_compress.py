"""A model made smaller under a budget, from the server's version to the next one: pulled, asked, compressed, signed, measured, its
alias swapped and rolled back; broken off and gone on with; and what is refused."""

import gzip
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import unittest.mock

import onnx
from common import BINARY, ROOT, Journey, wait_for

DIGITS = str(ROOT / "testdata/models/digits.onnx")
DATA = str(ROOT / "testdata/digits")
SMALL = ["--target", "size,engine=rten", "--metric", "accuracy", "--max-drop", "2%"]


class Compress(Journey):
    def setUp(self):
        super().setUp()
        # keys and choices of this test alone, and the engine of the binary
        own = {
            "XDG_CONFIG_HOME": str(self.dir / "config"), "XDG_CACHE_HOME": str(self.dir / "cache"),
            "NEURAXIS_ONNXRUNTIME": "off",
        }
        patched = unittest.mock.patch.dict(os.environ, own)
        patched.start()
        self.addCleanup(patched.stop)
        self.picture = self.dir / "digit.png"
        images = gzip.open(ROOT / "testdata/digits/images-idx3-ubyte.gz").read()[16:]
        self.label = str(gzip.open(ROOT / "testdata/digits/labels-idx1-ubyte.gz").read()[8:][7000])
        rows = [images[784 * 7000 + 28 * row : 784 * 7000 + 28 * (row + 1)] for row in range(28)]
        self.picture.write_bytes(onnx.png(rows))

    def alone(self, *args, expect=0):
        """A command without any server."""
        done = subprocess.run(
            [BINARY, *args], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, cwd=self.dir,
            env={**os.environ, "NEURAXIS_URL": "http://127.0.0.1:9"},
        )
        self.assertEqual(done.returncode, expect, f"$ neuraxis {' '.join(args)}\n{done.stdout}{done.stderr}")
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def test_from_a_version_to_a_smaller_one_and_back(self):
        server = self.server()
        self.json(server, "model", "pull", "digits", "--from", DIGITS)
        first = self.json(server, "infer", "digits", str(self.picture), "--subject", "parcel/P1")
        self.assertEqual((first["label"], first["version"]), (self.label, 1))

        made = self.cli(server, "compress", "digits@live", "--data", f"{DATA}@7000..", *SMALL, "-o", "small", "--pull")
        self.assertRegex(made, r"digits@1 → .*int[48]")
        self.assertRegex(made, r"On 500 samples that the search did not see")
        self.assertIn("digits@2", made)
        small = self.dir / "small"
        report = json.loads((small / "report.json").read_text())
        released = report["released"]
        self.assertLess(released["bytes"][0], 0.5 * released["bytes"][1])
        self.assertEqual(released["bytes"][0], (small / "model.onnx").stat().st_size)
        self.assertLessEqual(released["claim"]["bound"], 0.02)
        self.assertEqual((report["samples"], report["threads"]), ([500, 500], 1))
        self.assertEqual(report["model"], "sha256:" + hashlib.sha256(pathlib.Path(DIGITS).read_bytes()).hexdigest())
        self.assertIn(f"parent: {report['model']}", (small / "model.yaml").read_text())
        for name in ("report.md", "report.svg", "report.note", "model.yaml"):
            self.assertTrue((small / name).stat().st_size > 0, name)
        self.assertEqual((self.dir / "config/neuraxis/report.key").stat().st_mode & 0o777, 0o600)
        shown = self.json(server, "model", "show", "digits")
        self.assertEqual(shown["aliases"], {"live": 1}, "the alias stays")
        self.assertEqual(shown["versions"][1]["from"]["version"], 1)
        self.assertEqual(f"sha256:{shown['versions'][1]['sha256']}", released["hash"])

        told = self.alone("model", "verify", "small")
        self.assertIn("claim:    On 500 samples", told)
        self.assertTrue(json.loads(self.alone("model", "verify", "small", "-o", "json"))["verified"])

        lines = self.cli(server, "model", "bench", "digits@2", "--threads", "1", "--time", "200ms", "-o", "json").splitlines()
        figures = {line["name"]: line for line in map(json.loads, lines)}
        for figure, unit in [("p50_us", "us"), ("p99_us", "us"), ("load_ms", "ms"), ("first_ms", "ms"), ("rss_mb", "MB")]:
            line = figures[f"infer.digits.rten.{figure}"]
            self.assertGreater(line["value"], 0)
            self.assertEqual((line["unit"], line["config"]["threads"]), (unit, 1))

        tuned = self.json(server, "model", "tune", "digits", "--time", "2s")
        self.assertEqual([each["model"] for each in tuned["variants"]], ["digits@1", "digits@2"])
        self.assertEqual(len(list((self.dir / "cache/neuraxis/tuned").iterdir())), 2)

        self.cli(server, "model", "alias", "digits", "live", "2")
        second = self.json(server, "infer", "digits", str(self.picture))
        self.assertEqual((second["label"], second["version"], second["engine"]), (self.label, 2, "rten"))
        chain = self.cli(server, "why", str(second["decision"]))
        self.assertIn("← digits@2 added by local from model.onnx", chain)
        self.assertIn("← digits@1 added by local from digits.onnx", chain)
        self.cli(server, "model", "rollback", "digits")
        self.assertEqual(self.json(server, "infer", "digits", str(self.picture))["version"], 1)

    def test_what_was_changed_is_found(self):
        self.alone("compress", DIGITS, "--data", f"{DATA}@7000..7800", *SMALL, "-o", "small")
        key = re.search(r"signed by (\S+)", self.alone("model", "verify", "small"))[1]
        small = self.dir / "small"
        self.alone("model", "verify", "small", "--key", key)
        other = "neuraxis-report+5c1a9b3e+AUx2Vw=="
        self.assertIn("not", self.alone("model", "verify", "small", "--key", other, expect=1))
        for name, change, says in [
            ("model.onnx", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "the report speaks of"),
            ("report.json", lambda old: old.replace(b'"seed":1', b'"seed":2'), "signed, but for other files"),
            ("model.yaml", lambda old: old + b"\n", "signed, but for other files"),
            ("report.note", lambda old: old.replace(b"model.onnx", b"model.xnno"), "NX|signature|does not"),
        ]:
            kept = (small / name).read_bytes()
            (small / name).write_bytes(change(kept))
            self.assertRegex(self.alone("model", "verify", "small", expect=1), says, name)
            (small / name).write_bytes(kept)
        self.alone("model", "verify", "small")
        (self.dir / "config/neuraxis/report.key").unlink()
        self.assertIn("give --key", self.alone("model", "verify", "small", expect=1))

    def test_broken_off_it_goes_on(self):
        command = [BINARY, "compress", DIGITS, "--data", DATA, *SMALL, "--seed", "7", "-o", "small"]
        log = self.dir / "first.log"
        with open(log, "wb") as out:
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=self.dir, stdin=subprocess.DEVNULL)
        self.addCleanup(child.kill)
        measured = self.dir / "small/measured.json"
        wait_for(lambda: measured.exists() and len(json.loads(measured.read_text())["facts"]) > 3, "first measurements")
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(timeout=60), 1, log.read_text())
        self.assertIn("the same command goes on from there", log.read_text())
        before = json.loads(measured.read_text())["facts"]
        self.assertFalse((self.dir / "small/report.json").exists())

        self.assertIn("another search's", self.alone(*command[1:7], "--max-drop", "3%", "--metric", "accuracy", "-o", "small", expect=1))
        self.alone(*command[1:])
        after = json.loads(measured.read_text())["facts"]
        self.assertEqual(after[: len(before)], before, "what was measured is used")
        report = (self.dir / "small/report.json").read_bytes()
        self.alone(*command[1:])
        self.assertEqual((self.dir / "small/report.json").read_bytes(), report, "and once more nothing is measured")

    def test_what_cannot_be_is_refused_by_name(self):
        def refused(*args, expect=1):
            return self.alone("compress", *args, expect=expect)

        data = ["--data", f"{DATA}@7000.."]
        most = ["--metric", "accuracy", "--max-drop"]
        told = refused(DIGITS, *data, *most, "0.1%", "-o", "out")
        self.assertRegex(told, r"1000 samples cannot show a drop of 0\.1 % or less at 95 % confidence; give \d+ or more")
        self.assertIn("write 0.5%", refused(DIGITS, *data, *most, "0.5", "-o", "out", expect=2))
        self.assertIn("`speed` is not known", refused(DIGITS, *data, *most, "2%", "--target", "speed", "-o", "out", expect=2))
        self.assertIn("[NX-INF-0011]", refused(DIGITS, *data, *most, "2%", "--target", "size,engine=abacus", "-o", "out"))
        self.assertIn("--output <DIR>", refused(DIGITS, *data, *most, "2%", expect=2))
        self.assertIn("[NX-INF-0010]", refused("nothing.onnx", *data, *most, "2%", "-o", "out"))
        self.assertIn("[NX-INF-0010]", refused(DIGITS, "--data", "nowhere", *most, "2%", "-o", "out"))
        (self.dir / "mine").mkdir()
        (self.dir / "mine/model.onnx").write_bytes(b"mine")
        self.assertIn("no search's", refused(DIGITS, *data, *most, "2%", "-o", "mine"))
        self.assertEqual((self.dir / "mine/model.onnx").read_bytes(), b"mine")
        (self.dir / "few.csv").write_text("a,b,label\n1,2,0\n")
        self.assertIn("[NX-INF-0013]", refused(DIGITS, "--data", "few.csv", *most, "2%", "-o", "out"))
        self.assertIn("is a file", refused(DIGITS, *data, *most, "2%", "-o", "out", "--pull"))
        self.alone("compress", "digits@live", *data, *most, "2%", "-o", "out", expect=5)
