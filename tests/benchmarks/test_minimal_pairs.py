import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.minimal_pairs import accuracy, measure, read_pairs
from training.corpus import CorpusError

PAIRS = [("the cats sleep", "the cats sleeps"), ("He is here.", "He are here.")]


def shorter_is_better(sentences: Sequence[str]) -> list[float]:
    return [-float(len(sentence)) for sentence in sentences]


def written(path: Path) -> Path:
    lines = [json.dumps({"sentence_good": g, "sentence_bad": b, "UID": "x"}) for g, b in PAIRS]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_pair_is_right_where_the_good_sentence_scores_higher() -> None:
    assert accuracy(PAIRS, shorter_is_better) == 1
    assert accuracy([(b, g) for g, b in PAIRS], shorter_is_better) == 0
    assert accuracy([("a", "b"), ("a", "bc")], shorter_is_better) == 0.5  # equal ones are wrong


def test_rates_by_file_and_their_mean(tmp_path: Path) -> None:
    files = [written(tmp_path / name) for name in ("one.jsonl", "two.jsonl")]
    files[1].write_text(json.dumps({"sentence_good": "longer", "sentence_bad": "long"}))
    found = measure(files, shorter_is_better, asr=False)
    assert found == {"rendering": "plain", "mean": 50, "by_file": {"one": 100, "two": 0}}


def test_both_sentences_are_rendered(tmp_path: Path) -> None:
    seen: list[str] = []

    def score(sentences: Sequence[str]) -> list[float]:
        seen.extend(sentences)
        return shorter_is_better(sentences)

    measure([written(tmp_path / "one.jsonl")], score, asr=True)
    assert seen == ["the cats sleep", "the cats sleeps", "he is here", "he are here"]


@pytest.mark.parametrize("line", ["{", "[]", '{"sentence_good": "a"}'])
def test_a_line_that_is_no_pair_is_named(line: str, tmp_path: Path) -> None:
    path = written(tmp_path / "one.jsonl")
    path.write_text(path.read_text() + line)
    with pytest.raises(CorpusError, match=r'one\.jsonl, line 3: needs "sentence_good"'):
        read_pairs(path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(CorpusError, match="holds no pairs"):
        read_pairs(tmp_path / "none.jsonl")
