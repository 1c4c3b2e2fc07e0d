"""The benchmark tells, of each set and of all, what the tuning of its lists tells."""

from __future__ import annotations

from benchmarks.recognition import ALL, measure
from service.asr.tuning_data import build_data
from service.asr.tuning_report import tune
from tests.service.asr.made_up_lists import made_up_lists


def test_each_set_and_all_together() -> None:
    sets = {
        "one": made_up_lists(20, model_knows=2.0, seed=1),
        "other": made_up_lists(20, model_knows=2.0, seed=2),
    }
    found = measure(sets)
    assert list(found) == ["one", "other", ALL]
    alone = tune(build_data(sets["one"], {own.id: own.reference or "" for own in sets["one"]}))
    assert found["one"] == alone.to_dict()
    assert found[ALL]["utterances"] == 40
