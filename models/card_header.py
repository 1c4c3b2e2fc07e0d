"""The head of a model card, as model hubs read it: YAML between two lines of `---`.

Read is the part of YAML that `training.card` and the hubs' own editors write: `key: value` with a
bare word, a string in quotes or a list in brackets, or a list of lines `- item`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

Value = str | list[str]


def card_header(card: str) -> Mapping[str, Value]:
    """Keys and values at the head of a card; nothing where it has none. Never raises."""
    first, _, rest = card.partition("\n")
    head, closed, _ = rest.partition("\n---")
    if first.strip() != "---" or not closed:
        return {}
    found: dict[str, Value] = {}
    key = ""
    for line in head.splitlines():
        item = line.strip()
        if item.startswith("- ") and key:
            earlier = found.get(key)
            found[key] = [*(earlier if isinstance(earlier, list) else []), _scalar(item[2:])]
        elif not line.startswith((" ", "#")) and ":" in line:
            key, _, value = line.partition(":")
            found[key] = _value(value.strip())
    return found


def _value(text: str) -> Value:
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(part) for part in text[1:-1].split(",") if part.strip()]
    return _scalar(text)


def _scalar(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except json.JSONDecodeError:
            return text
    return text.strip("'")
