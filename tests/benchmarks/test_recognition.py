"""The benchmark tells, of each set and of all, what the tuning of its lists tells."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.recognition import measure, together
from service.asr.tuning_data import build_data
from service.asr.tuning_report import tune
from tests.service.asr.made_up_lists import made_up_lists


def test_each_set_and_all_together() -> None:
    sets = {
        "one": made_up_lists(20, model_knows=2.0, seed=1),
        "other": made_up_lists(20, model_knows=2.0, seed=2),
    }
    found = measure(sets)
    both = "2 sets with lm together"
    assert list(found) == ["one", "other", both]
    alone = tune(build_data(sets["one"], {own.id: own.reference or "" for own in sets["one"]}))
    assert found["one"] == alone.to_dict()
    assert found[both]["utterances"] == 40
    # Each utterance keeps its own reference, though both sets have the same ids.
    wrong = [found[name]["rows"]["first pass"]["substitutions"] for name in ("one", "other", both)]
    assert wrong[2] == wrong[0] + wrong[1]


def test_only_like_goes_with_like() -> None:
    one, other = (made_up_lists(2, model_knows=1.0, seed=own) for own in (1, 2))
    bare = [
        replace(own, hypotheses=tuple(replace(h, scores={}) for h in own.hypotheses))
        for own in other
    ]
    assert together({"one": one, "bare": bare}) == {}
    assert list(together({"a": bare, "b": bare})) == ["2 sets with no score together"]
