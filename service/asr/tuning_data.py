"""N-best lists as arrays: what was scored once, and what every hypothesis gets wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.asr.hypotheses import LM, MODEL, Hypothesis, NBestList
from service.asr.word_errors import Counts, count_errors

NGRAM = "ngram"
Floats = NDArray[np.float64]
WordScores = Sequence[Sequence[Sequence[float]]]  # by list, by hypothesis: words, then the end


@dataclass(frozen=True, kw_only=True, eq=False)
class TuningData:
    """U lists of at most N hypotheses; absent ones have `is_there` False.

    acoustic, fixed: (U, N), the recogniser's score, and those that go with the language model's
        scale whatever model that is (Kaldi's graph cost).
    sources: by name (U, N), ln P under each language model.
    by_word: by name (U, N, W), ln P of each word and of the end; 0 behind it, `is_word` False.
    errors: (U, N, 3), substitutions, insertions, deletions. references: (U,), words.
    groups: (U,), number of the utterance's speaker, or its own.
    """

    ids: tuple[str, ...]
    is_there: NDArray[np.bool_]
    acoustic: Floats
    fixed: Floats
    num_words: Floats
    sources: Mapping[str, Floats]
    by_word: Mapping[str, Floats]
    is_word: NDArray[np.bool_]
    errors: Counts
    references: Counts
    groups: NDArray[np.int64]
    has_acoustic: bool = True
    fixed_names: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        return self.is_there.shape[0], self.is_there.shape[1]

    def total_errors(self) -> NDArray[np.int64]:
        """(U, N); more than any other for what is not there."""
        total: NDArray[np.int64] = self.errors.sum(axis=2)
        return np.where(self.is_there, total, 1 << 30)

    def mixture(self, first: str, second: str, share: float) -> Floats:
        """(U, N): ln P under the linear mixture of two models, word by word."""
        a, b = self.by_word[first] + np.log(share), self.by_word[second] + np.log1p(-share)
        mixed: Floats = np.where(self.is_word, np.logaddexp(a, b), 0.0).sum(axis=2)
        return mixed


def build_data(
    lists: Sequence[NBestList],
    references: Mapping[str, str],
    *,
    by_speaker: bool = False,
) -> TuningData:
    """Arrays of scored lists: every hypothesis with its word scores, by the models' names.

    ValueError where there is nothing to count, and names an id that two lists have, a list without
    reference, or a score that only some hypotheses have.
    """
    if not lists:
        raise ValueError("there are no lists")
    if twice := [id for id, count in Counter(own.id for own in lists).items() if count > 1]:
        raise ValueError(f"{len(twice)} ids belong to more than one list, {twice[0]!r} first")
    if missing := [own.id for own in lists if own.id not in references]:
        raise ValueError(f"there is no reference for {missing[0]!r} ({len(missing)} are missing)")
    if not any(references[own.id].split() for own in lists):
        raise ValueError("the references of these lists hold no word")
    names, word_names = _names(lists, "scores"), sorted(_names(lists, "word_scores"))
    nothing = Hypothesis(  # what an empty list says
        text="",
        score=0.0 if _has_acoustic(lists) else None,
        scores=dict.fromkeys(names, 0.0),
        word_scores=dict.fromkeys(word_names, (0.0,)),
    )
    hypotheses = [own.hypotheses or (nothing,) for own in lists]
    shape = (len(lists), max(map(len, hypotheses), default=1))
    words = {
        name: [[h.word_scores[name] for h in own] for own in hypotheses] for name in word_names
    }
    is_word = _same_lengths(words, shape)
    by_word = {name: _pad_words(own, shape) for name, own in words.items()}
    lengths = [[len(h.words) for h in own] for own in hypotheses]
    sources = {name: own.sum(axis=2) for name, own in by_word.items()}
    if LM in names:
        sources[LM] = _pad([[h.scores[LM] for h in own] for own in hypotheses], shape)
    fixed = sorted(names - {LM, MODEL})
    return TuningData(
        ids=tuple(own.id for own in lists),
        is_there=_pad([[1.0] * len(own) for own in hypotheses], shape) > 0,
        acoustic=_pad([[h.score or 0.0 for h in own] for own in hypotheses], shape),
        fixed=sum(
            (_pad([[h.scores[name] for h in own] for own in hypotheses], shape) for name in fixed),
            np.zeros(shape),
        ),
        num_words=_pad(lengths, shape),
        sources=sources,
        by_word=by_word,
        is_word=is_word,
        errors=_pad_errors(lists, hypotheses, references, shape),
        references=np.array([len(references[own.id].split()) for own in lists], np.int64),
        groups=_groups(lists, by_speaker=by_speaker),
        has_acoustic=_has_acoustic(lists),
        fixed_names=tuple(fixed),
    )


def _names(lists: Sequence[NBestList], field_name: str) -> set[str]:
    """Names that every hypothesis has; ValueError for one that only some have."""
    real = [h for own in lists for h in own.hypotheses]
    every = {name for h in real for name in getattr(h, field_name)}
    for name in sorted(every):
        if not all(name in getattr(h, field_name) for h in real):
            raise ValueError(f"only some hypotheses have the score {name!r}")
    return every


def _has_acoustic(lists: Sequence[NBestList]) -> bool:
    has = {h.score is not None for own in lists for h in own.hypotheses}
    if len(has) > 1:
        raise ValueError("only some hypotheses have the recogniser's score")
    return has != {False}


def _pad(rows: Sequence[Sequence[float]], shape: tuple[int, int]) -> Floats:
    padded = np.zeros(shape)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def _pad_words(scores: WordScores, shape: tuple[int, int]) -> Floats:
    """(U, N, W), as wide as the longest."""
    longest = max((len(values) for own in scores for values in own), default=0)
    padded = np.zeros((*shape, max(longest, 1)))
    for u, own in enumerate(scores):
        for n, values in enumerate(own):
            padded[u, n, : len(values)] = values
    return padded


def _same_lengths(words: Mapping[str, WordScores], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(U, N, W): where a word or an end has scores; ValueError where models disagree on that."""
    found: Floats | None = None
    for name, scores in words.items():
        lengths = _pad([[len(values) for values in own] for own in scores], shape)
        if found is not None and (lengths != found).any():
            raise ValueError(f"the word scores {name!r} are not of the same words as the others")
        found = lengths
    if found is None:
        return np.zeros((*shape, 1), np.bool_)
    places: NDArray[np.bool_] = np.arange(int(found.max())) < found[:, :, None]
    return places


def _pad_errors(
    lists: Sequence[NBestList],
    hypotheses: Sequence[Sequence[Hypothesis]],
    references: Mapping[str, str],
    shape: tuple[int, int],
) -> Counts:
    errors = np.zeros((*shape, 3), np.int64)
    for u, (own, texts) in enumerate(zip(lists, hypotheses, strict=True)):
        errors[u, : len(texts)] = count_errors(references[own.id], [h.text for h in texts])
    return errors


def _groups(lists: Sequence[NBestList], *, by_speaker: bool) -> NDArray[np.int64]:
    if not by_speaker:
        return np.arange(len(lists))
    if unknown := [own.id for own in lists if own.speaker is None]:
        raise ValueError(f"the speaker of {unknown[0]!r} is not told: it cannot go by speaker")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(own.speaker or "", len(numbers)) for own in lists])
