"""The pure parts of the recognition example; its whole takes a recogniser and an hour."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from service.asr.settings import RescoringSettings
from tests.service.asr.made_up_lists import made_up_lists

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _examples_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_sentences_that_can_be_spoken_and_were_never_seen() -> None:
    from asr_rescoring.sentences import choose_spoken

    turns = ["a b c d", "e f g h", "too short", "i want 2 of them", "long " * 11, "i j k l m"]
    assert set(choose_spoken(turns, ["e f g h"], 9)) == {"a b c d", "i j k l m"}
    assert len(choose_spoken(turns, [], 1)) == 1
    assert choose_spoken(turns, [], 2) == choose_spoken(turns[::-1], [], 2)


def test_how_a_sentence_is_said_depends_on_its_id_alone() -> None:
    from asr_rescoring.speech import NOISE_DB, VOICES, Spoken

    said = [Spoken(id=f"u{i}", text="a") for i in range(60)]
    assert {own.voice for own in said} == set(VOICES)
    assert {own.noise_db for own in said} == set(NOISE_DB)
    assert said[7].voice == Spoken(id="u7", text="b").voice


def test_the_page_tells_rates_and_gains(tmp_path: Path) -> None:
    from asr_rescoring.page import compare, oracle_texts, write_page

    lists = made_up_lists(30, model_knows=1.0)
    first = [own.hypotheses[0].text for own in lists]
    rows, gains = compare(lists, {"first": first, "oracle": oracle_texts(lists)}, "first")
    assert rows[1].wer == 0.0 < rows[0].wer
    assert gains["oracle"].relative == 100.0
    page = write_page(tmp_path, rows, gains, ["About."]).read_text()
    assert f"| first | {rows[0].wer:.1f}% |" in page
    assert (tmp_path / "word-error-rates.png").stat().st_size > 1000


def test_the_pages_figures_are_those_of_its_counts() -> None:
    """Of the page that is shown: each rate and each share is what its counts come to."""
    from asr_rescoring.__main__ import __doc__ as promise

    page = (EXAMPLES / "asr_rescoring" / "README.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (\D[^|]*) \| ([\d.]+)% \| .* \| (.*) / (.*) / (.*) \| ([\d.]+)%", page, re.M
    )
    rates = {name: (float(rate), sum(map(int, counts))) for name, rate, *counts, _ in rows}
    first = rates["first pass"][1]
    assert len(rows) >= 7
    # One number of words, and each rate rounded once from it.
    assert any(
        all(f"{100 * errors / words:.1f}" == f"{rate:.1f}" for rate, errors in rates.values())
        for words in range(100, 5000)
    )
    for name, *_, fewer in rows:
        assert f"{100 * (first - rates[name][1]) / first:.1f}" == fewer
    gain = 1 - rates["adapted and n-gram"][1] / first
    assert "a quarter fewer errors" in str(promise)
    assert gain >= 0.25


@pytest.mark.parametrize(
    ("minutes", "name"), [(1, "1 minute"), (2, "2 minutes"), (0.5, "0.5 minutes")]
)
def test_minutes_are_counted_as_people_do(minutes: float, name: str) -> None:
    from asr_rescoring.__main__ import adapted_name

    assert adapted_name(minutes) == f"adapted for {name}"


def test_what_the_service_is_sent() -> None:
    from asr_rescoring.systems import _utterance

    (own,) = made_up_lists(1, model_knows=1.0)
    sent: dict[str, Any] = _utterance(own, RescoringSettings(weights={"lm": 2.0}))
    assert [h["scores"] for h in sent["hypotheses"]] == [h.scores for h in own.hypotheses]
    assert all("word_scores" not in h for h in sent["hypotheses"])
