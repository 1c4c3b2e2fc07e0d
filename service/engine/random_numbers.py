"""Counter-based random numbers: a draw depends on its key alone, never on what was drawn before.

Keys are (seed, prompt, sample, position), so that a continuation is the same in any batch. The
mixer is SplitMix64's finaliser (Steele, Lea & Flood 2014), applied once for each part of the key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ATTEMPT = 1 << 40  # positions of a stream are fewer


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _mix_each(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`_mix` of each; the products of unsigned integers wrap around by themselves."""
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def stream_key(seed: int, *parts: int) -> int:
    """64-bit key of a stream; any integers will do, and their order matters."""
    key = _mix(seed & _MASK)
    for part in (seed >> 64, *parts):
        key = _mix(key ^ (part & _MASK))
    return key


def uniforms(
    keys: NDArray[np.uint64], positions: NDArray[np.uint64], attempt: int = 0
) -> NDArray[np.float64]:
    """Uniform in [0, 1), 53 bits, at one position of each stream, (R,).

    attempt: there are so many draws for one position that a draw may be repeated there.
    """
    counters = positions + np.uint64(attempt * _ATTEMPT)
    bits = _mix_each(keys ^ _mix_each(counters)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def uniform(key: int, position: int, attempt: int = 0) -> float:
    """The same for one stream."""
    return (_mix(key ^ _mix(position + attempt * _ATTEMPT)) >> 11) * 2.0**-53
