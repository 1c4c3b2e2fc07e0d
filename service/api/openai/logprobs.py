"""Log-probabilities in OpenAI's two forms, and those of prompts in vLLM's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.tokenizer import Tokenizer
from service.engine.request import PromptOutput
from service.text.generated_text import ListedToken, id_name, token_bytes_in_place, token_name
from service.text.history import Prompt

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobsForm:
    """How tokens are listed: with how many alternatives each, and by text or by id."""

    tokenizer: Tokenizer
    num_top: int
    as_ids: bool

    def name(self, token_id: int, *, line_start: bool) -> str:
        if self.as_ids:
            return id_name(token_id)
        return token_name(self.tokenizer, token_id, line_start=line_start)

    def own_name(self, token: ListedToken) -> str:
        """What is not shown of a token that a stop string cuts is not in its name either."""
        if token.is_cut and not self.as_ids:
            return token.text
        return self.name(token.id, line_start=token.line_start)

    def completion(self, tokens: Sequence[ListedToken], *, shift: int = 0) -> Json:
        """The four parallel arrays. `shift`: characters of the answer before the tokens' text.

        The token itself is always among its alternatives. Where two alternatives are spelled the
        same, the token itself and then the more probable one keep the name.
        """
        return {
            "tokens": [self.own_name(token) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._top_by_name(token) for token in tokens],
            "text_offset": [token.offset + shift for token in tokens],
        }

    def _top_by_name(self, token: ListedToken) -> Json | None:
        if token.logprob is None:
            return None
        own, named = self.own_name(token), dict[str, float]()
        for token_id, logprob in token.top[: self.num_top]:
            if token_id == token.id:
                named[own] = token.logprob
                continue
            name = self.name(token_id, line_start=token.line_start)
            named[id_name(token_id) if name == own or name in named else name] = logprob
        named.setdefault(own, token.logprob)
        return named

    def chat(self, tokens: Sequence[ListedToken]) -> Json:
        """`{content: [...], refusal: null}`."""
        return {"content": [self._chat_entry(token) for token in tokens], "refusal": None}

    def _chat_entry(self, token: ListedToken) -> Json:
        entry = self._chat_token(token.id, token.logprob, line_start=token.line_start)
        if token.is_cut:
            entry |= {"token": self.own_name(token), "bytes": list(token.text.encode())}
        entry["top_logprobs"] = [
            self._chat_token(token_id, logprob, line_start=token.line_start)
            for token_id, logprob in token.top[: self.num_top]
        ]
        return entry

    def _chat_token(self, token_id: int, logprob: float | None, *, line_start: bool) -> Json:
        return {
            "token": self.name(token_id, line_start=line_start),
            "logprob": logprob,
            "bytes": token_bytes_in_place(self.tokenizer, token_id, line_start=line_start),
        }


def listed_prompt(prompt: Prompt, output: PromptOutput) -> list[ListedToken]:
    """The tokens of the prompt's own text (not those of the history before it), scored."""
    starts, ends = prompt.offsets()
    text = prompt.text
    scores = _scores(prompt, output)
    return [
        ListedToken(
            id=token_id,
            logprob=logprob,
            top=top,
            offset=start,
            text=text[start:end],
            line_start=line_start,
        )
        for (token_id, logprob, top, line_start), start, end in zip(
            scores, starts, ends, strict=True
        )
    ]


def prompt_logprobs(prompt: Prompt, output: PromptOutput, *, num_top: int) -> list[Json | None]:
    """vLLM's form: per token null, or id to `{logprob, rank, decoded_token}`.

    The rank of a token that is not among the `num_top` most probable is null.
    """
    tokenizer = prompt.before.tokenizer
    listed: list[Json | None] = []
    for own_id, own_logprob, top, line_start in _scores(prompt, output):
        if own_logprob is None:
            listed.append(None)
            continue
        ranked: dict[int, tuple[float, int | None]] = {
            token_id: (logprob, rank)
            for rank, (token_id, logprob) in enumerate(top[:num_top], start=1)
        }
        ranked.setdefault(own_id, (own_logprob, None))
        listed.append(
            {
                str(token_id): {
                    "logprob": logprob,
                    "rank": rank,
                    "decoded_token": token_name(tokenizer, token_id, line_start=line_start),
                }
                for token_id, (logprob, rank) in ranked.items()
            }
        )
    return listed


def _scores(
    prompt: Prompt, output: PromptOutput
) -> list[tuple[int, float | None, tuple[tuple[int, float], ...], bool]]:
    """Per token of the text: id, ln P if it has one, alternatives, whether it starts a line."""
    assert output.logprobs is not None
    tokenizer, first = prompt.before.tokenizer, prompt.first
    logprobs = output.logprobs[first:].tolist()
    tops = output.top[first:] if output.top else ((),) * len(logprobs)
    before = prompt.ids[:first]
    line_start = tokenizer.starts_line_after(before[-1]) if before else not prompt.before.in_line
    scores = []
    for token_id, logprob, top in zip(prompt.ids[first:], logprobs, tops, strict=True):
        scores.append((token_id, None if math.isnan(logprob) else logprob, top, line_start))
        line_start = tokenizer.starts_line_after(token_id)
    return scores
