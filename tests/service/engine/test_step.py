"""The end of a step: scores are handed out by place, then what ended is closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from service.engine.prefix_memory import PrefixMemory
from service.engine.progress import RequestProgress
from service.engine.request import EngineRequest, Floats, TopLogprobs
from service.engine.sampling.guides import Guides
from service.engine.step import Step

LOGPROBS = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.25, 0.5, 0.25]], np.float32))


def progress_of(name: str, prompt_logprobs: int | None) -> RequestProgress:
    request = EngineRequest(request_id=name, prompts=((1, 2),), prompt_logprobs=prompt_logprobs)
    return RequestProgress.of(request, Guides([]))


@dataclass
class Text:
    """What a step asks of a text that is scored."""

    progress: RequestProgress
    next_id: int
    events: list[Any] = field(default_factory=list)

    def add_score(self, value: float, top: TopLogprobs) -> None:
        self.events.append((value, top))

    def close(self, step: Step, place: int | None, state: Floats | None) -> None:
        assert isinstance(step, Step)
        self.events.append(("closed", place, state))


def a_step() -> Step:
    return Step(
        memory=cast(PrefixMemory, None),
        read_state=lambda _: np.zeros(1, np.float32),
        logprobs=LOGPROBS,
        logits=lambda: LOGPROBS,
        touched={},
    )


@pytest.mark.parametrize("counts", [(0, 0), (2, 0), (1, 2)])
def test_each_text_gets_its_own_tokens_score_and_as_many_alternatives_as_it_asked_for(
    counts: tuple[int, int],
) -> None:
    step = a_step()
    texts = [Text(progress_of("a", counts[0]), 1), Text(progress_of("b", counts[1]), 2)]
    places = (2, 0)
    for place, text in zip(places, texts, strict=True):
        step.scored.append((place, cast(Any, text)))
    step.close_texts()
    for place, text, count in zip(places, texts, counts, strict=True):
        ((value, top),) = text.events
        assert value == float(LOGPROBS[place, text.next_id])
        best = np.argsort(-LOGPROBS[place], kind="stable")[:count]
        assert top == tuple((int(token), float(LOGPROBS[place, token])) for token in best)


def test_a_text_is_scored_before_it_is_closed() -> None:
    step, state = a_step(), np.ones(2, np.float32)
    text = Text(progress_of("a", 0), 0)
    step.ends.append((cast(Any, text), 1, state))
    step.scored.append((1, cast(Any, text)))
    step.close_texts()
    assert text.events == [(float(LOGPROBS[1, 0]), ()), ("closed", 1, state)]


def test_a_request_is_touched_once() -> None:
    step, progress = a_step(), progress_of("a", None)
    step.touch(progress)
    step.touch(progress)
    assert step.touched == {"a": progress}
