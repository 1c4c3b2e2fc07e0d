"""Reading server-sent events as a client does, and putting an answer together from its chunks."""

from __future__ import annotations

import json
from typing import Any

import httpx

Json = dict[str, Any]
_AT_ITS_END = ("stop_reason", "state", "guided_choice")


def read_events(response: httpx.Response) -> list[Json]:
    """The events of a whole stream, which must end with ``[DONE]``."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.content.decode().split("\n\n")
    assert blocks.pop() == ""
    lines = [block for block in blocks if not block.startswith(":")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def merge(events: list[Json]) -> list[Json]:
    """The choices, as an answer that was not streamed has them (completions or chat)."""
    assert len({event["id"] for event in events}) == 1
    choices: dict[int, Json] = {}
    for chunk in (choice for event in events for choice in event["choices"]):
        choice = choices.setdefault(
            chunk["index"],
            {"index": chunk["index"], "text": "", "logprobs": None, "finish_reason": None},
        )
        assert choice["finish_reason"] is None, "a chunk after the last one"
        delta = chunk.get("delta", {})
        choice["text"] += delta.get("content", "") if "delta" in chunk else chunk["text"]
        if chunk["logprobs"] is not None:
            choice["logprobs"] = _joined(choice["logprobs"], chunk["logprobs"])
        choice["finish_reason"] = chunk["finish_reason"]
        choice |= {key: chunk[key] for key in _AT_ITS_END if key in chunk}
    return [choices[index] for index in sorted(choices)]


def _joined(before: Json | None, new: Json) -> Json:
    if before is None:
        return new
    return {
        key: before[key] + value if isinstance(value, list) else value for key, value in new.items()
    }
