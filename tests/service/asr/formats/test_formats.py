"""All formats alike: by name, in constant memory, there and back."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.asr.formats import FORMATS, OUTPUTS, open_writer, read_lists
from service.asr.hypotheses import Hypothesis, NBestList
from tests.service.asr.formats.reading import read_one, write


def test_reads_in_constant_memory(tmp_path: Path) -> None:
    """Ten times the lists take no more memory: they are dropped as they are read."""

    def peak(count: int) -> int:
        hypotheses = {f"hyp_{k}": {"score": -7.25, "text": "how are you"} for k in (1, 2, 3)}
        entry = {f"utt-{i}": hypotheses for i in range(count)}
        mlm = write(tmp_path / f"{count}.json", json.dumps(entry))
        lines = write(tmp_path / f"{count}.jsonl", '{"hyps": [{"text": "a b c"}]}\n' * count)
        del entry
        tracemalloc.start()
        for path, format in ((mlm, "mlm-scoring"), (lines, "jsonl")):
            assert sum(1 for _ in read_lists(path, format)) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small = peak(1000)
    assert peak(8000) < small + 200_000


# Round trips

WORDS = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyzäßéğ'-", min_size=1, max_size=6), max_size=5
).map(" ".join)
SCORES = st.floats(-1e4, 1e4).map(lambda value: round(value, 4) + 0.0)


@st.composite
def lists_of(draw: st.DrawFn, *, least: int, scores: tuple[str, ...]) -> list[NBestList]:
    count = draw(st.integers(1, 4))
    return [
        NBestList(
            id=f"utt-{index}",
            hypotheses=tuple(
                Hypothesis(
                    text=draw(WORDS),
                    score=draw(SCORES),
                    scores={name: draw(SCORES) for name in scores},
                )
                for _ in range(draw(st.integers(least, 4)))
            ),
        )
        for index in range(count)
    ]


def essence(lists: list[NBestList], to: int = 6) -> list[tuple[str, list[tuple[object, ...]]]]:
    return [
        (
            own.id,
            [
                (h.text, round(h.score or 0, to), {k: round(v, to) for k, v in h.scores.items()})
                for h in own.hypotheses
            ],
        )
        for own in lists
    ]


@pytest.mark.parametrize(
    ("format", "output", "least", "scores"),
    [
        ("jsonl", "jsonl", 0, ("lm", "graph")),
        ("kaldi", "kaldi", 1, ("lm", "graph")),
        ("srilm", "srilm", 0, ("lm",)),
        ("mlm-scoring", "mlm-scoring", 0, ()),
        ("espnet", "espnet", 1, ()),
    ],
)
@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    format: str,
    output: str,
    least: int,
    scores: tuple[str, ...],
) -> None:
    lists = data.draw(lists_of(least=least, scores=scores))
    path = tmp_path_factory.mktemp("round") / "lists"
    with open_writer(path, output) as writer:
        for own in lists:
            writer.write(own)
    assert essence(read_one(path, format)) == essence(lists)


@given(lists=lists_of(least=3, scores=()))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip_of_beams(
    lists: list[NBestList], tmp_path_factory: pytest.TempPathFactory
) -> None:
    equal = [
        NBestList(id=str(place), hypotheses=own.hypotheses[:3])
        for place, own in enumerate(lists, 1)
    ]
    path = tmp_path_factory.mktemp("round") / "beams.tsv"
    with open_writer(path, "nemo") as writer:
        for own in equal:
            writer.write(own)
    assert essence(read_one(path, "nemo", beam_size=3)) == essence(equal)


def test_a_form_of_many_files_is_not_for_standard_output() -> None:
    with (
        pytest.raises(ValueError, match="the form kaldi is a folder of files: give --out"),
        open_writer(Path("-"), "kaldi"),
    ):
        pass


def test_what_is_written_to_standard_output_is_there_and_it_stays_open(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text="a b"),))
    for _ in range(2):
        with open_writer(Path("-"), "text") as writer:
            writer.write(own)
    assert capsys.readouterr().out == "u a b\nu a b\n"


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_there_is_not_is_an_os_error(tmp_path: Path, format: str) -> None:
    with pytest.raises(FileNotFoundError):
        read_one(tmp_path / "missing", format, beam_size=2)


def test_whatever_is_read_as_a_list_can_be_written() -> None:
    assert {"jsonl", "kaldi", "srilm", "nemo", "mlm-scoring", "espnet"} <= set(OUTPUTS)
