"""Texts from templates: one template a line; `[a|b]` is a choice, `{slot}` one of the slot's values, `¦` a literal bar.

Lines that start with `# ` name the family of what follows. Brackets without a bar are literal; `{{` and `}}` are braces.
"""

from __future__ import annotations

import random
import re
import zlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

HERE = Path(__file__).resolve().parent / "templates"
CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
SLOT = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


class Template(NamedTuple):
    kind: str
    family: str
    text: str

    @property
    def held_out(self) -> bool:
        """About one template of eight is never trained on."""
        return zlib.crc32(self.text.encode()) % 8 == 0


def families(path: Path) -> List[Tuple[str, str]]:
    found, family = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            family = line[2:].strip()
        elif line.strip():
            found.append((family, line))
    return found


def slots() -> Dict[str, List[str]]:
    table: Dict[str, List[str]] = {}
    for _, line in families(HERE / "slots.txt"):
        name, values = line.split(":", 1)
        table[name] = [value.strip() for value in values.split(" | ")]
    for family, line in families(HERE / "do.txt"):
        table.setdefault(family, []).append(line)
    return table


def templates(kind: str) -> List[Template]:
    return [Template(kind, family, line) for family, line in families(HERE / f"{kind}.txt")]


WORDS = (
    "anna bo carl dora eve finn gwen hal ida jo kim lea max nora otto pia quin ray sue tim una vic wim xia yan zora blue north "
    "river stone maple harbor cloud tidy swift orbit cedar lumen metro pixel ridge sunny terra union vista willow"
).split()
ENDS = "com com com org org net io de fr co.uk ch nl eu example example.org example.com test dev app info".split()


def address(rng: random.Random) -> str:
    user = rng.choice(["{0}", "{0}.{1}", "{0}{2}", "{0}_{1}", "{0}-{1}", "info", "support", "billing", "no-reply"])
    return f"{user.format(rng.choice(WORDS), rng.choice(WORDS), rng.randint(1, 99))}@{host(rng)}"


def host(rng: random.Random) -> str:
    name = rng.choice(["{0}", "{0}{1}", "{0}-{1}", "mail.{0}", "my{0}"])
    return f"{name.format(rng.choice(WORDS), rng.choice(WORDS))}.{rng.choice(ENDS)}"


def link(rng: random.Random) -> str:
    path = rng.choice(["", "/", "/{0}", "/{0}/{1}", "/{0}?id={2}", "/{0}.html", "/x{2}"])
    return rng.choice(["https://", "https://", "http://", "www.", ""]) + host(rng) + path.format(
        rng.choice(WORDS), rng.choice(WORDS), rng.randint(1, 9999)
    )


def account(rng: random.Random) -> str:
    digits = f"{rng.choice(['DE', 'GB', 'FR', 'NL', 'ES', 'US', 'CH'])}{rng.randrange(10**18):020d}"
    return rng.choice([digits, " ".join(digits[place : place + 4] for place in range(0, len(digits), 4))])


MADE = {"email": address, "url": link, "iban": account}


def expand(text: str, table: Dict[str, List[str]], rng: random.Random) -> str:
    for _ in range(24):
        choice = CHOICE.search(text)
        if choice:
            text = text[: choice.start()] + rng.choice(choice.group(1).split("|")) + text[choice.end() :]
            continue
        slot = SLOT.search(text)
        if not slot:
            break
        name = slot.group(1)
        value = MADE[name](rng) if name in MADE else rng.choice(table[name.lower()])
        if name[0].isupper():
            value = expand(value, table, rng)
            value = value[:1].upper() + value[1:]
        text = text[: slot.start()] + value + text[slot.end() :]
    return text.replace("{{", "{").replace("}}", "}").replace("¦", "|").strip()


def sample(template: Template, count: int, table: Dict[str, List[str]]) -> List[str]:
    """`count` texts of a template, without repetition, the same on every machine."""
    rng = random.Random(zlib.crc32(template.text.encode()))
    found: Dict[str, None] = {}
    for _ in range(count * 2):
        found.setdefault(expand(template.text, table, rng))
        if len(found) == count:
            break
    return list(found)
