"""What one step computed, and what its sequences make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.engine.prefix_memory import PrefixMemory
from service.engine.progress import RequestProgress
from service.engine.request import Floats, TopLogprobs
from service.engine.sampling.sampler import top_logprobs

if TYPE_CHECKING:
    from service.engine.sequences import (
        BeamSequence,
        EngineSequence,
        NodeSequence,
        SampleSequence,
    )


@dataclass(slots=True)
class Step:
    """What one step computed, and what its sequences ask for; the engine does it at the end.

    logprobs: (R, V), ln P after the sequences that wanted it; a sequence is told its place among
    them. logits: (R, V) before normalisation. read_state: row -> its state, a copy.
    scored: texts whose next token is scored, with places. ends: texts that came to their end, with
    the place of the distribution after it and the state, None where nothing needs them.
    draws: continuations that are to draw a token, with places, and their rows if they have one.
    beams: those that are to find how they may go on, with places and states.
    waiting: sequences that are to get rows; spent: those that give theirs up. touched: requests
    that may have something to tell, by id.
    """

    memory: PrefixMemory
    read_state: Callable[[int], Floats]
    logprobs: Floats
    logits: Callable[[], Floats]
    touched: dict[str, RequestProgress]
    scored: list[tuple[int, NodeSequence]] = field(default_factory=list)
    ends: list[tuple[NodeSequence, int | None, Floats | None]] = field(default_factory=list)
    draws: list[tuple[int, SampleSequence, int | None]] = field(default_factory=list)
    beams: list[tuple[int, BeamSequence, Floats]] = field(default_factory=list)
    waiting: list[EngineSequence] = field(default_factory=list)
    spent: list[EngineSequence] = field(default_factory=list)

    def touch(self, progress: RequestProgress) -> None:
        self.touched[progress.request.request_id] = progress

    def close_texts(self) -> None:
        """Note the scores of next tokens, then let what follows the texts that ended begin."""
        if self.scored:
            places, sequences = zip(*self.scored, strict=True)
            tokens = [sequence.next_id for sequence in sequences]
            values = self.logprobs[list(places), tokens].tolist()
            counts = [sequence.progress.request.prompt_logprobs for sequence in sequences]
            tops: Sequence[TopLogprobs] = [()] * len(sequences)
            if any(counts):
                tops = top_logprobs(self.logprobs[list(places)], counts)
            for sequence, value, top in zip(sequences, values, tops, strict=True):
                sequence.add_score(value, top)
        for sequence, place, state in self.ends:
            sequence.close(self, place, state)
