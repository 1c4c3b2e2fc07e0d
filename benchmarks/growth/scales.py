"""How far each curve goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Points of the curves, smallest first; a point is measured `rounds` times.

    stream_tokens: of all streams of a point together, at least 16 each.
    history_tokens: read before answers of `answer_tokens` are asked for.
    text_bytes: of one text to score. list_sizes: hypotheses of one N-best list.
    conversations: open at once, `returning` of which then take a turn more.
    replica_streams: on each number of replicas.
    """

    rounds: int = 3
    streams: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    stream_tokens: int = 4096
    history_tokens: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    answer_tokens: int = 64
    text_bytes: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
    list_sizes: tuple[int, ...] = (10, 30, 100, 300, 1_000)
    replicas: tuple[int, ...] = (1, 2)
    replica_streams: int = 64
    conversations: tuple[int, ...] = (10, 100, 1_000, 10_000)
    turn_tokens: int = 8
    returning: int = 200


FULL = Scales()
QUICK = Scales(
    rounds=1,
    streams=(1, 4),
    stream_tokens=64,
    history_tokens=(100, 400),
    answer_tokens=8,
    text_bytes=(100, 1_000),
    list_sizes=(10, 30),
    replica_streams=4,
    conversations=(4, 8),
    turn_tokens=4,
    returning=4,
)
