"""The benchmark of bulk work compares like with like."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bulk import Bulk, audio_minutes, lists_file
from benchmarks.harness import SHIPPED
from service.asr.formats import open_writer
from service.asr.hypotheses import Hypothesis, NBestList
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from service.language_model import LanguageModel
from tests.service.asr.made_up_lists import made_up_lists


def test_minutes_are_those_of_the_first_hypotheses() -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text="a b c"), Hypothesis(text="a b c d")))
    empty = NBestList(id="v", hypotheses=())
    assert audio_minutes([own, own, empty], 3.0) == 2.0


def test_both_sides_have_the_same_work(tmp_path: Path) -> None:
    with open_writer(tmp_path / "given.jsonl", "jsonl") as writer:
        for own in made_up_lists(6, model_knows=1.0):
            writer.write(own)
    path = lists_file(tmp_path / "given.jsonl", tmp_path, quick=True)
    engine, _ = load_engine(SHIPPED, EngineOptions(cache_bytes=0))
    with LanguageModel.load(SHIPPED, cache_bytes=0) as model:
        bulk = Bulk(model, engine, path, tmp_path)
        bulk.check()
        bulk.rescore()
        bulk.score()
        bulk.engine()
    texts = {h.text for own in bulk.lists for h in own.hypotheses}
    assert sum(map(len, bulk.requests)) == len(texts)
    assert len((tmp_path / "best.txt").read_text().splitlines()) == 4
    hypotheses = sum(len(own.hypotheses) for own in bulk.lists)
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == hypotheses
    assert engine.counters.step_rows > 0
    assert all(seconds > 0 for taken in bulk.cpu_s.values() for seconds in taken)
    assert bulk.cpu_s.keys() == {"rescore", "score", "engine"}


def test_no_lists_no_figures(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-file"):
        lists_file(tmp_path / "no-such-file.jsonl", tmp_path, quick=False)
