"""`python -m neuraxis worker agent.py`: serves the agents and tools of files or modules."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from typing import List, Optional

from ._load import load
from ._registry import registry
from ._version import __version__
from .errors import Error, TurnedAway
from .serving import DEFAULT_URL, serve


def main(arguments: Optional[List[str]] = None) -> int:
    """The command line; its exit status: 0 stopped, 1 turned away, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m neuraxis", description="Neuraxis for Python")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="serve the agents and tools of files or modules")
    worker.add_argument("targets", nargs="+", metavar="FILE_OR_MODULE")
    worker.add_argument("--url", help=f"the server; NEURAXIS_URL, else {DEFAULT_URL}")
    worker.add_argument("--token", help="NEURAXIS_TOKEN")
    worker.add_argument("--namespace", help="NEURAXIS_NAMESPACE, else `default`")
    worker.add_argument("--runs", type=int, default=64, help="runs executed at once (64)")
    worker.add_argument("--threads", type=int, default=64, help="sync steps executed at once (64)")
    worker.add_argument("--grace", type=float, default=20.0, help="seconds for executions to end on SIGTERM (20)")
    worker.add_argument("--while-stdin", action="store_true", help="stop when standard input ends: with the parent")
    worker.add_argument("--check", action="store_true", help="load the targets, print what they offer, and stop")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        for target in options.targets:
            load(target)
        if options.check:
            _print_offers()
            return 0
        if options.while_stdin:
            threading.Thread(target=_stop_with_stdin, daemon=True).start()
        serve(
            options.url,
            options.token,
            namespace=options.namespace,
            runs=options.runs,
            threads=options.threads,
            grace=options.grace,
        )
        return 0
    except TurnedAway as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Error as error:
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


def _stop_with_stdin() -> None:
    """Whoever started this process holds its standard input open. When that ends, it stops as on SIGTERM."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _print_offers() -> None:
    for agent in registry.agents.values():
        print(f"agent {agent.name}")
    for name, tools in registry.tools.items():
        for tool in tools.values():
            print(f"tool {name}/{tool.name} ({tool.effect})")


if __name__ == "__main__":
    sys.exit(main())
