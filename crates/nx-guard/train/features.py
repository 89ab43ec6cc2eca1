"""The features of the injection classifier, as `src/detect/text.rs` and `src/detect/classifier.rs` compute them.

A text is a sequence of words: letters and digits, in lower case, compatibility forms and look-alike letters folded, marks
and invisible characters dropped; each Han, Kana or Hangul character is a word. Each word has the kind of the gap before it.
A word gives a handful of features: itself, itself after the gap, and the pairs and triples that it closes.
"""

from __future__ import annotations

import unicodedata
from typing import Iterator, List, Tuple

MASK = (1 << 64) - 1
OFFSET, PRIME = 0xCBF29CE484222325, 0x100000001B3
SALTS = {
    "word": 0x9E3779B97F4A7C15,
    "gap": 0xC2B2AE3D27D4EB4F,
    "pair": 0x165667B19E3779F9,
    "gap_pair": 0x27D4EB2F165667C5,
    "triple": 0x85EBCA77C2B2AE63,
    "skip": 0xFF51AFD7ED558CCD,
}
# The kind of the gap before a word; the strongest of what stands in it.
SPACE, QUOTE, COLON, STOP, LINE, MARK = range(6)
GAPS = {'"': QUOTE, "'": QUOTE, "“": QUOTE, "”": QUOTE, "(": QUOTE, ":": COLON, ";": STOP, ".": STOP, "!": STOP, "?": STOP,
        "。": STOP, "！": STOP, "？": STOP, "\n": LINE, "\r": LINE, "<": MARK, ">": MARK, "[": MARK, "]": MARK, "{": MARK,
        "}": MARK, "#": MARK, "*": MARK, "|": MARK, "=": MARK, "~": MARK}
LONGEST_WORD = 40
# Letters of other scripts that look like Latin ones. The same table stands in `text.rs`.
LOOKALIKES = dict(
    pair.split(":")
    for pair in (
        "а:a е:e о:o р:p с:c у:y х:x і:i ј:j ѕ:s ԁ:d һ:h ӏ:l к:k м:m т:t в:b н:h "
        "ο:o ν:v ρ:p ι:i τ:t υ:u κ:k α:a η:n ω:w ε:e χ:x γ:y β:b ɡ:g ɑ:a ı:i ǀ:l ɩ:i ѡ:w ԛ:q"
    ).split()
)
IGNORED = ("\u00ad", "\u034f", "\u061c", "\u180e", "\ufeff")


def ignored(char: str) -> bool:
    code = ord(char)
    return (
        char in IGNORED
        or 0x200B <= code <= 0x200F
        or 0x202A <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0x0300 <= code <= 0x036F
        or 0xFE00 <= code <= 0xFE0F
        or 0xE0000 <= code <= 0xE0FFF
    )


def ideographic(char: str) -> bool:
    code = ord(char)
    return 0x2E80 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7AF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF


def folded(char: str) -> str:
    """The letters that a character outside ASCII stands for; empty where it is none."""
    out = []
    for part in unicodedata.normalize("NFKD", char):
        if ignored(part):
            continue
        for low in part.lower():
            if ignored(low):
                continue
            low = LOOKALIKES.get(low, low)
            if low.isalnum():
                out.append(low)
    return "".join(out)


def words(text: str) -> Iterator[Tuple[int, int]]:
    """Each word's hash and the gap before it."""
    gap, value, length = LINE, OFFSET, 0
    for char in text:
        if char < "\x80":
            if char.isalnum():
                if length < LONGEST_WORD:
                    value = ((value ^ ord(char.lower())) * PRIME) & MASK
                length += 1
                continue
            if char == "'" and length:
                continue
        elif ignored(char) or (char == "’" and length):
            continue
        elif ideographic(char) and char not in GAPS and char.isalnum():
            if length:
                yield value, gap
                gap, value, length = SPACE, OFFSET, 0
            for byte in char.encode():
                value = ((value ^ byte) * PRIME) & MASK
            yield value, gap
            gap, value, length = SPACE, OFFSET, 0
            continue
        else:
            letters = folded(char)
            if letters:
                for byte in letters.encode():
                    if length < LONGEST_WORD:
                        value = ((value ^ byte) * PRIME) & MASK
                length += 1
                continue
        if length:
            yield value, gap
            gap, value, length = SPACE, OFFSET, 0
        gap = max(gap, GAPS.get(char, SPACE))
    if length:
        yield value, gap


def mixed(salt: int, *parts: int) -> int:
    value = salt
    for part in parts:
        value = ((value ^ part) * 0xD6E8FEB86659FD93) & MASK
        value ^= value >> 32
    return value >> 16 & 0xFFFFFFFF


def features(text: str) -> List[List[int]]:
    """For each word of the text, the 32-bit keys of its features."""
    rows: List[List[int]] = []
    first = second = 0
    start = 0
    for word, gap in words(text):
        row = [mixed(SALTS["word"], word)]
        if gap:
            row.append(mixed(SALTS["gap"], word, gap))
        if first:
            row.append(mixed(SALTS["pair"], first, word))
            if start and not gap:
                row.append(mixed(SALTS["gap_pair"], first, word))
        if second:
            row.append(mixed(SALTS["triple"], second, first, word))
            row.append(mixed(SALTS["skip"], second, word))
        rows.append(row)
        first, second, start = word, first, gap
    return rows
