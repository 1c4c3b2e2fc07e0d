"""Which engine the options name, and what it will take."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.checkpoint import num_parameters
from models.config import ModelConfig
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.build import EngineFactory, build_engine, estimated_bytes
from service.engine.hosts.process import ProcessEngine
from service.engine.hosts.replicas import ReplicatedEngine
from service.engine.hosts.thread import ThreadEngine

CONFIG = ModelConfig(vocab_size=1000, embedding_size=32, hidden_sizes=(64, 32))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (EngineOptions(mode="thread"), ThreadEngine),
        (EngineOptions(mode="thread", replicas=3), ThreadEngine),
        (EngineOptions(), ProcessEngine),
        (EngineOptions(replicas=2), ReplicatedEngine),
    ],
)
async def test_the_options_say_which_and_nothing_is_loaded_yet(
    tmp_path: Path, options: EngineOptions, kind: type
) -> None:
    engine = build_engine(tmp_path / "missing", options)
    assert type(engine) is kind
    assert not engine.is_ready
    await engine.stop(0)


def test_the_estimate_grows_by_what_each_part_takes() -> None:
    def size(replicas: int, cache_bytes: int) -> int:
        return estimated_bytes(CONFIG, replicas=replicas, cache_bytes=cache_bytes)

    weights = 4 * num_parameters(CONFIG)
    table = 4 * 1000 * 4 * 64  # four gates of the first layer for each token, float32
    assert size(0, 0) == weights + table
    one = size(1, 0) - size(0, 0)
    assert one > 10 << 20  # an interpreter and its libraries
    assert size(3, 1 << 20) == size(0, 0) + 3 * (one + (1 << 20))


def test_a_factory_is_the_two_under_one_set_of_options(tmp_path: Path) -> None:
    options = EngineOptions(mode="thread", replicas=2, cache_bytes=5 << 20)
    factory = EngineFactory.of(options, budget_bytes=7)
    assert isinstance(factory.build(tmp_path), ThreadEngine)
    assert factory.size(CONFIG) == estimated_bytes(CONFIG, replicas=2, cache_bytes=5 << 20)
    assert factory.budget_bytes == 7
