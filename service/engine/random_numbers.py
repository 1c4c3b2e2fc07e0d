"""Counter-based random numbers: a draw depends on its key alone, never on what was drawn before.

Keys are (seed, prompt, sample, position), so that a continuation is the same in any batch. The
mixer is SplitMix64's finaliser (Steele, Lea & Flood 2014), applied once for each part of the key.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def stream_key(seed: int, *parts: int) -> int:
    """64-bit key of a stream; any integers will do, and their order matters."""
    key = _mix(seed & _MASK)
    for part in (seed >> 64, *parts):
        key = _mix(key ^ (part & _MASK))
    return key


def uniform(key: int, position: int) -> float:
    """Uniform in [0, 1), 53 bits, at a position of a stream."""
    return (_mix(key ^ _mix(position)) >> 11) * 2.0**-53
