"""Every format as other programs and editors leave it: read as the clean file is, or refused by
line."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.asr.formats import FormatError, ReadOptions, read_lists
from service.asr.hypotheses import NBestList

OPTIONS = ReadOptions(beam_size=2)
# By the test's name: the format, and a file of it. Each says "ab c" first.
CLEAN: dict[str, tuple[str, str]] = {
    "jsonl": ("jsonl", '{"id": "u", "hyps": [{"text": "ab c", "score": -1}, {"text": ""}]}\n'),
    "kaldi": ("kaldi", "u-1 ab c\nu-2\nv-1 d\n"),
    "srilm": ("srilm", "-1.5 -2 2 ab c\n-2 -3 0\n"),
    "srilm-1": ("srilm", "NBestList1.0\n(-100) ab c\n(-200)\n"),
    "srilm-2": (
        "srilm",
        "NBestList2.0\n(-100) ab ( st: 0 et: 1 g: -3 a: -4 ) c ( st: 1 et: 2 g: -3 a: -4 )\n",
    ),
    "nemo": ("nemo", "ab c\t-1.5\n\t-2\n"),
    "mlm-scoring": ("mlm-scoring", '{"u": {"hyp_1": {"score": -1, "text": "ab c"}}}\n'),
    "espnet-1": ("espnet", '{"utts": {"u": {"output": [{"rec_text": "ab c", "score": -1}]}}}\n'),
    "htk-lattice": (
        "htk-lattice",
        "N=3 L=2\nI=0\nI=1\nI=2\nJ=0 S=0 E=1 W=ab a=-1 l=-2\nJ=1 S=1 E=2 W=c a=-1 l=-2\n",
    ),
    "kaldi-lattice": ("kaldi-lattice", "u\n0 1 ab 1,2,\n1 2 c 1,2,\n2\n\n"),
}
each = pytest.mark.parametrize("name", CLEAN)


def read(path: Path, name: str) -> list[NBestList]:
    return list(read_lists(path, CLEAN[name][0], OPTIONS))


def read_bytes(folder: Path, name: str, data: bytes) -> list[NBestList]:
    path = folder / "u"
    path.write_bytes(data)
    return read(path, name)


def clean(folder: Path, name: str) -> list[NBestList]:
    found = read_bytes(folder, name, CLEAN[name][1].encode())
    assert found[0].hypotheses[0].text == "ab c"
    return found


DIRT: dict[str, Callable[[str], bytes]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "byte order mark": lambda text: text.encode("utf-8-sig"),
    "mark and CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "no final newline": lambda text: text.rstrip("\n").encode(),
    "blanks for one": lambda text: text.replace("ab c", "ab   c").replace("W=", "  W=").encode(),
}


@each
@pytest.mark.parametrize("dirt", DIRT)
def test_what_editors_do_to_a_file_changes_nothing(tmp_path: Path, name: str, dirt: str) -> None:
    found = read_bytes(tmp_path, name, DIRT[dirt](CLEAN[name][1]))
    expected = clean(tmp_path, name)
    if name in ("jsonl", "mlm-scoring"):  # a text there is a value of its own, as it stands
        assert [own.id for own in found] == [own.id for own in expected]
        assert found[0].hypotheses[0].words == expected[0].hypotheses[0].words
    else:
        assert found == expected


@pytest.mark.parametrize("name", [own for own in CLEAN if own != "nemo"])  # there tabs are columns
def test_blank_lines_and_white_space_around_lines_change_nothing(tmp_path: Path, name: str) -> None:
    lines = CLEAN[name][1].splitlines()
    spaced = "\n \t\n" + "".join(f" \t{line}\t \n" for line in lines) + "\n\t\n\n"
    assert read_bytes(tmp_path, name, spaced.encode()) == clean(tmp_path, name)


@pytest.mark.parametrize("name", ["kaldi", "srilm", "srilm-1", "srilm-2", "kaldi-lattice"])
def test_tabs_stand_for_blanks(tmp_path: Path, name: str) -> None:
    tabbed = CLEAN[name][1].replace(" ", "\t").encode()
    assert read_bytes(tmp_path, name, tabbed) == clean(tmp_path, name)


@each
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_refused_by_file_and_line(
    tmp_path: Path, name: str, encoding: str
) -> None:
    data = CLEAN[name][1].replace("ab", "äb").encode(encoding)
    with pytest.raises(FormatError, match=r"u, line \d+: is not readable text: byte 0x.. is no"):
        read_bytes(tmp_path, name, data)


@each
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_standard_input_packed_or_not_whatever_the_terminal_encodes(
    name: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pack(CLEAN[name][1].replace("ab", "äb").encode("utf-8-sig"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="latin-1"))
    assert read(Path("-"), name)[0].hypotheses[0].text == "äb c"


@each
def test_an_empty_file_is_no_list_or_refused(tmp_path: Path, name: str) -> None:
    if name in ("mlm-scoring", "espnet-1", "htk-lattice"):
        with pytest.raises(FormatError, match=r"where '\{' should be|0 nodes that could be"):
            read_bytes(tmp_path, name, b"")
    else:
        assert [own.hypotheses for own in read_bytes(tmp_path, name, b"")] == (
            [()] if "srilm" in name else []
        )


@each
def test_an_empty_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises((FormatError, OSError), match="folder"):
        read(tmp_path / "folder", name)


SCORES = {  # where "SCORE" stands for one
    "jsonl": '{"hyps": [{"text": "a", "score": SCORE}]}',
    "jsonl lm": '{"hyps": [{"text": "a", "scores": {"lm": SCORE}}]}',
    "jsonl word": '{"hyps": [{"text": "a", "word_scores": {"old": [0, SCORE]}}]}',
    "srilm": "SCORE 1 1 a",
    "srilm lm": "1 SCORE 1 a",
    "srilm-1": "NBestList1.0\n(SCORE) a",
    "srilm-2": "NBestList2.0\n(-100) ab ( st: 0 et: 1 g: SCORE a: -4 )",
    "nemo": "a\tSCORE\nb\t1",
    "mlm-scoring": '{"u": {"hyp_1": {"text": "a", "score": SCORE}}}',
    "espnet-1": '{"utts": {"u": {"output": [{"rec_text": "a", "score": SCORE}]}}}',
    "htk-lattice": "I=0 t=SCORE\nI=1\nJ=0 S=0 E=1 W=a",
    "htk-lattice link": "I=0\nI=1\nJ=0 S=0 E=1 W=a a=SCORE",
    "kaldi-lattice": "u\n0 1 a SCORE,1,\n1\n",
}


def read_score(folder: Path, place: str, score: str) -> list[NBestList]:
    return read_bytes(folder, place.split()[0], SCORES[place].replace("SCORE", score).encode())


@pytest.mark.parametrize("place", SCORES)
@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 400, "1" * 5000])
def test_a_score_that_is_no_finite_number_is_refused_by_line(
    tmp_path: Path, place: str, score: str
) -> None:
    fault = r"u, line [123]: .*(no finite number|too many digits)"
    with pytest.raises(FormatError, match=fault):
        read_score(tmp_path, place, score)


@pytest.mark.parametrize("place", SCORES)
def test_numbers_with_exponents_are_numbers(tmp_path: Path, place: str) -> None:
    assert read_score(tmp_path, place, "-1.5e+2") == read_score(tmp_path, place, "-150")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jsonl", r'{"hyps": [{"text": "a \ud83d b"}]}'),
        ("jsonl", r'{"id": "\uDE00", "hyps": []}'),
        ("mlm-scoring", r'{"u": {"hyp_1": {"score": 1, "text": "\ud83d"}}}'),
        ("mlm-scoring", r'{"\ud83d": {}}'),
        ("espnet-1", r'{"utts": {"u": {"output": [{"rec_text": "\ud83d"}]}}}'),
    ],
)
def test_half_a_surrogate_pair_is_refused_by_line(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(FormatError, match="line 1: has a string that is no Unicode text: half of"):
        read_bytes(tmp_path, name, text.encode())


def test_an_escaped_pair_is_one_character(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, "jsonl", rb'{"hyps": [{"text": "\ud83d\ude00"}]}')
    assert found[0].hypotheses[0].text == "😀"


@pytest.mark.parametrize("name", ["jsonl", "mlm-scoring", "espnet-1", "kaldi-lattice"])
def test_an_utterance_that_occurs_twice_is_two_lists(tmp_path: Path, name: str) -> None:
    """Each is rescored as it stands; `tune`, which goes by the ids, refuses."""
    text = CLEAN[name][1].rstrip("\n") + "\n"
    if name == "mlm-scoring":
        own = text.strip()[1:-1]
        text = f"{{{own}, {own}}}"
    elif name == "espnet-1":
        own = json.dumps(json.loads(text)["utts"])[1:-1]
        text = f'{{"utts": {{{own}, {own}}}}}'
    else:
        text += "\n" * (name == "kaldi-lattice") + text
    found = read_bytes(tmp_path, name, text.encode())
    assert [own.id for own in found] == ["u", "u"]
    assert found[0] == found[1]
