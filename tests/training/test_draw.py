"""Parts of large corpora: whole paragraphs, whole lines, and the same ones again."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from training.__main__ import main
from training.corpus import CorpusError
from training.draw import PASSAGE_CHARS, draw, parse_wanted


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A novel of numbered paragraphs of two lines, sentences, dialogues."""
    folder = tmp_path_factory.mktemp("corpora")
    words = ["rain", "wind", "sea", "ship", "house"]
    rng = random.Random(0)
    paragraphs = (
        f"{number} {' '.join(rng.choices(words, k=60))}\nand so on {number}"
        for number in range(4000)
    )
    (folder / "novel.txt").write_text("\n\n".join(paragraphs))
    (folder / "said.txt").write_text("".join(f"sentence {n}\u2028still\n" for n in range(500)))
    turns = (json.dumps({"turns": [["user", f"hello {n}"]]}) + "\n" for n in range(300))
    (folder / "chat.jsonl").write_text("".join(turns))
    return folder


def drawn(corpora: Path, out: Path, seed: int, *files: str) -> dict[str, str]:
    written = draw([parse_wanted(f"{corpora}/{file}") for file in files], out, seed)
    texts = {path.name: path.read_text() for path in written}
    assert {path.name: size for path, size in written.items()} == {
        name: len(text) for name, text in texts.items()
    }
    return texts


def test_passages_are_whole_paragraphs_that_follow_each_other(
    corpora: Path, tmp_path: Path
) -> None:
    text = drawn(corpora, tmp_path, 1, "novel.txt=300000")["novel.txt"]
    assert abs(len(text) - 300_000) < PASSAGE_CHARS
    whole = set((corpora / "novel.txt").read_text().split("\n\n"))
    paragraphs = text.strip("\n").split("\n\n")
    assert set(paragraphs) <= whole
    numbers = [int(paragraph.split()[0]) for paragraph in paragraphs]
    breaks = sum(later != number + 1 for number, later in itertools.pairwise(numbers))
    assert breaks <= 4, "five passages have four places where one follows another"
    assert len(set(numbers)) == len(numbers)


def test_lines_stay_whole(corpora: Path, tmp_path: Path) -> None:
    texts = drawn(corpora, tmp_path, 1, "said.txt@lines=2000", "chat.jsonl=3000")
    for name, size in (("said.txt", 2000), ("chat.jsonl", 3000)):
        lines = texts[name].removesuffix("\n").split("\n")
        assert set(lines) <= set((corpora / name).read_text().split("\n"))
        assert len(set(lines)) == len(lines)
        assert size <= len(texts[name]) < size + 60


def test_a_seed_draws_the_same_again(corpora: Path, tmp_path: Path) -> None:
    files = ("novel.txt=200000", "chat.jsonl=2000")
    first, again = (drawn(corpora, tmp_path / str(k), 3, *files) for k in range(2))
    assert first == again
    assert drawn(corpora, tmp_path / "other", 4, *files) != first


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (["novel.txt"], "give FILE=CHARACTERS"),
        (["novel.txt=0"], "give FILE=CHARACTERS"),
        (["novel.txt=-5"], "give FILE=CHARACTERS"),
        (["novel.txt=90000000"], "1500 passages of 60000, of which it has"),
        (["novel.txt=100"], "0 passages of 60000"),
        (["said.txt=60000"], "take the whole file, or say @lines"),
        (["novel.txt=60000", "novel.txt=60000"], "two files are called novel.txt"),
        (["novel.odd=60000"], "novel.odd"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    files: list[str], fault: str, corpora: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=fault):
        drawn(corpora, tmp_path, 1, *files)


def test_the_command(corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "part"
    assert main(["draw", f"{corpora}/chat.jsonl=1000", "--out", str(out), "--seed", "5"]) == 0
    assert f"{out}/chat.jsonl: 1,0" in capsys.readouterr().out
    assert main(["draw", f"{corpora}/none.txt=1000", "--out", str(out)]) == 1
    assert "none.txt" in capsys.readouterr().err
