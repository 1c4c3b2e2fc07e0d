"""NeMo's rows: exactly a beam of them for each utterance, with or without a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.asr.formats import FormatError, open_writer
from service.asr.hypotheses import Hypothesis, NBestList
from tests.service.asr.formats.reading import read_one, write


def test_beams_and_manifest(tmp_path: Path) -> None:
    rows = write(tmp_path / "beams.tsv", "how are you\t-1.5\nwho\t-2\n\t-3\nfine\t-4\n")
    manifest = '{"audio_filepath": "a.wav", "text": "how are you"}\n{"text": "fine"}\n'
    about = write(tmp_path / "manifest.json", manifest)
    first, second = read_one(rows, "nemo", beam_size=2, manifest=about)
    assert (first.id, first.reference, second.reference) == ("a.wav", "how are you", "fine")
    assert [own.text for own in second.hypotheses] == ["", "fine"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a -1\n", "line 1: has no tab"),
        ("a\t-1\nb\tx\n", "line 2: the score"),
        ("a\t1\n", "1 rows"),
        ("a\t-1\t-2\nb\t-1\t-2\n", "line 1: has 3 columns, not text and score"),
        ("a\t-1\n\nb\t-1\n", "line 2: has no tab"),
    ],
)
def test_names_the_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(FormatError, match=fault):
        read_one(write(tmp_path / "beams.tsv", text), "nemo", beam_size=2)


def test_asks_for_the_beam_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--beam-size"):
        read_one(write(tmp_path / "beams.tsv", ""), "nemo")


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        ('{"text": "a"}\n', "line 4: the manifest has no entry 2"),
        ('{"text": "a"}\n' * 3, "ends after 2 lists; the manifest has more"),
        ("[]\n", "manifest.json, line 1: is no JSON object"),
        ("{\n", "manifest.json, line 1: is no JSON"),
        ('\n{"text": 1}\n', "manifest.json, line 2: 'text' is no string: 1"),
        ('{"audio_filepath": ["a"]}\n', "line 1: 'audio_filepath' is no string"),
    ],
)
def test_rows_and_manifest_tell_of_the_same_utterances(
    tmp_path: Path, manifest: str, fault: str
) -> None:
    rows = write(tmp_path / "beams.tsv", "a\t-1\nb\t-2\nc\t-3\nd\t-4\n")
    about = write(tmp_path / "manifest.json", manifest)
    with pytest.raises(FormatError) as raised:
        read_one(rows, "nemo", beam_size=2, manifest=about)
    assert fault in str(raised.value)


def test_the_total_is_written_where_there_is_one(tmp_path: Path) -> None:
    hypotheses = (
        Hypothesis(text="a b", score=-1.0, extra={"total": -0.5}),
        Hypothesis(text="", score=-2.0),
        Hypothesis(text="c"),
    )
    with open_writer(tmp_path / "out.tsv", "nemo") as writer:
        writer.write(NBestList(id="u", hypotheses=hypotheses))
    assert (tmp_path / "out.tsv").read_text() == "a b\t-0.5\n\t-2.0\nc\t0.0\n"


def test_a_manifest_with_blank_lines_and_without_values(tmp_path: Path) -> None:
    rows = write(tmp_path / "beams.tsv", "a\t-1\nb\t-2\n")
    entries = '\n{"audio_filepath": null, "text": null}\n \n{"audio_filepath": "b.wav"}\n\n'
    about = write(tmp_path / "manifest.json", entries)
    found = read_one(rows, "nemo", beam_size=1, manifest=about)
    assert [(own.id, own.reference) for own in found] == [("1", None), ("b.wav", None)]
