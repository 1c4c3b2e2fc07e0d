"""SRILM's three forms of N-best lists, a file for each utterance (nbest-format(5)).

    NBestList1.0   (score) w1 w2 ...                                       bytelogs
    NBestList2.0   (score) w1 ( st: 0.1 et: 0.5 g: -12 a: -300 ) w2 ...      bytelogs
    neither        ascore lscore nwords w1 w2 ...                          base 10

The first form's score is composite. The second's acoustic score is the composite less the words'
language model scores, as SRILM takes it; entries that lie within the word before them are phones
and states, and are skipped. `<s>`, `</s>` and the pause `-pau-` are no words.
`nwords` is kept: it need not be the number of the words that follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from service.asr.formats.conversions import from_bytelog, from_log10, to_bytelog, to_log10
from service.asr.formats.ids import file_name
from service.asr.formats.text_files import (
    FormatError,
    number,
    numbered_lines,
    open_text,
    stem,
    utterance_files,
)
from service.asr.hypotheses import LM, Hypothesis, NBestList

Form = Literal["plain", "NBestList1.0", "NBestList2.0"]
DECIPHER_1, DECIPHER_2 = "NBestList1.0", "NBestList2.0"
_NO_WORDS = ("<s>", "</s>", "-pau-")
_FIELDS = 11  # word ( st: start et: end g: language a: acoustic )


def read(path: Path) -> Iterator[NBestList]:
    """The lists of a file, of a folder of files, or of a `.list` of paths."""
    for file in utterance_files(path):
        yield NBestList(id=stem(file), hypotheses=tuple(_read_one(file)))


def _read_one(path: Path) -> Iterator[Hypothesis]:
    form: str | None = None
    for line, text in numbered_lines(path):
        if form is None and text.startswith("NBestList"):
            form = text.split()[0]
            if form not in (DECIPHER_1, DECIPHER_2):
                raise FormatError(path, line, f"unknown form {form!r}")
            continue
        form = form or "plain"
        if form == DECIPHER_2:
            yield _decipher_2(text, path, line)
        elif form == DECIPHER_1:
            total, words = _composite(text, path, line)
            yield Hypothesis(text=_join(words), score=total)
        else:
            yield _plain(text, path, line)


def _composite(text: str, path: Path, line: int) -> tuple[float, list[str]]:
    inside, bracket, rest = text.partition(")")
    if not text.startswith("(") or not bracket:
        raise FormatError(path, line, "does not begin with '(score)'")
    return from_bytelog(number(inside[1:], path, line, "the score")), rest.split()


def _decipher_2(text: str, path: Path, line: int) -> Hypothesis:
    total, fields = _composite(text, path, line)
    if len(fields) % _FIELDS:
        raise FormatError(path, line, f"has {len(fields)} fields, not {_FIELDS} for each word")
    words, language, times, until = [], 0.0, [], float("-inf")
    for at in range(0, len(fields), _FIELDS):
        word, values = fields[at], fields[at + 3 : at + _FIELDS : 2]
        marks = [fields[at + 1], *fields[at + 2 : at + _FIELDS - 1 : 2], fields[at + _FIELDS - 1]]
        if marks != ["(", "st:", "et:", "g:", "a:", ")"]:
            raise FormatError(path, line, f"after {word!r} comes no ( st: et: g: a: )")
        start, end, own, acoustic = (
            number(value, path, line, f"a field of {word!r}") for value in values
        )
        if end <= until and start < until:
            continue  # a phone or a state of the word before
        until = end
        language += from_bytelog(own)
        words.append(word)
        times.append({"word": word, "start": start, "end": end, "lm": own, "acoustic": acoustic})
    return Hypothesis(
        text=_join(words), score=total - language, scores={LM: language}, extra={"words": times}
    )


def _plain(text: str, path: Path, line: int) -> Hypothesis:
    fields = text.split()
    if len(fields) < 3:
        raise FormatError(path, line, "has no 'ascore lscore nwords w1 ...'")
    acoustic, language, count = (
        number(value, path, line, name)
        for value, name in zip(fields, ("ascore", "lscore", "nwords"), strict=False)
    )
    return Hypothesis(
        text=_join(fields[3:]),
        score=from_log10(acoustic),
        scores={LM: from_log10(language)},
        extra={"nwords": count},
    )


def _join(words: list[str]) -> str:
    return " ".join(word for word in words if word not in _NO_WORDS)


class Writer:
    """A folder with a file for each list. The second form needs the words' times, as read."""

    def __init__(self, folder: Path, form: Form = "plain") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._form = folder, form
        self._written: set[str] = set()

    def write(self, nbest: NBestList) -> None:
        """ValueError for an id that cannot name a file, or has one already."""
        name = file_name(nbest.id, self._written)
        with open_text(self._folder / f"{name}.gz", "w") as file:
            if self._form != "plain":
                file.write(f"{self._form}\n")
            for own in nbest.hypotheses:
                file.write(self._line(own) + "\n")

    def _line(self, own: Hypothesis) -> str:
        score, language = own.score or 0.0, own.scores.get(LM, 0.0)
        if self._form == "plain":
            count = own.extra.get("nwords", len(own.words))
            head = f"{to_log10(score)!r} {to_log10(language)!r} {count:g}"
            return " ".join((head, *own.words))
        if self._form == DECIPHER_1:
            return " ".join((f"({to_bytelog(score + language)})", *own.words))
        words = own.extra.get("words")
        if words is None:
            raise ValueError(f"{DECIPHER_2} needs the words' times, which this list has not")
        spelled = " ".join(
            f"{word['word']} ( st: {word['start']:g} et: {word['end']:g} "
            f"g: {word['lm']:g} a: {word['acoustic']:g} )"
            for word in words
        )
        return f"({to_bytelog(score + language)}) {spelled}".rstrip()
