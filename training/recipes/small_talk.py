"""Small talk put together from exchanges written by hand (`small_talk.toml`).

The corpora of chats hold nobody who is asked for a name and has none, or is asked what it can do.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from importlib import resources

from training.recipes.dialogues import Turns, alternate

_FILE = "small_talk.toml"


def small_talk(count: int, seed: int = 1) -> Iterator[Turns]:
    """Dialogues of an opening or none, some exchanges, and a closing or none; the seed decides."""
    exchanges = tomllib.loads((resources.files(__package__) / _FILE).read_text("utf-8"))
    draw = random.Random(seed)
    for _ in range(count):
        chosen = draw.sample(exchanges["opening"], draw.choice([0, 1, 1]))
        chosen += draw.sample(exchanges["middle"], draw.randint(2, 6))
        chosen += draw.sample(exchanges["closing"], draw.choice([0, 1, 2]))
        yield alternate(
            draw.choice(exchange[role]) for exchange in chosen for role in ("user", "assistant")
        )
