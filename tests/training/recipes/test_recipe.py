from collections.abc import Iterator
from pathlib import Path

import pytest

from training.__main__ import main
from training.corpus import CorpusError, parse_source, read_source
from training.recipes.recipe import Corpora, Part, prepare


def recipe(corpora: Corpora) -> Iterator[Part]:
    yield Part(name="a/text.txt", options="asr=0.5")
    yield Part(name="b.txt", lines=(line.upper() for line in corpora.lines("a/text.txt")))
    yield Part(name="a/text.txt", role="valid")
    yield Part(name="c.txt", role="test", lines=["test"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/text.txt").write_text("one\ntwo\n")
    return tmp_path / "data"


def test_a_recipe_lists_its_sources_as_train_takes_them(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sources = prepare(recipe, data, out)
    listed = (out / "train.sources").read_text().split()
    assert listed == sources["train"] == [f"{data}/a/text.txt@asr=0.5", f"{out}/b.txt"]
    assert (out / "valid.sources").read_text().split() == [f"{data}/a/text.txt"]
    assert sources["test"] == [f"{out}/c.txt"]
    (document,) = read_source(parse_source(listed[1]))
    assert document.text == "ONE\nTWO\n"


def test_a_file_that_is_there_was_whole_and_one_that_was_not_is_written_again(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def broken(corpora: Corpora) -> Iterator[Part]:
        def lines() -> Iterator[str]:
            yield from corpora.lines("a/text.txt")
            raise CorpusError("the disk is full")

        yield Part(name="b.txt", lines=lines())

    with pytest.raises(CorpusError, match="disk"):
        prepare(broken, data, out)
    assert not (out / "b.txt").exists()
    prepare(recipe, data, out)
    (out / "b.txt").write_text("kept\n")
    prepare(recipe, data, out)
    assert (out / "b.txt").read_text() == "kept\n"


def test_a_part_that_comes_out_empty_is_told(data: Path, tmp_path: Path) -> None:
    def empty(corpora: Corpora) -> Iterator[Part]:
        shouted = (line for line in corpora.lines("a/text.txt") if line.isupper())
        yield Part(name="none.txt", lines=shouted)

    with pytest.raises(CorpusError, match=r"finds nothing for .*none\.txt"):
        prepare(empty, data, tmp_path / "out")


@pytest.mark.parametrize("name", ["english", "russian"])
def test_a_missing_corpus_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", "--recipe", name, "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert f"{tmp_path}/{name}-novels/train.txt.xz cannot be read" in capsys.readouterr().err
