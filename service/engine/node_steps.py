"""How units that feed the nodes of a prefix tree move on: many steps at once, or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.prefix_tree import Node
from service.engine.request import Floats
from service.engine.runner import ModelRunner
from service.engine.sampler import top_logprobs
from service.engine.units import NodeUnit, Progress, Unit

_MOST_SEQUENCES = 2  # rows; with more, steps of all of them together are as fast


@dataclass
class Counters:
    """What the engine has done since it began."""

    steps: int = 0
    step_rows: int = 0
    head_rows: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


@dataclass
class NodeEnd:
    """The end of a node: which distribution follows it (a row of the step's), and its state.

    Both are None where nothing hangs on them.
    """

    progress: Progress
    node: Node
    head: int | None
    state: Floats | None


def run_sequences(runner: ModelRunner, counters: Counters, running: Sequence[Unit]) -> None:
    """Let long texts take many steps at once while nobody else waits for the next one."""
    length = runner.sequence_length
    if not length or len(running) > _MOST_SEQUENCES:
        return
    units = [unit for unit in running if isinstance(unit, NodeUnit)]
    if len(units) < len(running):
        return
    for row, unit in enumerate(units):
        # One token at least stays for the step that follows, so no node ends here.
        if unit.num_fed - unit.position > length:
            ids = unit.node.tokens[unit.position : unit.position + length]
            _run_sequence(runner, counters, row, unit, np.array(ids, np.int64))


def _run_sequence(
    runner: ModelRunner, counters: Counters, row: int, unit: NodeUnit, ids: NDArray[np.int64]
) -> None:
    features = runner.run_sequence(row, ids)
    counters.step_rows += len(ids)
    first_scored = max(0, unit.node.score_from - unit.node.depth - unit.position - 1)
    for _ in ids[:first_scored]:
        unit.position += 1
        unit.add_unscored()
    if len(features) > first_scored:
        counters.head_rows += len(features) - first_scored
        for head in runner.logprobs_of_features(features[first_scored:]):
            unit.position += 1
            unit.add_scored(head)


def advance_nodes(
    runner: ModelRunner,
    nodes: Sequence[tuple[int, NodeUnit]],
    heads: dict[int, int],
    logprobs: Floats,
) -> list[NodeEnd]:
    """Score the tokens that follow, and tell which nodes have come to their end."""
    ends: list[NodeEnd] = []
    places: list[int] = []
    tokens: list[int] = []
    scored: list[NodeUnit] = []
    for row, unit in nodes:
        unit.position += 1
        if unit.position == len(unit.node.tokens):
            state = runner.read_state(row)
            ends.append(NodeEnd(unit.progress, unit.node, heads.get(row), state))
            continue
        if unit.is_done:
            ends.append(NodeEnd(unit.progress, unit.node, None, None))
        if (place := heads.get(row)) is None:
            unit.add_unscored()
        else:
            places.append(place)
            tokens.append(unit.next_id)
            scored.append(unit)
    if scored:
        values = logprobs[places, tokens].tolist()
        for unit, value in zip(scored, values, strict=True):
            unit.scores.logprobs.append(value)
        _add_tops(scored, places, logprobs)
    return ends


def _add_tops(units: Sequence[NodeUnit], places: Sequence[int], logprobs: Floats) -> None:
    counts = [unit.progress.request.prompt_logprobs for unit in units]
    if any(counts):
        asked = [k for k, count in enumerate(counts) if count]
        tops = top_logprobs(logprobs[[places[k] for k in asked]], [counts[k] for k in asked])
        for k, top in zip(asked, tops, strict=True):
            units[k].scores.tops.append(top)
