"""A part of large corpora, drawn at random: what a short stage of training reads of each of many.

Running text is drawn in passages, so that what stands in one still follows from what stood before;
dialogues and unordered sentences are drawn line by line.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.corpus import CorpusError
from training.formats import kind_of

PASSAGE_CHARS = 60_000


@dataclass(frozen=True)
class Wanted:
    """About so many characters of a file. by_lines: its lines stand by themselves."""

    path: Path
    chars: int
    by_lines: bool


def parse_wanted(argument: str) -> Wanted:
    """From `FILE=CHARS` or `FILE@lines=CHARS`; CorpusError where it is neither."""
    named, _, chars = argument.rpartition("=")
    name = named.removesuffix("@lines")
    if not name or not chars.isdigit() or not int(chars):
        raise CorpusError(f"{argument}: give FILE=CHARACTERS, or FILE@lines=CHARACTERS")
    path = Path(name)
    return Wanted(path, int(chars), by_lines=name != named or kind_of(path) == "jsonl")


def draw(wanted: Sequence[Wanted], out: Path, seed: int) -> dict[Path, int]:
    """Write a file of the same name for each, into `out`; how many characters each has.

    The same seed draws the same from the same files, asked for in the same order. CorpusError where
    two files have one name, or a text has too few passages.
    """
    names = [each.path.name for each in wanted]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CorpusError(f"two files are called {min(twice)}: both cannot be written to {out}")
    rng = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    written = {}
    for each in wanted:
        text = each.path.read_text("utf-8")
        drawn = _lines(text, each.chars, rng) if each.by_lines else _passages(text, each, rng)
        (out / each.path.name).write_text(drawn, "utf-8")
        written[out / each.path.name] = len(drawn)
    return written


def _lines(text: str, chars: int, rng: random.Random) -> str:
    lines = [f"{line}\n" for line in text.split("\n") if line.strip()]
    rng.shuffle(lines)
    drawn, size = [], 0
    for line in lines:
        if size >= chars:
            break
        drawn.append(line)
        size += len(line)
    return "".join(drawn)


def _passages(text: str, wanted: Wanted, rng: random.Random) -> str:
    """Passages in random order, each from the end of a paragraph to the end of another."""
    places = range(0, len(text) - 2 * PASSAGE_CHARS, PASSAGE_CHARS)
    count = wanted.chars // PASSAGE_CHARS
    if not 0 < count <= len(places):
        raise CorpusError(
            f"{wanted.path}: {wanted.chars} characters are {count} passages of {PASSAGE_CHARS}, of "
            f"which it has {len(places)}; take the whole file, or say @lines"
        )
    passages = []
    for place in sorted(rng.sample(places, count)):
        begin = _break_after(text, place, place + PASSAGE_CHARS // 2)
        aim = begin + PASSAGE_CHARS - 4_000
        passages.append(
            text[begin : _break_after(text, aim, begin + 2 * PASSAGE_CHARS)].strip("\n")
        )
    rng.shuffle(passages)
    return "\n\n".join(passages) + "\n"


def _break_after(text: str, place: int, limit: int) -> int:
    """Where the next paragraph ends, or, if that is past `limit`, the next line, or the text."""
    paragraph = text.find("\n\n", place)
    if 0 <= paragraph <= limit:
        return paragraph
    line = text.find("\n", place)
    return line if line >= 0 else len(text)
