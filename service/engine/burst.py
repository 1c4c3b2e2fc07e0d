"""Continuations that only draw on: what each drew is noted, and told for all steps at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import repeat

from service.engine.sampling.sampler import Sampled
from service.engine.sequences import SampleSequence, token_output


class Burst:
    """The draws of some continuations, as long as none of them has more to do than to go on."""

    def __init__(self, streams: Sequence[SampleSequence]) -> None:
        self._streams = streams
        self._stops = frozenset[int | None]([None]).union(*(stream.stops for stream in streams))
        # Draws before the first of them has its length.
        self._left = min(stream.max_tokens - len(stream.generated) for stream in streams) - 1
        if any(stream.keeps_states for stream in streams):
            self._left = 0
        self._noted: list[Sampled] = []

    def note(self, drawn: Sampled) -> bool:
        """Note a token for each. False, and nothing noted, where one may end or fail with it."""
        self._left -= 1
        is_plain = self._stops.isdisjoint(drawn.ids) and math.isfinite(sum(drawn.logprobs))
        if self._left < 0 or not is_plain:
            return False
        for stream, token, logprob in zip(self._streams, drawn.ids, drawn.logprobs, strict=True):
            stream.state.append(token)  # type: ignore[arg-type]  # None is among the stops
            stream.logprobs.append(logprob)
        self._noted.append(drawn)
        return True

    def tell(self) -> None:
        """Hand what was noted to the continuations' requests."""
        if not self._noted:
            return
        by_stream = zip(
            self._streams,
            zip(*(drawn.ids for drawn in self._noted), strict=True),
            zip(*(drawn.logprobs for drawn in self._noted), strict=True),
            zip(*(drawn.tops for drawn in self._noted), strict=True),
            strict=True,
        )
        for stream, ids, logprobs, tops in by_stream:
            stream.next_id = ids[-1]
            place = repeat(stream.prompt), repeat(stream.sample)
            stream.progress.new_tokens += map(
                token_output, zip(*place, ids, logprobs, tops, repeat(None), strict=False)
            )
        self._noted.clear()
