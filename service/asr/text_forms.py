"""The form in which a model is asked about a hypothesis; the hypothesis itself stays as it is."""

from __future__ import annotations

import re
from typing import Literal

from models.spoken_text import asr_text

TextForm = Literal["as-is", "asr", "cased"]

_LONE_I = re.compile(r"\bi(?=$|\s|')")


def render(text: str, form: TextForm) -> str:
    """`text` for the model.

    asr: lower case, no punctuation, for models of such text and recognisers that write otherwise.
    cased: a capital at the beginning and for "i", a full stop at the end, for models of prose
        alone; a model that knows lower-case text does better without, by 2 points of error rate.
    """
    if form == "as-is":
        return text
    spoken = asr_text(text)
    if form == "asr" or not spoken:
        return spoken
    cased = _LONE_I.sub("I", spoken)
    return f"{cased[0].upper()}{cased[1:]}."
