"""Kaldi's N-best folder, as `steps/rnnlmrescore.sh` leaves it, and Kaldi text.

    words_text     utt-id-rank w1 w2 ...
    acwt           utt-id-rank acoustic cost, unscaled
    lmwt.nolm      utt-id-rank graph cost without the language model's
    lmwt.lmonly    utt-id-rank the language model's cost

Costs are natural and negated here: `score` the acoustic, `scores` `graph` and `lm`. A missing file
is a missing score. The files are read side by side, so that a folder of any size takes one list's
memory; their keys must be the same in the same order, and the lines of a list stand together, its
first rank 1 (or 0). Written: the same files, and `lmwt.rnn` with
the served model's cost, ranks by the new order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from service.asr.formats.conversions import from_cost, to_cost
from service.asr.formats.ids import word_of_line
from service.asr.formats.text_files import FormatError, keyed_lines, number, open_text
from service.asr.hypotheses import LM, Hypothesis, NBestList

WORDS = "words_text"
ACOUSTIC, GRAPH, OLD_LM, NEW_LM = "acwt", "lmwt.nolm", "lmwt.lmonly", "lmwt.rnn"
_RANK_DIGITS = 9
_NAMES = {GRAPH: "graph", OLD_LM: LM, NEW_LM: "rnn"}


def read(path: Path) -> Iterator[NBestList]:
    """The lists of an N-best folder, or of one file of `utt-id-rank w1 w2 ...` lines."""
    words = path / WORDS if path.is_dir() else path
    costs = {
        name: _costs(path / name)
        for name in (ACOUSTIC, GRAPH, OLD_LM, NEW_LM)
        if path.is_dir() and (path / name).exists()
    }
    keyed = _keyed(words, costs)
    for utterance, group in groupby(keyed, key=lambda pair: pair[0]):
        yield NBestList(id=utterance, hypotheses=tuple(hypothesis for _, hypothesis in group))
    for name, rest in costs.items():
        if (left := next(rest, None)) is not None:
            raise FormatError(path / name, left[0], f"{left[1]!r} is not in {WORDS}")


def _keyed(
    words: Path, costs: dict[str, Iterator[tuple[int, str, float]]]
) -> Iterator[tuple[str, Hypothesis]]:
    """Each line of `words` as its utterance and a hypothesis."""
    before, ranks = "", set[int]()
    for line, key, spoken in keyed_lines(words):
        utterance, rank = _utterance_and_rank(key, words, line)
        if utterance != before:
            before, ranks = utterance, set()
            if rank > 1:
                fault = f"{key!r} is the first of its list, which must stand together from rank 1"
                raise FormatError(words, line, fault)
        if rank in ranks:
            raise FormatError(words, line, f"{key!r} occurs twice")
        ranks.add(rank)
        found = {}
        for name, lines in costs.items():
            own = next(lines, None)
            if own is None or own[1] != key:
                at, there = (own[0], own[1]) if own else (None, "nothing")
                raise FormatError(
                    words.parent / name, at, f"has {there!r} where {WORDS} has {key!r}"
                )
            found[name] = from_cost(own[2])
        yield (
            utterance,
            Hypothesis(
                text=" ".join(spoken.split()),
                score=found.pop(ACOUSTIC, None),
                scores={_NAMES[name]: value for name, value in found.items()},
            ),
        )


def _utterance_and_rank(key: str, path: Path, line: int) -> tuple[str, int]:
    utterance, _, rank = key.rpartition("-")
    if not utterance or not rank.isdecimal() or len(rank) > _RANK_DIGITS:
        raise FormatError(path, line, f"{key[:60]!r} does not end in -RANK")
    return utterance, int(rank)


def _costs(path: Path) -> Iterator[tuple[int, str, float]]:
    for line, key, cost in keyed_lines(path):
        yield line, key, number(cost, path, line, "the cost")


class Writer:
    """An N-best folder, its hypotheses ranked from 1 in the order given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self._files = {
            name: self._stack.enter_context(open_text(folder / name, "w"))
            for name in (WORDS, ACOUSTIC, GRAPH, OLD_LM, NEW_LM)
        }

    def write(self, nbest: NBestList) -> None:
        utterance = word_of_line(nbest.id)
        for rank, own in enumerate(nbest.hypotheses, 1):
            key = f"{utterance}-{rank}"
            self._files[WORDS].write(" ".join((key, *own.words)) + "\n")
            if own.score is not None:
                self._files[ACOUSTIC].write(f"{key} {to_cost(own.score)!r}\n")
            for file, name in _NAMES.items():
                if name in own.scores:
                    self._files[file].write(f"{key} {to_cost(own.scores[name])!r}\n")

    def close(self) -> None:
        """Close the files; those that got no line vanish, for an absent file is an absent score."""
        empty = [own for own in self._files.values() if own.tell() == 0]
        self._stack.close()
        for own in empty:
            Path(own.name).unlink()


class TextWriter:
    """Kaldi text: `utt-id w1 w2 ...` of each list's first hypothesis."""

    def __init__(self, file: object) -> None:
        self._file = file

    def write(self, nbest: NBestList) -> None:
        words = nbest.hypotheses[0].words if nbest.hypotheses else []
        print(word_of_line(nbest.id), *words, file=self._file)  # type: ignore[call-overload]
