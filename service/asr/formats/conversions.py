"""Other people's logarithms to natural ones and back; costs turned around.

ARPA files and SRILM's plain lists use base 10. SRI's Decipher rounds to bytelogs, which SRILM
converts with 1024 / 10000.5 (`Prob.h`: base 1.0001 to six digits). CMU Sphinx counts in base
1.0001. Kaldi stores costs: natural, negated.
"""

from __future__ import annotations

import math

LN10 = math.log(10)
BYTELOG = 1024 / 10000.5
SPHINX = math.log(1.0001)


def from_log10(value: float) -> float:
    """From base 10 to natural."""
    return value * LN10


def to_log10(value: float) -> float:
    """From natural to base 10."""
    return value / LN10


def from_bytelog(value: float) -> float:
    """From SRI's bytelogs to natural."""
    return value * BYTELOG


def to_bytelog(value: float) -> int:
    """The nearest bytelog: up to 0.05 nats are lost, as in the format itself."""
    return round(value / BYTELOG)


def from_cost(value: float) -> float:
    """From a natural cost to a logarithm."""
    return 0.0 - value  # not -value: a cost of 0 is a score of 0, not of -0


def to_cost(value: float) -> float:
    """From a natural logarithm to a cost."""
    return 0.0 - value
