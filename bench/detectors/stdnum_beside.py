#!/usr/bin/env python3
"""Made-up numbers, valid and not, judged by our detectors and by python-stdnum: do both say the same?

    pip install python-stdnum
    cargo build --release -p nx-guard --example detect
    bench/detectors/stdnum_beside.py [--detect target/release/examples/detect] [--count 40000]

Counts agreement by kind; exit status 1 if there is a difference. Account numbers are compared by length and check alone: the
countries' own forms are not ours to know.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import string
import sys
from pathlib import Path
from typing import Callable, Dict, Tuple

from evaluate import ROOT, scores
from stdnum import iban, luhn
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.us import ssn

Made = Tuple[str, bool]


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def german(rng: random.Random) -> Made:
    body = rng.sample(string.digits, 9)
    body.append(rng.choice(body))
    rng.shuffle(body)
    number = "".join(body) + digits(rng, 1)
    return f"Steuer-ID {number}", idnr.is_valid(number)


def french(rng: random.Random) -> Made:
    place = rng.choice(["75", "13", "2A", "2B", "97", "08"])
    number = rng.choice("12") + digits(rng, 2) + f"{rng.randint(1, 12):02d}{place}" + digits(rng, 6)
    number += nir.calc_check_digits(number) if rng.random() < 0.5 else digits(rng, 2)
    return f"nir {number}", nir.is_valid(number)


def spanish(rng: random.Random) -> Made:
    letter = rng.choice(string.ascii_uppercase)
    if rng.random() < 0.5:
        number = digits(rng, 8) + letter
        return f"dni {number}", dni.is_valid(number)
    number = rng.choice("XYZ") + digits(rng, 7) + letter
    return f"nie {number}", nie.is_valid(number)


def italian(rng: random.Random) -> Made:
    name = "".join(rng.choice("BCDFGLMNPRST") for _ in range(6))
    day = rng.choice([rng.randint(1, 28), rng.randint(41, 68)])
    number = f"{name}{digits(rng, 2)}{rng.choice('ABCDEHLMPRST')}{day:02d}{rng.choice('ABCDEFGHIL')}{digits(rng, 3)}"
    number += codicefiscale.calc_check_digit(number) if rng.random() < 0.5 else rng.choice(string.ascii_uppercase)
    return f"cf {number}", codicefiscale.is_valid(number)


def american(rng: random.Random) -> Made:
    number = f"{digits(rng, 3)}-{digits(rng, 2)}-{digits(rng, 4)}"
    return f"ssn {number}", ssn.is_valid(number)


def account(rng: random.Random) -> Made:
    # countries whose account numbers are digits alone
    country, length = rng.choice([("DE", 22), ("PT", 25), ("PL", 28), ("AT", 20), ("DK", 18), ("CZ", 24)])
    body = digits(rng, length - 4)
    check = iban.calc_check_digits(f"{country}00{body}") if rng.random() < 0.5 else digits(rng, 2)
    number = country + check + body
    return f"iban {number}", iban.calc_check_digits(number) == check


def card(rng: random.Random) -> Made:
    number = rng.choice(["4", "51", "2221", "6011"])
    number += digits(rng, 15 - len(number))
    number += luhn.calc_check_digit(number) if rng.random() < 0.5 else digits(rng, 1)
    return f"card {number}", luhn.is_valid(number)


MAKERS: Dict[str, Callable[[random.Random], Made]] = {
    "de_tax_id": german,
    "fr_nir": french,
    "es_dni": spanish,
    "it_fiscal_code": italian,
    "us_ssn": american,
    "iban": account,
    "card": card,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detect", type=Path, default=ROOT / "target" / "release" / "examples" / "detect")
    parser.add_argument("--count", type=int, default=40000)
    options = parser.parse_args()
    rng = random.Random(5)
    kinds = [rng.choice(sorted(MAKERS)) for _ in range(options.count)]
    made = [MAKERS[kind](rng) for kind in kinds]
    reports = scores(options.detect, [text for text, _ in made])
    counts: "collections.Counter[Tuple[str, bool, bool]]" = collections.Counter()
    for kind, (text, valid), report in zip(kinds, made, reports):
        found = any(finding["kind"] == kind for finding in report["findings"])
        counts[kind, valid, found] += 1
        if found != valid:
            print(f"{kind}: stdnum says {valid}, we say {found}: {text}", file=sys.stderr)
    for kind in MAKERS:
        print(json.dumps({"kind": kind, "valid": counts[kind, True, True], "invalid": counts[kind, False, False],
                          "missed": counts[kind, True, False], "wrong": counts[kind, False, True]}))
    return 1 if any(valid != found for _, valid, found in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
