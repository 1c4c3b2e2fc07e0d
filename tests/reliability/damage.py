"""Another input made of a good one: bytes changed, or values of a JSON document."""

from __future__ import annotations

import json
import random
from typing import Any

_PIECES = (
    b'{"texts": ["a"], "bos": true}', b"[" * 60, b"]" * 60, b'"\\ud83d"', b"NaN", b"1e999", b"-",
    b'{"a":', b"null", b"\xff\xfe", b"\x00", b'"\\u0000"', b"9" * 300, b",", b" ", b'"', b"\n",
    b"\t", b"=", b"-inf", b"4294967296", b"\xe2\x80\xa8", b"\r", b"99999999999",
    b"[" * 1200, b'{"a":' * 1200,
)  # fmt: skip
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, -1e308, 2**31, 2**63, -(2**63), 10**30, "", " ",
    "\x00", "\ud83d", "a" * 2000, "NaN", "<|user|>", [], {}, [[]], [None], [""], {"a": None}, [-1],
    ["a"] * 50, [0] * 50, [[0]], {"role": "user"}, {"type": "text", "text": "a"}, [[["a"]]],
    "default", "tiny", {"": ""}, float("inf"), float("nan"),
)  # fmt: skip


def damaged(draw: random.Random, data: bytes) -> bytes:
    """A few bytes changed, lost, doubled, or replaced by a piece that has hurt before."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(changed) + 1)
        match draw.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                del changed[place : place + draw.randint(1, 20)]
            case 2:
                changed[place:place] = draw.choice(_PIECES)
            case _:
                changed[place:place] = changed[place : place + draw.randint(1, 50)]
    return bytes(changed)


def damaged_json(draw: random.Random, data: bytes) -> bytes:
    """One to three values of a document replaced, lost, doubled, or put under another's name."""
    value = json.loads(data)
    for _ in range(draw.randint(1, 3)):
        value = _changed(draw, value)
    return json.dumps(value).encode()


def _changed(draw: random.Random, value: Any) -> Any:
    """The value with something in it, or itself, changed."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        name = draw.choice(list(value))
        match draw.randrange(8):
            case 0:
                return {key: inner for key, inner in value.items() if key != name}
            case 1:
                return {**value, draw.choice(list(value)) + draw.choice(("", "s", "\x00")): name}
            case 2:
                return {**value, name: value[draw.choice(list(value))]}
            case _:
                return {**value, name: _changed(draw, value[name])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        place = draw.randrange(len(value))
        if draw.random() < 0.3:
            return value[:place] + value[place:][: draw.randint(0, 3)] * draw.randint(0, 3)
        return [*value[:place], _changed(draw, value[place]), *value[place + 1 :]]
    return draw.choice(_ODD_VALUES)
