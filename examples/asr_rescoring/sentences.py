"""The domain's sentences: user turns of dialogues, as a recogniser writes them."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

from models.spoken_text import asr_text
from training.corpus import parse_source, read_source

SHORTEST, LONGEST = 4, 10  # words; shorter turns say little, longer ones take long to decode


def user_turns(path: Path) -> list[str]:
    """The user's turns of a file of dialogues (jsonl, .xz): lower case, no punctuation."""
    return [
        text
        for document in read_source(parse_source(str(path)))
        for turn in document.turns
        if turn.role == "user" and (text := asr_text(turn.content).replace("\n", " "))
    ]


def choose_spoken(turns: Collection[str], unwanted: Collection[str], count: int) -> list[str]:
    """`count` different turns that can be spoken as they are written (no digits), none unwanted."""
    known = set(unwanted)
    fit = sorted(
        turn
        for turn in set(turns)
        if turn not in known
        and SHORTEST <= len(turn.split()) <= LONGEST
        and not any(char.isdigit() for char in turn)
    )
    return random.Random(0).sample(fit, min(count, len(fit)))
