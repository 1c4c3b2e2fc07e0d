"""A source whose entropy is known, through the whole pipeline: files, tokenizer, training,
evaluation. The model must come close to the entropy and can never get below it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.__main__ import main

SYMBOLS = "abc\n"


@dataclass
class Source:
    """A Markov chain of order 2 over three letters and the end of a line.

    transitions[i, j, k] = P(k | the last two symbols are i, j); a line is never empty, since
    an empty line would be stripped into the next.
    """

    transitions: NDArray[np.float64]

    @classmethod
    def draw(cls, seed: int) -> "Source":
        rng = np.random.default_rng(seed)
        table = rng.dirichlet(np.full(4, 0.4), size=(4, 4))
        table[:, :, 3] = 0.02 + 0.1 * table[:, :, 3]
        table[:, 3, 3] = 0
        return cls(table / table.sum(axis=2, keepdims=True))

    @property
    def entropy(self) -> float:
        """Bits a symbol: the mean entropy of a row, by the stationary weight of the row."""
        weight = np.full((4, 4), 1 / 16)
        for _ in range(2000):
            weight = np.einsum("ij,ijk->jk", weight, self.transitions)
        logs = np.log2(np.where(self.transitions > 0, self.transitions, 1))
        return float(-np.einsum("ij,ijk,ijk->", weight, self.transitions, logs))

    def sample(self, count: int, seed: int) -> tuple[str, float]:
        """About `count` symbols in whole lines, and their own cost in bits a symbol."""
        uniform = np.random.default_rng(seed).random(count + 1000).tolist()
        cumulative = self.transitions.cumsum(axis=2).tolist()
        before, last, bits, symbols = 3, 3, 0.0, list[str]()
        for u in uniform:
            following = next(k for k in range(4) if u < cumulative[before][last][k] or k == 3)
            bits -= math.log2(self.transitions[before, last, following])
            before, last = last, following
            symbols.append(SYMBOLS[following])
            if len(symbols) >= count and following == 3:
                break
        assert symbols[-1] == "\n"
        return "".join(symbols), bits / len(symbols)


def test_training_reaches_the_entropy_of_its_source_and_never_less(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source.draw(seed=4)
    assert 0.8 < source.entropy < 1.6
    costs = {}
    for seed, (name, count) in enumerate(
        {"train": 150_000, "valid": 8_000, "test": 40_000}.items()
    ):
        text, costs[name] = source.sample(count, seed)
        (tmp_path / f"{name}.txt").write_text(text)
    assert costs["test"] == pytest.approx(source.entropy, rel=0.02)

    out = tmp_path / "model"
    settings = [
        *("tokenizer.vocab_size=270", "tokenizer.model_type=bpe"),  # a few pairs of letters
        *("model.embedding_size=32", "model.hidden_sizes=[32]", "loop.batch_size=8"),
        *("loop.bptt=24", "loop.max_tokens=500000", "loop.eval_tokens=250000"),
        *("optimizer.lr=0.02", "optimizer.warmup_tokens=20000", "optimizer.clip=5.0"),
    ]
    train = ["train", "--corpus", f"{tmp_path}/train.txt", "--valid", f"{tmp_path}/valid.txt"]
    train += ["--out", str(out), "--preset", "tiny", "--processes", "1", "--device", "cpu"]
    assert main([*train, "--set", *settings]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--model", str(out), "--text", f"{tmp_path}/test.txt", "--json"]) == 0
    (measured,) = json.loads(capsys.readouterr().out)["results"].values()
    bits = measured["bits_per_byte"]  # a symbol is a byte
    assert bits < source.entropy * 1.02
    # The cost of a text under another model than its source is higher, but for chance: the
    # difference has a mean of at least 0 and here a standard error below 0.001.
    assert bits > costs["test"] - 0.003
