"""Both parts of a corpus on disk hold what was read, once each, ready to be read again."""

import json
from pathlib import Path

import pytest

from training.corpus import CorpusError, Document, Source, Turn, parse_source, read_source
from training.prepared_files import write_parts


def read_back(out: Path) -> dict[str, list[Document]]:
    return {
        part: list(read_source(parse_source(str(out / f"{part}.jsonl"))))
        for part in ("train", "valid")
    }


def test_running_text_comes_back_joined_and_dialogues_whole(tmp_path: Path) -> None:
    lines = [f"Line number {n} of a long text." for n in range(400)]
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
    turns = [{"role": "user", "content": "Hé?"}, {"role": "assistant", "content": "Yes."}]
    (tmp_path / "d.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    sources = [Source(path=tmp_path / "t.txt"), Source(path=tmp_path / "d.jsonl")]
    facts = write_parts(sources, tmp_path / "out")
    assert (facts.documents, facts.dialogues) == (2, 1)
    found = read_back(tmp_path / "out")
    everything = [*found["train"], *found["valid"]]
    talks = [document.turns for document in everything if document.turns]
    assert talks == [(Turn("user", "Hé?"), Turn("assistant", "Yes."))]
    told = "".join(document.text for document in everything if not document.turns).split("\n")
    assert sorted(filter(None, told)) == sorted(lines)
    assert found["valid"]


def test_without_a_folder_it_is_only_counted(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one two\none two\nthree\n")
    facts = write_parts([parse_source(f"{tmp_path / 't.txt'}@lines")], None, dedupe=True)
    assert (facts.documents, facts.duplicates, facts.words) == (2, 1, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


def test_a_corpus_without_a_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n \n")
    with pytest.raises(CorpusError, match=r"t\.txt"):
        write_parts([Source(path=tmp_path / "t.txt")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
