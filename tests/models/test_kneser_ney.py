"""Modified Kneser-Ney: against the formulas written out, normalised, read back by KenLM."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.kneser_ney import NGramModel, _discounts, estimate

SENTENCES = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=0, max_size=6), min_size=1, max_size=12
)


class Table:
    """An ARPA model looked up by hand."""

    def __init__(self, model: NGramModel) -> None:
        self.names = list(model.vocabulary)
        self.probability: dict[tuple[str, ...], float] = {}
        self.backoff: dict[tuple[str, ...], float] = {}
        for order in model.orders:
            for words, p, b in zip(order.words, order.probability, order.backoff, strict=True):
                key = tuple(self.names[word] for word in words)
                self.probability[key] = float(p)
                self.backoff[key] = 1.0 if math.isnan(b) else float(b)

    def p(self, context: tuple[str, ...], word: str) -> float:
        if (*context, word) in self.probability:
            return self.probability[(*context, word)]
        return self.backoff.get(context, 1.0) * self.p(context[1:], word)


def plain(sentences: list[list[str]], order: int) -> dict[tuple[str, ...], float]:
    """P of every n-gram seen, by the definition, with dictionaries."""
    lines = [["<s>", *own, "</s>"] for own in sentences]
    raw = [
        Counter(tuple(line[i : i + n]) for line in lines for i in range(len(line) - n + 1))
        for n in range(1, order + 1)
    ]
    counts: list[dict[tuple[str, ...], int]] = []
    for n in range(1, order):
        before = defaultdict(set)
        for gram in raw[n]:
            before[gram[1:]].add(gram[0])
        counts.append(
            {
                gram: raw[n - 1][gram] if gram[0] == "<s>" else len(before[gram])
                for gram in raw[n - 1]
            }
        )
    counts.append(dict(raw[order - 1]))
    counts[0][("<s>",)] = 0
    vocabulary = {word for line in lines for word in line} - {"<s>"} | {"<unk>"}
    counts[0][("<unk>",)] = 0
    p: dict[tuple[str, ...], float] = {(): 1 / len(vocabulary)}
    for own in counts:
        discount = _discounts(np.array(list(own.values())))
        total: Counter[tuple[str, ...]] = Counter()
        taken: Counter[tuple[str, ...]] = Counter()
        for gram, count in own.items():
            total[gram[:-1]] += count
            taken[gram[:-1]] += discount[min(count, 3)]
        for gram, count in own.items():
            h = gram[:-1]
            p[gram] = (count - discount[min(count, 3)]) / total[h] + (
                taken[h] / total[h] * p[gram[1:]]
            )
    del p[()]
    p[("<s>",)] = 0.0
    return p


@given(sentences=SENTENCES.filter(lambda own: any(own)), order=st.integers(2, 4))
@settings(deadline=None, max_examples=60)
def test_the_formulas(sentences: list[list[str]], order: int) -> None:
    found = Table(estimate(sentences, order)).probability
    expected = plain(sentences, order)
    assert {gram: pytest.approx(value) for gram, value in found.items()} == expected


@example(sentences=[[], [], [], list("baaba")], order=4, prune=())
@given(sentences=SENTENCES, order=st.integers(2, 4), prune=st.sampled_from([(), (0, 1), (0, 0, 1)]))
@settings(deadline=None, max_examples=60)
def test_every_context_sums_to_one(
    sentences: list[list[str]], order: int, prune: tuple[int, ...]
) -> None:
    table = Table(estimate(sentences, order, prune=prune))
    words = [name for name in table.names if name != "<s>"]
    for length in range(order):
        for context in itertools.product("ab<", repeat=length):
            spelled = tuple("<s>" if word == "<" else word for word in context)
            each = [table.p(spelled, word) for word in words]
            assert min(each) > 0  # no word is impossible anywhere
            assert sum(each) == pytest.approx(1.0)


def test_discounts_by_hand() -> None:
    """n1=4, n2=3, n3=2, n4=1: Y = 4/10; D = 1-2*.4*3/4, 2-3*.4*2/3, 3-4*.4*1/2."""
    counts = np.array([1] * 4 + [2] * 3 + [3] * 2 + [4] + [0] * 5)
    assert _discounts(counts) == pytest.approx([0, 0.4, 1.2, 2.2])


def test_counts_that_would_lose_nothing_have_no_estimate() -> None:
    """n1=4, n2=1, n3=1: D2 = 2 - 3 * 2/3 * 1 = 0."""
    counts = np.array([1] * 4 + [2, 3])
    assert _discounts(counts) == pytest.approx([0, 0.5, 1, 1.5])


def test_a_repeated_text_has_no_estimate_of_discounts() -> None:
    counts = np.array([1] * 2 + [2] * 3 + [3] * 500 + [6] * 90)
    assert _discounts(counts) == pytest.approx([0, 0.5, 1, 1.5])


def test_pruning_leaves_out_what_is_rare() -> None:
    text = [list("abab"), list("abc")]
    assert len(estimate(text, 3, prune=(0, 1)).orders[1].words) < len(
        estimate(text, 3).orders[1].words
    )


@pytest.mark.parametrize(
    ("sentences", "order", "fault"),
    [
        ([], 3, "no sentence"),
        ([["a", "<s>"]], 3, "reserved word '<s>'"),
        ([["a"]], 1, "order 2 at least"),
    ],
)
def test_refusals(sentences: list[list[str]], order: int, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        estimate(sentences, order)


def test_kenlm_reads_it(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="the extra kenlm is not installed")
    text = [list("abcab"), list("abd"), list("cabd"), list("abcd"), []] * 3
    model = estimate(text, 3)
    path = tmp_path / "lm.arpa"
    with path.open("w") as file:
        model.write_arpa(file)
    table, read = Table(model), kenlm.Model(str(path))
    for sentence in ("a b c d", "d d", "x a", ""):
        words = ["<s>", *sentence.split(), "</s>"]
        known = [word if word in table.names else "<unk>" for word in words]
        expected = [
            math.log10(table.p(tuple(known[max(0, i - 2) : i]), known[i]))
            for i in range(1, len(known))
        ]
        found = [score for score, _, _ in read.full_scores(sentence)]
        assert found == pytest.approx(expected, abs=1e-5)
