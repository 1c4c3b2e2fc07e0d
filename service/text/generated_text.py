"""Generated text as its reader sees it: token ids in, text and listed tokens out.

What has been taken out never changes, and its sum does not depend on when it is taken: streamed or
not, the same continuation gives the same text and the same tokens. Tokens are named as in the
OpenAI forms, by the text they stand for in the place where they stand; SentencePiece's own names
("▁the") belong to the native endpoints.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

from models.tokenizer import IncrementalDecoder, Tokenizer
from service.text.stop_strings import StopScanner, StopStrings


def token_name(tokenizer: Tokenizer, token_id: int, *, line_start: bool) -> str:
    r"""The token's text; at a line's start without the dummy space, which is not in the text.

    A control token is named by its piece. A byte is written as OpenAI writes it, ``bytes:\xe2``,
    unless it is an ASCII character that has no piece of its own, such as a newline.
    """
    if tokenizer.is_control(token_id):
        return tokenizer.piece(token_id)
    data = tokenizer.token_bytes(token_id)
    if tokenizer.is_byte(token_id):
        if data.isascii() and data != b" " and tokenizer.piece_to_id(data.decode()) is None:
            return data.decode()
        return f"bytes:\\x{data[0]:02x}"
    name = data.decode()
    return name[1:] if line_start and name.startswith(" ") else name


def token_bytes_in_place(
    tokenizer: Tokenizer, token_id: int, *, line_start: bool
) -> list[int] | None:
    """The token's share of the text's UTF-8 bytes; None for a control token, which has none."""
    if tokenizer.is_control(token_id):
        return None
    data = tokenizer.token_bytes(token_id)
    return list(data[1:] if line_start and data.startswith(b" ") else data)


def id_name(token_id: int) -> str:
    """A name no other token can have, in vLLM's form (`return_tokens_as_token_ids`)."""
    return f"token_id:{token_id}"


FinishReason = Literal["stop", "length"]
TopLogprobs = tuple[tuple[int, float], ...]  # (token id, ln P), most probable first


class GeneratedToken(Protocol):
    """One token as an engine tells of it; logprob: its ln P by the model."""

    @property
    def token_id(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def top(self) -> TopLogprobs: ...
    @property
    def finish_reason(self) -> FinishReason | None: ...


@dataclass(slots=True, kw_only=True)
class ListedToken:
    """A token with its place in the text.

    text: what it adds to the text; offset: characters before that. A character spelled in bytes
    comes with the last of them, and the tokens of the others add nothing. The U+FFFD of bytes that
    are no UTF-8 may be in no token's text.
    line_start: it stands where a line starts, so that its dummy space is not in the text.
    is_cut: a stop string begins inside it; its text ends before.
    """

    id: int
    logprob: float | None
    top: TopLogprobs
    offset: int
    text: str
    line_start: bool
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRules:
    """What all continuations of a request share.

    stops: stop strings; they are not looked for in the text of the first `min_tokens` tokens.
    list_tokens: keep each token beside the text.
    shows_stop: the stop string that ends a text is shown.
    stop_token_ids: those of a request's own, to be told where one of them ends a text.
    """

    tokenizer: Tokenizer
    stops: StopStrings | None
    min_tokens: int
    list_tokens: bool
    shows_stop: bool = False
    stop_token_ids: frozenset[int] = frozenset()


class Continuation:
    """Grows by `push`; `take` hands out what is new and certain."""

    def __init__(self, rules: TextRules, *, in_line: bool) -> None:
        """`in_line`: the text before this one ends in the middle of a line."""
        self._rules = rules
        self._decoder = IncrementalDecoder(rules.tokenizer, continuation=in_line)
        self._scanner = (
            StopScanner(rules.stops, shows_stop=rules.shows_stop) if rules.stops else None
        )
        self._line_start = not in_line
        self._decoded = 0  # characters of the text, shown or held back
        self._shown = 0
        self._new: list[str] = []
        self._tokens: deque[ListedToken] = deque()
        self.num_tokens = 0
        self.logprob = 0.0
        self.finish_reason: FinishReason | None = None
        # The stop string, or the stop token of the request's own, that ended the text.
        self.stop_reason: str | int | None = None

    @property
    def mean_logprob(self) -> float:
        return self.logprob / self.num_tokens if self.num_tokens else 0.0

    def push(self, token: GeneratedToken) -> bool:
        """Take the next token. True if it completed a stop string and the engine should end it.

        Tokens that were on their way when a stop string was found are left out of account.
        """
        if self.finish_reason is not None:
            return False
        self.num_tokens += 1
        self.logprob += token.logprob
        text = self._decoder.push(token.token_id)
        is_last = token.finish_reason is not None
        if is_last:
            text += self._decoder.flush()
        if self._rules.list_tokens:
            self._list(token, text)
        self._decoded += len(text)
        is_stopped = self._show(text, is_last=is_last)
        self.finish_reason = "stop" if is_stopped else token.finish_reason
        if is_stopped and self._scanner is not None:
            self.stop_reason = self._scanner.stopped_by
        elif token.finish_reason == "stop" and token.token_id in self._rules.stop_token_ids:
            self.stop_reason = token.token_id
        return is_stopped and not is_last

    def _show(self, text: str, *, is_last: bool) -> bool:
        """Pass on what is certain of `text`; whether a stop string was complete."""
        scanner = self._scanner
        if scanner is not None:
            if self.num_tokens > self._rules.min_tokens:
                text = scanner.push(text)
            if is_last:
                text += scanner.flush()
        if text:
            self._shown += len(text)
            self._new.append(text)
        return scanner is not None and scanner.stopped

    def _list(self, token: GeneratedToken, text: str) -> None:
        tokenizer = self._rules.tokenizer
        # Bytes before this token that turned out to be no UTF-8 come out as U+FFFD only now.
        num_late = 0
        if text.startswith("\ufffd"):
            own = token_bytes_in_place(tokenizer, token.token_id, line_start=self._line_start)
            own_bytes = bytes(own or ())
            if not tokenizer.is_byte(token.token_id) or own_bytes.isascii():
                num_late = len(text) - len(own_bytes.decode())
        self._tokens.append(
            ListedToken(
                id=token.token_id,
                logprob=token.logprob,
                top=token.top,
                offset=self._decoded + num_late,
                text=text[num_late:],
                line_start=self._line_start,
            )
        )
        self._line_start = tokenizer.starts_line_after(token.token_id)

    def take(self) -> tuple[str, list[ListedToken]]:
        """The text and the tokens that became certain since the last call."""
        text = self._new[0] if len(self._new) == 1 else "".join(self._new)
        self._new.clear()
        return text, self._certain_tokens() if self._tokens else []

    def take_pieces(self) -> list[str]:
        """The text that became certain since the last call, as it did: a piece a token."""
        pieces, self._new = self._new, []
        return pieces

    def _certain_tokens(self) -> list[ListedToken]:
        """Those whose text is shown, and at the end the rest, cut where the text is cut."""
        taken: list[ListedToken] = []
        is_cut = self._scanner is not None and self._scanner.stopped
        is_open = self.finish_reason is None
        while self._tokens:
            token = self._tokens[0]
            end = token.offset + len(token.text)
            if self._scanner is not None and (is_open or is_cut):
                # A token that adds nothing may begin a character of a stop string.
                if token.offset >= self._shown or (is_open and end > self._shown):
                    break
                if end > self._shown:
                    token.text, token.is_cut = token.text[: self._shown - token.offset], True
            taken.append(self._tokens.popleft())
        if not is_open:
            self._tokens.clear()
        return taken
