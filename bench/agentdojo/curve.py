#!/usr/bin/env python3
"""Questions against breaches: the replay under policies from lax to strict, each a part of the one that ships or more than it.

    cargo build -p nx-guard --example replay
    bench/agentdojo/curve.py target/debug/examples/replay [-o FILE]

One line a point: tasks with a question, attacks that succeed. `replay.py` says which.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import re
import sys
from pathlib import Path
from typing import Dict, List

from guards import Local, OneLabel, Open
from replay import HERE, SUITES, Replay

SHIPPED = HERE.parent.parent / "crates/nx-guard/src/policy/default.cedar"
ASK = '@id("{name}")\n@ask("operator within 24h")\n@reason("{name}")\nforbid(principal, action, resource)\n  when {{ {when} }};\n'


def clauses(text: str) -> Dict[str, str]:
    """The clauses of the policy that ships, by name."""
    parts = re.split(r"(?m)^(?=@id)", text)[1:]
    return {part.split('"')[1]: part for part in parts}


def points() -> Dict[str, str]:
    """Policies by name, from lax to strict."""
    shipped = clauses(SHIPPED.read_text())
    unless = ' && action != Tool::"output"'
    ladder: Dict[str, str] = {
        "sinks.untrusted": ASK.format(name="untrusted", when="!context.sinks.untrusted.isEmpty()" + unless),
        "sinks.unclear": ASK.format(name="unclear", when="!context.sinks.unclear.isEmpty()" + unless),
    }
    kept: List[str] = []
    for name, text in shipped.items():
        kept.append(text)
        ladder[f"… {name}" if len(kept) > 1 else name] = "\n".join(kept)
    everything = "\n".join(kept)
    ladder["shipped, and whatever the request does not say itself"] = everything + ASK.format(
        name="chosen", when="context.acts && !context.sinks.chosen.isEmpty()"
    )
    ladder["every call that acts"] = ASK.format(name="acts", when="context.acts")
    return ladder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the example `replay` of nx-guard")
    parser.add_argument("-o", "--output", type=argparse.FileType("w"), default=sys.stdout)
    options = parser.parse_args()
    tools = json.loads((HERE / "tools.json").read_text())
    guards = {"no guard": Open(), "one label for the whole context": OneLabel()}
    guards.update((name, Local(options.program, text)) for name, text in points().items())
    for name, guard in guards.items():
        totals: "collections.Counter[str]" = collections.Counter()
        for suite in SUITES:
            totals.update(Replay(guard, tools, io.StringIO()).suite(suite, True))
        line = {"policy": name, **{key: totals[key] for key in ("tasks", "utility", "asking", "asks", "attacks", "breaches")}}
        print(json.dumps(line, ensure_ascii=False), file=options.output, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
