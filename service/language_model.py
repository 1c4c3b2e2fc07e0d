"""A checkpoint in this process: the service's engine and figures, without the service.

    with LanguageModel.load("models/pretrained/en-small") as model:
        print(model.score("the cat sat on the mat").word_perplexity)

The same numbers as over HTTP, to the last bit. Methods may be called from several threads, whose
requests then share the engine's steps. Neither FastAPI nor torch is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.chat_template import ChatTemplate
from service.engine.request import SamplingParams
from service.results import Generated, TextState
from service.sampling_fields import resolve_sampling
from service.text.conversation import Conversation
from service.text.generated_text import Continuation
from service.text.history import build_prompt
from service.text_scorer import TextScorer

Message = Mapping[str, str]

_CHAT_MAX_TOKENS = 1024


class LanguageModel(TextScorer):
    """Scores, distributions, rankings (see `TextScorer`) and texts of one checkpoint."""

    def generate(self, prompt: str = "", **options: Any) -> Generated:
        """One continuation; options as those of `sample`."""
        return self.sample(prompt, 1, **options)[0]

    def sample(
        self,
        prompt: str = "",
        n: int = 1,
        *,
        state: TextState | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
        return_state: bool = False,
        **fields: Any,
    ) -> list[Generated]:
        """`n` continuations of a prompt.

        fields: `max_tokens`, `temperature`, `top_p` and so on, as `POST /v1/completions` names
        them; where one is not given, the checkpoint's default. stop: strings that end the text.
        """
        before = self._begin("", state, bos=True)
        sampling = self._sampling((self.tokenizer.eos_id,), seed, {"n": n, **fields})
        built = build_prompt(before, prompt, eos=False)
        grown = _last(self._texts.continuations(built, sampling, _strings(stop)))
        texts = [continuation.take()[0] for continuation in grown]
        states: Sequence[TextState | None] = [None] * n
        if return_state:
            states = self._settled([built.after.with_text(text) for text in texts])
        return [
            _generated(continuation, text, sampling.seed, after)
            for continuation, text, after in zip(grown, texts, states, strict=True)
        ]

    def stream(
        self,
        prompt: str = "",
        *,
        state: TextState | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
        **fields: Any,
    ) -> Iterator[str]:
        """One continuation, a piece of text at a time; leaving early ends the work."""
        before = self._begin("", state, bos=True)
        sampling = self._sampling((self.tokenizer.eos_id,), seed, fields)
        built = build_prompt(before, prompt, eos=False)
        for (grown,) in self._texts.continuations(built, sampling, _strings(stop)):
            text, _ = grown.take()
            if text:
                yield text

    def chat(
        self,
        messages: Sequence[Message],
        *,
        state: TextState | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
        return_state: bool = False,
        **fields: Any,
    ) -> Generated:
        """The assistant's next turn. messages: each {"role": ..., "content": ...}.

        With the `state` of an earlier answer, the new messages alone.
        """
        template = self._template()
        sampling = self._sampling(
            template.stop_ids, seed, {"max_tokens": _CHAT_MAX_TOKENS, **fields}
        )
        before = self._begin("", state, bos=True)
        conversation = Conversation(template)
        turns = ((message["role"], message["content"]) for message in messages)
        built = conversation.prompt(before, turns)
        (grown,) = _last(self._texts.continuations(built, sampling, _strings(stop)))
        text, _ = grown.take()
        end = conversation.close(built.after, text)
        state_after = self._settled([end])[0] if return_state else None
        return _generated(grown, text, sampling.seed, state_after)

    def _sampling(
        self, end_ids: Sequence[int], seed: int | None, fields: Mapping[str, Any]
    ) -> SamplingParams:
        defaults = self.facts.sampling_defaults
        return resolve_sampling(self.tokenizer, defaults, end_ids, {"seed": seed, **fields})

    def _template(self) -> ChatTemplate:
        declared = self.facts.chat_template
        if declared is None:
            raise ValueError(f"{self.facts.name!r} was not trained for chat; use generate")
        return ChatTemplate.of(self.tokenizer, declared)


def _strings(stop: str | Sequence[str]) -> Sequence[str]:
    return [stop] if isinstance(stop, str) else stop


def _last(grown: Iterator[list[Continuation]]) -> list[Continuation]:
    """The continuations when all of them have ended."""
    *_, last = grown
    return last


def _generated(grown: Continuation, text: str, seed: int, state: TextState | None) -> Generated:
    assert grown.finish_reason is not None
    return Generated(
        text=text,
        finish_reason=grown.finish_reason,
        num_tokens=grown.num_tokens,
        logprob=grown.logprob,
        seed=seed,
        state=state,
    )
