#!/usr/bin/env python3
"""Word sequences that the training texts share with the texts that measure: those of six words or more should be none.

    bench/detectors/overlap.py [--words 6] [--agentdojo results.jsonl]     # in the environment of train/requirements.txt

One JSON object for each text that shares some; exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "crates" / "nx-guard" / "train"))
sys.dont_write_bytecode = True

import train  # noqa: E402
from evaluate import load  # noqa: E402


def sequences(text: str, length: int) -> List[Tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return [tuple(words[place : place + length]) for place in range(len(words) - length + 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=6)
    parser.add_argument("--agentdojo", type=Path, help="what agentdojo_results.py wrote")
    options = parser.parse_args()
    known: Dict[Tuple[str, ...], str] = {}
    for text in train.texts():
        for sequence in sequences(text.text, options.words):
            known.setdefault(sequence, text.template)
    measured = [entry["prompt"] for name in ("one", "two") for entry in load(f"NotInject_{name}.json")]
    measured += [entry["context"] for entry in load("bipia_email_train.jsonl")]
    measured += [attack for of in load("bipia_text_attack_train.json").values() for attack in of]
    if options.agentdojo:
        results = [json.loads(line)["result"] for line in options.agentdojo.read_text().splitlines()]
        measured += {json.dumps(result, ensure_ascii=False).replace("\\n", " ") for result in results}
    shared = 0
    for text in measured:
        found = {" ".join(sequence): known[sequence] for sequence in sequences(text, options.words) if sequence in known}
        if found:
            shared += 1
            print(json.dumps({"text": text[:80], "shared": {words: of[:80] for words, of in found.items()}}, ensure_ascii=False))
    print(f"{len(measured)} texts measure, {shared} share {options.words} words in a row with training", file=sys.stderr)
    return 1 if shared else 0


if __name__ == "__main__":
    sys.exit(main())
