import gzip
import json
import math
from pathlib import Path

import pytest

from benchmarks.recognition import Utterance, choose, oracle_text, read_utterances
from service.text.rescoring import Combination


@pytest.fixture
def utterance(tmp_path: Path) -> Utterance:
    hyps = [("a bad cat sat", -10.0, -9.0), ("a black cat sat", -11.0, -8.0), ("hat", -30.0, -2.0)]
    entry = {
        "ref": "the black cat sat",
        "hyps": [{"text": t, "am": am, "lm": lm} for t, am, lm in hyps],
    }
    path = tmp_path / "lists.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.write(json.dumps({"ref": "nothing was heard", "hyps": []}) + "\n")
    (found,) = read_utterances(path)
    return found


def test_totals_are_those_of_the_formula(utterance: Utterance) -> None:
    scores = [-20.0, -6.0, -3.0]
    for mix, expected in ((0.0, "a bad cat sat"), (0.5, "a black cat sat")):
        scale = 0.5
        combination = Combination(
            lm_weight=scale * mix, length_bonus=math.log(0.9), weights={"first": scale * (1 - mix)}
        )
        totals = [
            hyp.score
            + scale * ((1 - mix) * hyp.scores["first"] + mix * score)
            + math.log(0.9) * len(text.split())
            for hyp, score, text in zip(utterance.scored, scores, utterance.texts, strict=True)
        ]
        best = utterance.texts[totals.index(max(totals))]
        assert choose(utterance, scores, combination) == best == expected


def test_the_best_possible_choice_is_the_one_with_fewest_errors(utterance: Utterance) -> None:
    assert oracle_text(utterance) == "a black cat sat"
