"""Text as recognisers write it: one rule for training corpora and for what is rescored."""

from __future__ import annotations

import re

_NOT_SPOKEN = re.compile(r"(?!(?<=[^\W_])['’](?=[^\W_]))[^\w\s]|_")


def asr_text(text: str) -> str:
    """Lower case, no punctuation but apostrophes inside words, single spaces; lines are kept."""
    spoken = (_NOT_SPOKEN.sub(" ", line.replace("’", "'")) for line in text.split("\n"))
    return "\n".join(" ".join(line.lower().split()) for line in spoken)
