"""What is mixed into an adaptation: how much, and of which source."""

import json
from pathlib import Path

import pytest

from tests.training.small_checkpoints import random_checkpoint
from training.corpus import Source
from training.mixture import own_files, write_mixture


def mixed(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]


def test_sources_are_taken_in_turn_up_to_the_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two long sources and one short one: the first must not fill the share alone."""
    (tmp_path / "corpus.txt").write_text("a line of the corpus\n" * 4000)
    for name, count in (("red", 40_000), ("blue", 40_000), ("few", 3)):
        (tmp_path / f"{name}.txt").write_text(f"{name} words\n" * count)
    sources = [Source(path=tmp_path / f"{name}.txt") for name in ("red", "blue", "few")]
    out = tmp_path / "mix.jsonl"
    corpus = [Source(path=tmp_path / "corpus.txt")]
    write_mixture(out, random_checkpoint(), corpus, sources, 0.5)
    size = {name: sum(t.count(name) for t in mixed(out)) for name in ("red", "blue", "few")}
    assert size["few"] == 3
    assert 0.6 < size["red"] / size["blue"] < 1.7
    total = sum(len(text) for text in mixed(out))
    assert total == pytest.approx(84_000, rel=0.15), "as much as the corpus, for a half"
    assert "WARNING" not in capsys.readouterr().out


def test_too_little_of_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus.txt").write_text("a line of the corpus\n" * 1000)
    (tmp_path / "few.txt").write_text("few words\n")
    corpus, few = ([Source(path=tmp_path / f"{name}.txt")] for name in ("corpus", "few"))
    write_mixture(tmp_path / "mix.jsonl", random_checkpoint(), corpus, few, 0.3)
    assert "WARNING: 0.01 MB were wanted for a share of 30%" in capsys.readouterr().out


def test_what_cannot_be_mixed_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tells too late"):
        write_mixture(tmp_path / "m", random_checkpoint(), [Source(path=Path("-"))], [], 0.3)
    with pytest.raises(ValueError, match='or "self" alone'):
        own_files(["self", "more.txt"])
