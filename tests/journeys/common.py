"""What the journeys share: the real binary on a free port, its commands, real workers, kills."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ["NEURAXIS_BIN"]
SDK = str(ROOT / "sdk" / "python" / "src")


def wait_for(check, what, seconds=60.0):
    """Looks until `check` gives something; how long is a bound for a hung system, not a timing."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {seconds} s")


class Process:
    """A process in a group of its own, its output in a file."""

    def __init__(self, args, log, env=None):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                args, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})}, start_new_session=True, cwd=self.log.parent,
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def kill(self, how=signal.SIGKILL):
        if self.child.poll() is None:
            try:
                os.killpg(self.child.pid, how)
            except ProcessLookupError:
                pass
        self.child.wait(timeout=60)


class Server(Process):
    """`neuraxis up` or `neuraxis dev`."""

    def __init__(self, directory, *args, command="up", listen="127.0.0.1:0", env=None):
        self.directory = pathlib.Path(directory)
        count = len(list(self.directory.glob("server*.log")))
        log = self.directory / f"server{count}.log"
        full = [BINARY, command, *args, "--data", str(self.directory / "data"), "--listen", listen]
        super().__init__(full, log, env)
        ready = wait_for(self._ready, f"ready line of {' '.join(full)}\n{self.text()}")
        self.url = ready.group(1)
        self.address = self.url.removeprefix("http://")

    def _ready(self):
        if self.child.poll() is not None:
            raise AssertionError(f"the server ended with {self.child.returncode}:\n{self.text()}")
        return re.search(r"^ready (\S+)$", self.text(), re.M)


class Journey(unittest.TestCase):
    """A directory, and processes that end with the test."""

    maxDiff = None

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nx-journey-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def server(self, *args, **options):
        server = Server(self.dir, *args, **options)
        self.addCleanup(server.kill)
        return server

    def worker(self, file, url):
        count = len(list(self.dir.glob("worker*.log")))
        env = {"NEURAXIS_URL": url, "PYTHONPATH": SDK, "PYTHONUNBUFFERED": "1"}
        worker = Process(
            [sys.executable, "-m", "neuraxis", "worker", str(file)], self.dir / f"worker{count}.log", env
        )
        self.addCleanup(worker.kill)
        return worker

    def cli(self, server, *args, expect=0):
        done = subprocess.run(
            [BINARY, *args], capture_output=True, text=True, timeout=120,
            env={**os.environ, "NEURAXIS_URL": server.url}, stdin=subprocess.DEVNULL, cwd=self.dir,
        )
        shown = f"$ neuraxis {' '.join(args)}\n{done.stdout}{done.stderr}"
        if expect is not None:
            self.assertEqual(done.returncode, expect, shown)
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def json(self, server, *args):
        return json.loads(self.cli(server, *args, "-o", "json"))

    def spawn_cli(self, server, *args):
        count = len(list(self.dir.glob("cli*.log")))
        process = Process([BINARY, *args], self.dir / f"cli{count}.log", {"NEURAXIS_URL": server.url})
        self.addCleanup(process.kill)
        return process
