#!/usr/bin/env python3
"""How often the injection detector is wrong, on text that it was never trained on.

    cargo build --release -p nx-guard --example detect
    bench/detectors/agentdojo_results.py --attacks > results.jsonl     # optional, see there
    bench/detectors/evaluate.py [--detect target/release/examples/detect] [--agentdojo results.jsonl]

- false positives: NotInject (one and two trigger words), BIPIA's e-mails as they are, benign results of AgentDojo's tools;
- recall: the 75 attacks of BIPIA's training part, each put into 10 e-mails at the start, in the middle and at the end; AgentDojo's
  injected results.

Scores of 50 and more, and of 90 and more (`SUSPECT`), count. One JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "testdata" / "prompts"
POINTS = (30, 50, 60, 70, 80, 90, 95)


def scores(detect: Path, values: Sequence[Any]) -> List[Dict[str, Any]]:
    lines = "".join(json.dumps(value) + "\n" for value in values)
    answer = subprocess.run([str(detect), "--lines"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in answer.stdout.splitlines()]


def load(name: str) -> Any:
    text = (DATA / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)


def inserted(mail: str, attack: str, where: str) -> str:
    if where == "start":
        return f"{attack}\n{mail}"
    if where == "end":
        return f"{mail}\n{attack}"
    # between two sentences, lines or words, the nearest to the middle
    for gap in ("\n", ". ", " "):
        places = [place + len(gap) for place in range(len(mail)) if mail.startswith(gap, place)]
        if places:
            middle = min(places, key=lambda place: abs(place - len(mail) // 2))
            return f"{mail[:middle]}{attack}\n{mail[middle:]}"
    return f"{mail}\n{attack}"


def cases(agentdojo: Optional[Path]) -> Iterator[Tuple[str, str, List[Any]]]:
    for name in ("one", "two"):
        yield "harmless", f"NotInject_{name}", [entry["prompt"] for entry in load(f"NotInject_{name}.json")]
    mails = [entry["context"] for entry in load("bipia_email_train.jsonl")]
    yield "harmless", "BIPIA e-mails", mails
    results = [json.loads(line) for line in agentdojo.read_text().splitlines()] if agentdojo else []
    benign = list({json.dumps(entry["result"]): entry["result"] for entry in results if entry["attack"] is None}.values())
    if benign:
        yield "harmless", "AgentDojo tool results", benign
    attacks = load("bipia_text_attack_train.json")
    for where in ("start", "middle", "end"):
        texts = [inserted(mail, attack, where) for of in attacks.values() for attack in of for mail in mails[::5]]
        yield "attack", f"BIPIA, {where} of an e-mail", texts
    for category, of in attacks.items():
        texts = [inserted(mail, text, where) for text in of for mail in mails[::5] for where in ("start", "middle", "end")]
        yield "attack", f"BIPIA, {category}", texts
    # a result counts as attacked where the text that carries the attack is in it
    attacked = [entry["result"] for entry in results if entry["attack"] and "<INFORMATION>" in json.dumps(entry["result"])]
    if attacked:
        yield "attack", "AgentDojo important_instructions", attacked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detect", type=Path, default=ROOT / "target" / "release" / "examples" / "detect")
    parser.add_argument("--agentdojo", type=Path, help="what agentdojo_results.py wrote")
    parser.add_argument("--show", type=int, metavar="SCORE", help="print the harmless texts with this score or more")
    options = parser.parse_args()
    for kind, name, values in cases(options.agentdojo):
        reports = scores(options.detect, values)
        found = [report["scores"]["injection"] for report in reports]
        shares = {f"{point}": round(sum(score >= point for score in found) / len(found), 4) for point in POINTS}
        other = {
            field: round(sum(report["scores"][field] >= 60 for report in reports) / len(found), 4)
            for field in ("pii", "secrets")
        }
        print(json.dumps({"name": name, "kind": kind, "texts": len(found), "at_or_over": shares, **other}))
        for value, score in zip(values, found):
            if options.show and kind == "harmless" and score >= options.show:
                print(json.dumps({"score": score, "value": value}), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
