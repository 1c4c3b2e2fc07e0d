from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.small_runs import train_arguments, write_sentences
from training.__main__ import main


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`train`, `valid` and `test` files of one small grammar."""
    folder = tmp_path_factory.mktemp("sentences")
    sizes = {"train": 1500, "valid": 150, "test": 150}
    return {
        name: write_sentences(folder / f"{name}.txt", size, seed)
        for seed, (name, size) in enumerate(sizes.items())
    }


@pytest.fixture
def train(sentences: dict[str, Path]) -> Callable[..., int]:
    """`train(out, *options, sets=(...))` runs the command in this process; its exit status."""

    def run(out: Path, *options: str, sets: tuple[str, ...] = ()) -> int:
        return main(train_arguments(sentences, out, *options, sets=sets))

    return run
