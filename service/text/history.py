"""From text to the engine's token sequences: contexts, states, texts and control tokens. Pure.

A `History` grows by text, by token ids and by control tokens. What can no longer change is in its
token ids; the text of the unfinished last chunk is kept as text. Hence a history that went through
a sealed state gives the same tokens as one that was sent whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from models.pretokenize import MAX_WORD
from models.tokenizer import IncrementalDecoder, Tokenizer
from service.engine_state import EngineState

# A chunk that touches the text before a seam ends at most this many characters after it.
_CHUNK_REACH = MAX_WORD + 2
# Characters that are segmented in one go.
_PIECE = 1 << 16


class TooManyTokensError(ValueError):
    """More tokens than a caller allows. count: how many there are at least."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} tokens or more")
        self.count = count


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """A sequence up to now.

    start: the engine's state that the sequence continues; None from nothing.
    ids: the canonical tokens after `start` that no later text can change, control tokens included.
    pending: text after `ids` whose segmentation is still open, at most 33 characters.
    continuation: what follows `ids` goes on in the middle of a line.
    """

    tokenizer: Tokenizer
    start: EngineState | None = None
    ids: tuple[int, ...] = ()
    pending: str = ""
    continuation: bool = False

    @property
    def in_line(self) -> bool:
        """Whether the next text goes on in the middle of a line."""
        return bool(self.pending) or self.continuation

    def tokens(self) -> tuple[int, ...]:
        """The whole sequence after `start`, as a prompt: the pending text is taken as finished."""
        return (*self.ids, *self.tokenizer.encode(self.pending, continuation=self.continuation))

    def with_text(self, text: str, *, max_tokens: int | None = None) -> History:
        """The history followed by `text`; TooManyTokensError above `max_tokens` final tokens.

        Taken in pieces: what is too long is noticed early, and other threads have their turns.
        """
        tokenizer, ids = self.tokenizer, list(self.ids)
        pending, continuation = self.pending, self.continuation
        for first in range(0, len(text), _PIECE):
            final, pending = tokenizer.split_pending(pending + text[first : first + _PIECE])
            ids += tokenizer.encode(final, continuation=continuation)
            continuation = not tokenizer.line_start_after(final, continuation=continuation)
            if max_tokens is not None and len(ids) > max_tokens:
                raise TooManyTokensError(len(ids))
        return replace(self, ids=tuple(ids), pending=pending, continuation=continuation)

    def with_control(self, token_id: int) -> History:
        """The history followed by a control token (a role, end of turn); a line starts after it."""
        return replace(self, ids=(*self.tokens(), token_id), pending="", continuation=False)

    def with_ids(self, ids: Iterable[int]) -> History:
        """The history followed by the text that `ids` stand for, in its canonical segmentation.

        Control tokens among them stay what they are. Bytes that are no UTF-8 become U+FFFD.
        """
        # Not with_control, which copies all ids so far: many control tokens would take quadratic
        # time.
        grown = list(self.ids)
        history = replace(self, ids=())
        for is_control, run in groupby(ids, self.tokenizer.is_control):
            if is_control:
                grown += (*history.tokens(), *run)
                history = History(tokenizer=self.tokenizer, start=self.start)
            else:
                history = history.with_text(
                    self.tokenizer.decode(run, continuation=history.in_line)
                )
                grown += history.ids
                history = replace(history, ids=())
        return replace(history, ids=tuple(grown))


def begin(tokenizer: Tokenizer, *, bos: bool) -> History:
    """The empty sequence, with or without its begin-of-sequence token."""
    return History(tokenizer=tokenizer, ids=(tokenizer.bos_id,) if bos else ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A text behind a history, ready for the engine.

    before: the history.
    ids: the tokens of history and text, and end-of-sequence where it was asked for.
    first: how many leading `ids` belong to the history. A token that reaches from the history
        into the text belongs to the text.
    source: the text as the client gave it.
    after: the canonical history after the text (without end-of-sequence).
    """

    before: History
    ids: tuple[int, ...]
    first: int
    source: str | Sequence[int]
    after: History

    @property
    def text(self) -> str:
        """The text, decoded where it was given as token ids."""
        if isinstance(self.source, str):
            return self.source
        return self.before.tokenizer.decode(self.source, continuation=self.before.in_line)

    @property
    def ends_in_line(self) -> bool:
        """Whether what follows the prompt's tokens goes on in the middle of a line."""
        if not self.ids:
            return self.before.in_line
        return not self.before.tokenizer.starts_line_after(self.ids[-1])

    @property
    def state_at(self) -> int | None:
        """After how many of `ids` the engine's state is the one of `after`.

        None where it is not on the way: before the first token, or because the given ids are not
        the canonical segmentation of their text.
        """
        count = len(self.after.ids)
        return count if count and self.ids[:count] == self.after.ids else None

    def with_start(self, start: EngineState | None) -> Prompt:
        """The same tokens continuing another state."""
        return replace(
            self,
            before=replace(self.before, start=start),
            after=replace(self.after, start=start),
        )

    def offsets(self) -> tuple[list[int], list[int]]:
        """Characters of the text from which and to which each of ``ids[first:]`` reaches."""
        tokenizer, before = self.before.tokenizer, self.before
        if isinstance(self.source, str):
            encoding = tokenizer.encode_with_offsets(
                before.pending + self.source, continuation=before.continuation
            )
            skipped, shift = self.first - len(before.ids), len(before.pending)
            starts = [max(0, start - shift) for start in encoding.starts[skipped:]]
            ends = [end - shift for end in encoding.ends[skipped:]]
        else:
            ends = _ends(tokenizer, self.source, continuation=before.in_line)
            starts = [0, *ends[:-1]] if ends else []
        if len(self.ids) > self.first + len(ends):  # end-of-sequence
            starts.append(ends[-1] if ends else 0)
            ends.append(starts[-1])
        return starts, ends


def build_prompts(
    befores: Iterable[History],
    sources: Iterable[str | Sequence[int]],
    *,
    eos: bool,
    max_tokens: int,
) -> list[Prompt]:
    """Each of `sources` behind the history in its place.

    Raises TooManyTokensError as soon as there are more than `max_tokens` beyond the histories'.
    """
    prompts: list[Prompt] = []
    total = 0
    for before, source in zip(befores, sources, strict=True):
        # What is left for this one: a text of many megabytes is not segmented in vain.
        limit = max_tokens - total + len(before.ids)
        if not isinstance(source, str) and len(source) > limit:
            raise TooManyTokensError(total + len(source))
        prompt = build_prompt(before, source, eos=eos, max_tokens=limit)
        total += len(prompt.ids) - len(before.ids)
        if total > max_tokens:
            raise TooManyTokensError(total)
        prompts.append(prompt)
    return prompts


def build_prompt(
    before: History, source: str | Sequence[int], *, eos: bool, max_tokens: int | None = None
) -> Prompt:
    """`source` behind `before`; token ids are taken as they are, not re-segmented.

    Raises TooManyTokensError where a text has more than `max_tokens`, those of `before` included.
    """
    if isinstance(source, str):
        after = before.with_text(source, max_tokens=max_tokens)
    else:
        after = before.with_ids(source)
    if isinstance(source, str):
        ids, first = after.tokens(), len(before.ids) + _tokens_before_seam(before, source)
    else:
        history = before.tokens()
        ids, first = (*history, *source), len(history)
    if eos:
        ids = (*ids, before.tokenizer.eos_id)
    return Prompt(before=before, ids=ids, first=first, source=source, after=after)


def _tokens_before_seam(before: History, text: str) -> int:
    """How many tokens of ``pending + text`` end within the pending text."""
    seam = len(before.pending)
    if not seam:
        return 0
    around = (before.pending + text)[: seam + _CHUNK_REACH]
    encoding = before.tokenizer.encode_with_offsets(around, continuation=before.continuation)
    return bisect_right(encoding.ends, seam)


def _ends(tokenizer: Tokenizer, ids: Sequence[int], *, continuation: bool) -> list[int]:
    """Ends of the tokens' spans in their decoded text, in the convention of `Encoding`."""
    decoder = IncrementalDecoder(tokenizer, continuation=continuation)
    widths = [len(decoder.push(token_id)) for token_id in ids]
    if widths:
        widths[-1] += len(decoder.flush())
    # A character spelled in bytes comes out with its last byte but is its first byte's.
    first_byte: int | None = None
    for k, token_id in enumerate(ids):
        if not tokenizer.is_byte(token_id):
            first_byte = None
        elif widths[k] == 0:
            first_byte = k if first_byte is None else first_byte
        elif first_byte is not None:
            widths[first_byte], widths[k] = widths[k], 0
            first_byte = None
    return list(accumulate(widths))
