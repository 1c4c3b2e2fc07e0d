from collections.abc import Iterator
from pathlib import Path

import pytest

from training.corpus import Document, Turn, parse_source, read_source
from training.survey import CorpusFacts, Overlap, Split, survey

LINES = [Document(text=f"line number {n} of these") for n in range(100)]


def facts_of(documents: list[Document]) -> CorpusFacts:
    facts = CorpusFacts()
    list(survey(documents, facts))
    return facts


def test_a_corpus_is_counted_as_it_passes_by() -> None:
    talk = Document(turns=(Turn("user", "Hi!"), Turn("assistant", "Héllo\x07.")))
    documents = [Document(text="one two\nthree\n"), Document(text="a"), Document(text="a"), talk]
    facts = CorpusFacts()
    assert list(survey(documents, facts)) == documents
    assert (facts.documents, facts.lines, facts.words, facts.duplicates) == (4, 6, 7, 1)
    assert (facts.dialogues, facts.with_assistant, facts.odd) == (1, 1, 1)
    assert facts.bytes == len("one two\nthree\na\na\nHi!\n") + len("Héllo\x07.\n".encode())
    assert facts.samples == ["one two", "a", "a"]
    assert "1 duplicates" in facts.describe()


def test_few_system_prompts_are_kinds_of_talk_and_many_are_not() -> None:
    def talk(system: str) -> Document:
        return Document(turns=(Turn("system", system), Turn("assistant", "Yes.")))

    assert facts_of([talk("Chat."), talk(" Book."), talk("Chat.")]).kinds_of_talk == [
        "Book.",
        "Chat.",
    ]
    assert facts_of([Document(text="no talk")]).kinds_of_talk is None
    assert facts_of([talk(f"You are number {n}.") for n in range(99)]).kinds_of_talk is None


def test_duplicates_are_dropped_where_that_is_asked() -> None:
    documents = [Document(text="a"), Document(text="b"), Document(text="a")]
    facts = CorpusFacts()
    assert list(survey(documents, facts, dedupe=True)) == documents[:2]
    assert (facts.documents, facts.duplicates) == (2, 1)


def test_documents_are_split_and_none_is_lost() -> None:
    split = Split(facts_of(LINES))
    train, valid = list(split.train(LINES)), list(split.valid(LINES))
    assert len(valid) == 5
    assert sorted(train + valid, key=LINES.index) == LINES
    assert "every 20th document" in split.describe()


def test_running_text_is_split_at_a_line_near_its_end(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("".join(f"line {n}\n" for n in range(200)))

    def parts() -> Iterator[Document]:
        return read_source(parse_source(str(tmp_path / "t.txt")), part_bytes=300)

    split = Split(facts_of(list(parts())))
    train, valid = list(split.train(parts())), list(split.valid(parts()))
    text = "".join(d.text for d in train) + "".join(d.text for d in valid)
    assert text == (tmp_path / "t.txt").read_text()
    assert sum(d.text.count("\n") for d in valid) == 10
    assert valid[0].starts
    assert train[-1].ends


def test_a_large_corpus_gives_no_more_than_it_must() -> None:
    assert Split(CorpusFacts(documents=10**6, bytes=10**9)).share == pytest.approx(0.001)


def test_overlap_is_the_share_of_lines_that_both_have() -> None:
    valid = [Document(text="these are five words here\nshort one\nand this is not there\n")]
    overlap = Overlap(valid)
    train = [Document(text="something else\nthese are five words here\nshort one\n")]
    assert list(overlap.look_at(train)) == train
    assert overlap.share == 0.5
