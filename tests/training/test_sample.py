"""A sample of a corpus's lines, and the corpus kept while it is drawn."""

import builtins
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import Document, Turn
from training.sample import KeptDocuments, LineSample

TEXTS = st.lists(st.text("ab\n", max_size=12), max_size=30)


def sample_of(texts: list[str], sample_bytes: int, seed: int = 1) -> list[str]:
    sample = LineSample(sample_bytes, seed)
    for text in texts:
        sample.add(Document(text=text))
    return sample.lines()


@given(TEXTS)
def test_a_small_text_is_its_own_sample(texts: list[str]) -> None:
    whole = [line for text in texts for line in text.split("\n") if line]
    assert sample_of(texts, sample_bytes=1000) == whole


@given(TEXTS, st.integers(1, 60))
def test_a_sample_keeps_the_order_and_its_size(texts: list[str], size: int) -> None:
    whole = [line for text in texts for line in text.split("\n") if line]
    drawn = sample_of(texts, size)
    places = iter(whole)
    assert all(line in places for line in drawn)  # a subsequence
    assert sum(map(len, drawn)) <= size or len(drawn) == 1
    assert bool(drawn) == bool(whole)


def test_every_line_is_as_likely_as_another_wherever_it_stands() -> None:
    texts = [f"{n:02}" for n in range(20)]
    counts = dict.fromkeys(texts, 0)
    for seed in range(2000):
        for line in sample_of(texts, sample_bytes=10, seed=seed):
            counts[line] += 1
    # 2000 draws of 5 in 20: 500 each, standard deviation 19.
    assert sum(counts.values()) == 10_000
    assert all(abs(count - 500) < 100 for count in counts.values())


def test_the_same_seed_draws_the_same_lines_and_another_does_not() -> None:
    texts = [f"line {n}" for n in range(200)]
    assert sample_of(texts, 300) == sample_of(texts, 300) != sample_of(texts, 300, seed=2)


def test_turns_count_as_lines() -> None:
    sample = LineSample(100, seed=1)
    sample.add(Document(turns=(Turn("user", "Hi"), Turn("assistant", ""), Turn("user", "Bye"))))
    assert sample.lines() == ["Hi", "Bye"]


@given(st.lists(st.builds(Document, text=st.text(max_size=9), starts=st.booleans()), max_size=9))
def test_documents_are_kept_as_they_pass(tmp_path_factory: Any, documents: list[Document]) -> None:
    path = tmp_path_factory.mktemp("kept") / "documents"
    with KeptDocuments(path) as kept:
        assert list(kept.keep(documents)) == documents
        assert list(kept) == list(kept) == documents
    assert not path.exists()


def test_a_corpus_is_read_once_for_tokenizer_and_shards(
    train: Callable[..., int],
    sentences: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    original = io.open

    def spy(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(str(file))
        return original(file, *args, **options)

    monkeypatch.setattr(io, "open", spy)
    monkeypatch.setattr(builtins, "open", spy)
    train(tmp_path / "model")
    assert opened.count(str(sentences["train"])) == 1
    assert not list(tmp_path.rglob("train.documents"))
