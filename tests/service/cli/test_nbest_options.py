"""Lists of several files one after another, and how many there were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.asr.hypotheses import Hypothesis, NBestList
from service.cli.nbest_options import open_lists, open_ngram, with_progress

READING: dict[str, Any] = {  # as the options are where none is given
    "beam_size": None,
    "manifest": None,
    "symbols": None,
    "list_size": 100,
    "lattice_lm_scale": 1.0,
}


def test_files_are_read_one_after_another_as_they_are_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = [f'{{"id": "{name}{n}", "hyps": []}}' for n in (1, 2)]
        (tmp_path / name).write_text("\n".join(lines))
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "missing"]
    lists = open_lists(paths, "jsonl", **READING)
    assert [next(lists).id for _ in range(4)] == ["a1", "a2", "b1", "b2"]
    with pytest.raises(FileNotFoundError):
        next(lists)


def test_the_options_of_a_format_reach_it(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\t-1\nb\t-2\n")
    (own,) = open_lists([tmp_path / "rows"], "nemo", **{**READING, "beam_size": 2})
    assert len(own.hypotheses) == 2
    (tmp_path / "u.slf").write_text(
        "I=0\nI=1\nJ=0 S=0 E=1 W=a a=-1 l=-9\nJ=1 S=0 E=1 W=b a=-2 l=-1\n"
    )
    reading = READING | {"list_size": 1, "lattice_lm_scale": 0.0}
    (own,) = open_lists([tmp_path / "u.slf"], "htk-lattice", **reading)
    assert [h.text for h in own.hypotheses] == ["a"]  # the best by its acoustic score alone


def test_lists_pass_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lists = [NBestList(id=str(n), hypotheses=(Hypothesis(text="a"),) * n) for n in range(4)]
    assert list(with_progress(lists)) == lists
    told = capsys.readouterr().err
    assert told.startswith("4 lists, 6 hypotheses in ")
    assert told.count("\n") == 1  # no terminal: nothing before the end
    assert list(with_progress([])) == []


def test_no_n_gram_is_none() -> None:
    assert open_ngram(None) is None
