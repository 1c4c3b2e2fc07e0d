"""How fast this machine learns, and how long a run may be for its minutes."""

from __future__ import annotations

import time

from training.config import TrainConfig, parse_config
from training.distributed import say
from training.learner import Learner


def tokens_per_second(learner: Learner, seconds: float = 3.0) -> float:
    """Measured on steps of about `seconds`; all processes come to the same figure.

    The learner's weights have moved afterwards: it is one to throw away.
    """
    learner.step()  # memory is taken and kernels are chosen
    progress, started = learner.state.progress, time.monotonic()
    before, taken = progress.tokens, 0.0
    while taken < seconds:
        learner.step()
        taken = learner.workers.sum([time.monotonic() - started])[0] / learner.workers.size
    return (progress.tokens - before) / taken


def within_minutes(config: TrainConfig, speed: float, tokens: int) -> TrainConfig:
    """The settings with a length that `loop.minutes` allow at `speed` tokens a second.

    tokens: of one pass. What was decided is said in a line.
    """
    loop = config.loop
    wanted, affordable = loop.max_tokens, round(loop.minutes * 60 * speed)
    total = max(min(wanted, affordable), 1)
    cut = (
        f" of {wanted / tokens:.1f}: as many as {loop.minutes:g} minutes allow (--minutes)"
        if total < wanted
        else ""
    )
    say(
        f"length: {total / tokens:.1f} passes{cut}, about {total / speed / 60:.0f} minutes at "
        f"{speed:,.0f} tokens a second"
    )
    values = config.model_dump(mode="json")
    values["loop"] |= {"max_tokens": total, "epochs": total / tokens}
    return parse_config(values)
