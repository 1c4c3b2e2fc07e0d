"""Rescored lattices: exact against every path, merged where n-grams cannot tell, batched."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.asr.lattice import Final, Lattice, Link, PathWeights, build_lattice, nbest
from service.asr.lattice_rescoring import RescoringOptions, replace_lm, rescore_lattices
from tests.service.asr.small_lattices import all_paths, lattices
from tests.service.asr.small_models import HashModel

EXACT = RescoringOptions(merge=None, beam=None, max_states=None)


def expected(lattice: Lattice, model: HashModel, weights: PathWeights) -> dict[str, float]:
    """The best total of each word sequence, by walking every path."""
    found: dict[str, float] = {}
    for words, acoustic, lm in all_paths(lattice):
        total = acoustic + weights.lm * lm + weights.length_bonus * len(words)
        total += weights.model * model.whole(words)
        text = " ".join(words)
        found[text] = max(found.get(text, float("-inf")), total)
    return found


def totals(lattice: Lattice, weights: PathWeights) -> dict[str, float]:
    return {
        own.text: (own.score or 0.0)
        + weights.lm * own.scores["lm"]
        + weights.model * own.scores["model"]
        + weights.length_bonus * len(own.words)
        for own in nbest(lattice, 10_000, weights).hypotheses
    }


WEIGHTS = [PathWeights(0.0, 1.0), PathWeights(0.5, 2.0, -1.0), PathWeights(4.0, 9.5, 0.25)]


@given(several=st.lists(lattices(), min_size=1, max_size=4), weights=st.sampled_from(WEIGHTS))
@settings(deadline=None, max_examples=60)
def test_full_expansion_is_exact(several: list[Lattice], weights: PathWeights) -> None:
    model = HashModel()
    options = RescoringOptions(merge=None, max_states=None, weights=weights, lattices=3)
    rescored = list(rescore_lattices(several, model, options))
    for before, after in zip(several, rescored, strict=True):
        assert totals(after, weights) == pytest.approx(expected(before, model, weights))


@given(lattice=lattices(), order=st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_merging_loses_nothing_of_an_n_gram(lattice: Lattice, order: int) -> None:
    weights = PathWeights(0.5, 2.0)
    model = HashModel(order)
    options = RescoringOptions(merge=order, max_states=None, weights=weights)
    (after,) = rescore_lattices([lattice], model, options)
    assert totals(after, weights) == pytest.approx(expected(lattice, model, weights))


def ladder(length: int) -> Lattice:
    """Two words at every place, the second one a little worse: 2**length paths."""
    links = [
        Link(place, place + 1, word, acoustic, 0.0)
        for place in range(length)
        for word, acoustic in ((f"a{place}", 0.0), (f"b{place}", -1.5))
    ]
    return build_lattice(id="u", start=0, finals={length: Final()}, links=links)


def test_merging_bounds_the_states() -> None:
    (merged,) = rescore_lattices(
        [ladder(40)], HashModel(), RescoringOptions(merge=3, max_states=None)
    )
    assert merged.num_nodes <= 1 + 2 + 39 * 4


def test_the_best_path_improves_with_the_order_of_merging() -> None:
    """Of ten places, the whole expansion is the best there is; merging 5 loses less than 1."""
    lattice, model, weights = ladder(10), HashModel(), PathWeights(0.0, 1.0)
    best = max(expected(lattice, model, weights).values())

    def found(merge: int) -> float:
        options = RescoringOptions(merge=merge, max_states=None, weights=weights)
        (after,) = rescore_lattices([lattice], model, options)
        (own,) = nbest(after, 1, weights).hypotheses
        words = tuple(own.words)
        acoustic = next(a for w, a, _ in all_paths(lattice) if w == words)
        return acoustic + model.whole(words)

    assert found(1) <= best
    assert best - found(6) < best - found(1)
    assert found(11) == pytest.approx(best)


def test_pruning_keeps_the_best_path_and_drops_states() -> None:
    lattice, model = ladder(9), HashModel(2)
    weights = PathWeights(0.0, 1.0)
    exact = RescoringOptions(merge=2, max_states=None, weights=weights)
    pruned = RescoringOptions(merge=2, max_states=None, beam=8.0, weights=weights)
    (whole,), (few,) = (list(rescore_lattices([lattice], model, own)) for own in (exact, pruned))
    assert few.num_nodes <= whole.num_nodes
    assert nbest(few, 1, weights) == nbest(whole, 1, weights)
    (narrow,) = rescore_lattices(
        [lattice], model, RescoringOptions(merge=None, max_states=2, weights=weights)
    )
    assert narrow.num_nodes <= 1 + 2 * 9


def test_frontiers_of_many_lattices_go_in_one_call() -> None:
    model = HashModel()
    several = [ladder(5) for _ in range(8)]
    for lattice in several[1:]:
        object.__setattr__(
            lattice,
            "links",
            tuple(
                Link(k.start, k.end, f"{k.word}{id(lattice)}", k.acoustic, k.lm)
                for k in lattice.links
            ),
        )
    list(rescore_lattices(several, model, RescoringOptions(merge=2)))
    assert len(model.calls) == 5  # a call for each level
    assert model.calls[0] == 8 * 2


def test_words_after_the_same_words_are_computed_once() -> None:
    links = [Link(0, end, "a", -end, 0.0) for end in (1, 2, 3)]
    links += [Link(start, 4, "b", -start, 0.0) for start in (1, 2, 3)]
    lattice = build_lattice(id="u", start=0, finals={4: Final()}, links=links)
    model = HashModel()
    list(rescore_lattices([lattice], model, RescoringOptions()))
    assert model.calls == [1, 1]


def test_replace_lm() -> None:
    model = HashModel()
    (after,) = rescore_lattices([ladder(3)], model, EXACT)
    for own in nbest(replace_lm(after), 100, PathWeights(1.0)).hypotheses:
        assert own.scores["lm"] == pytest.approx(model.whole(own.words))


def test_an_empty_lattice_stays_empty() -> None:
    lattice = build_lattice(id="u", start=0, finals={}, links=[])
    (after,) = rescore_lattices([lattice], HashModel(), RescoringOptions())
    assert (after.id, after.finals, after.links) == ("u", {}, ())
