"""OpenAI's own client, with its strict validation of answers wherever its types permit that."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conformance.conftest import Service

PROMPT = "It was a dark and"
SAMPLING: dict[str, Any] = {"max_tokens": 12, "seed": 7, "temperature": 0.9}
MESSAGES: Any = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello, how are you?"},
]


@pytest.fixture
def strict(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=service.base_url,
        api_key=service.api_key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
def lenient(service: Service) -> Iterator[openai.OpenAI]:
    """For answers that OpenAI's API gives and its client's types do not know.

    The chunks of a completion have `finish_reason` null until the last, and an echoed prompt's
    first token may have a log-probability of null; `Completion` allows neither.
    """
    with openai.OpenAI(base_url=service.base_url, api_key=service.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def model(service: Service) -> str:
    return service.model


def test_models(strict: openai.OpenAI, model: str) -> None:
    listed = list(strict.models.list())
    assert listed[0].id == model
    assert strict.models.retrieve(model) == strict.models.retrieve("default")
    assert strict.models.retrieve(model).object == "model"


def test_a_completion(strict: openai.OpenAI, model: str) -> None:
    answer = strict.completions.create(model=model, prompt=PROMPT, logprobs=3, **SAMPLING)
    (choice,) = answer.choices
    assert answer.object == "text_completion"
    assert choice.finish_reason in ("stop", "length")
    logprobs, usage = choice.logprobs, answer.usage
    ended = choice.finish_reason == "stop"  # the end token has a probability, but no text
    assert "".join(logprobs.tokens) == choice.text + "</s>" * ended
    assert logprobs.text_offset[0] == 0
    for token, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[token] == logprob <= 0
        assert 3 <= len(top) <= 4
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == len(logprobs.tokens)
    again = strict.completions.create(model="default", prompt=PROMPT, logprobs=3, **SAMPLING)
    assert again.choices == answer.choices


def test_several_prompts_and_choices(strict: openai.OpenAI, model: str) -> None:
    prompts = [PROMPT, "the train to the", ""]
    answer = strict.completions.create(model=model, prompt=prompts, n=2, **SAMPLING)
    assert [choice.index for choice in answer.choices] == list(range(6))
    alone = strict.completions.create(model=model, prompt=prompts[1], n=2, **SAMPLING)
    assert len({choice.text for choice in alone.choices}) == 2


def test_a_prompt_of_token_ids_and_its_echo(strict: openai.OpenAI, model: str) -> None:
    scored = strict.completions.create(
        model=model, prompt=PROMPT, max_tokens=1, echo=True, logprobs=1
    ).choices[0]
    assert scored.text.startswith(PROMPT)
    # Begin-of-sequence stands before the text and gives its first token a score.
    assert all(logprob < 0 for logprob in scored.logprobs.token_logprobs)
    assert len(scored.logprobs.tokens) == len(scored.logprobs.text_offset)


def test_the_first_of_given_token_ids_has_no_probability(
    lenient: openai.OpenAI, model: str
) -> None:
    prompt = [1, 300, 301]
    choice = lenient.completions.create(
        model=model, prompt=prompt, max_tokens=1, echo=True, logprobs=1
    ).choices[0]
    assert choice.logprobs.token_logprobs[0] is None
    assert len(choice.logprobs.token_logprobs) == 4


def test_a_stream_is_the_whole_in_pieces(lenient: openai.OpenAI, model: str) -> None:
    whole = lenient.completions.create(model=model, prompt=PROMPT, logprobs=1, **SAMPLING)
    chunks = list(
        lenient.completions.create(
            model=model,
            prompt=PROMPT,
            logprobs=1,
            stream=True,
            stream_options={"include_usage": True},
            **SAMPLING,
        )
    )
    *parts, last = chunks
    assert last.choices == []
    assert last.usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert parts[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    listed = [part.choices[0].logprobs for part in parts if part.choices[0].logprobs]
    tokens = [token for logprobs in listed for token in logprobs.tokens]
    assert tokens == whole.choices[0].logprobs.tokens


def test_chat(strict: openai.OpenAI, model: str) -> None:
    answer = strict.chat.completions.create(
        model=model,
        messages=MESSAGES,
        max_completion_tokens=20,
        seed=3,
        logprobs=True,
        top_logprobs=2,
    )
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    entries = choice.logprobs.content
    spelled = b"".join(bytes(entry.bytes) for entry in entries if entry.bytes is not None)
    assert spelled.decode() == choice.message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 2
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob


def test_a_chat_stream_is_the_whole_in_pieces(strict: openai.OpenAI, model: str) -> None:
    fields: dict[str, Any] = {"model": model, "messages": MESSAGES, "seed": 5, "logprobs": True}
    fields["max_completion_tokens"] = 20
    whole = strict.chat.completions.create(**fields)
    chunks = list(
        strict.chat.completions.create(
            **fields, stream=True, stream_options={"include_usage": True}
        )
    )
    *parts, last = chunks
    assert (last.choices, last.usage) == ([], whole.usage)
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == whole.choices[0].message.content
    listed = [part.choices[0].logprobs for part in parts if part.choices[0].logprobs]
    entries = [entry for logprobs in listed for entry in logprobs.content]
    assert entries == whole.choices[0].logprobs.content


def test_stop_strings(strict: openai.OpenAI, model: str) -> None:
    text = strict.completions.create(model=model, prompt=PROMPT, **SAMPLING).choices[0].text
    stop = text[len(text) // 2 :][:3]
    (choice,) = strict.completions.create(
        model=model, prompt=PROMPT, stop=[stop], **SAMPLING
    ).choices
    assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")


def test_what_goes_beyond_openai(lenient: openai.OpenAI, model: str) -> None:
    """vLLM's fields, and the state of a conversation, through `extra_body`."""
    fields: dict[str, Any] = {"model": model, "max_tokens": 6}
    greedy = lenient.completions.create(prompt=PROMPT, temperature=0, **fields)
    best = lenient.completions.create(prompt=PROMPT, extra_body={"top_k": 1}, **fields)
    assert best.choices[0].text == greedy.choices[0].text
    begun = lenient.completions.create(
        model=model, prompt="It was a", max_tokens=0, extra_body={"return_state": True}
    )
    state = {"state": begun.choices[0].state}
    resumed = lenient.completions.create(
        prompt=" dark and", temperature=0, extra_body=state, **fields
    )
    assert resumed.choices[0].text == greedy.choices[0].text


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model", "model_not_found"),
        ({"temperature": 3}, openai.BadRequestError, "temperature", "invalid_value"),
        ({"max_tokens": "many"}, openai.BadRequestError, "max_tokens", "invalid_value"),
        ({"suffix": "."}, openai.BadRequestError, "suffix", "unsupported_field"),
        ({"prompt": [10**6]}, openai.BadRequestError, "prompt.0", "invalid_value"),
        ({"max_tokens": 10**6}, openai.BadRequestError, "max_tokens", "limit_exceeded"),
        ({"extra_body": {"state": "no"}}, openai.BadRequestError, "state", "invalid_state"),
        (
            {"extra_body": {"allowed_token_ids": [2], "min_tokens": 1}},
            openai.BadRequestError,
            "min_tokens",
            "invalid_value",
        ),
        (
            {"extra_body": {"allowed_token_ids": [2], "use_beam_search": True}, "n": 2},
            openai.BadRequestError,
            "n",
            "impossible_request",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_typed_errors(
    strict: openai.OpenAI,
    model: str,
    fields: dict[str, Any],
    kind: type[openai.APIStatusError],
    param: str,
    code: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as refusal:
        strict.completions.create(**{"model": model, "prompt": PROMPT, **fields, "stream": stream})
    error = refusal.value
    assert (error.param, error.code) == (param, code)
    assert error.type == "invalid_request_error"
    assert error.request_id
    assert param in error.message


def test_a_wrong_key(service: Service) -> None:
    client = openai.OpenAI(base_url=service.base_url, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as refusal:
        client.models.list()
    assert refusal.value.code == "invalid_api_key"


async def _many(service: Service) -> tuple[list[str], list[str]]:
    """Texts of twelve completions asked for one by one, and all at once."""
    async with openai.AsyncOpenAI(base_url=service.base_url, api_key=service.api_key) as client:

        async def ask(seed: int) -> str:
            answer = await client.completions.create(
                model=service.model, prompt=PROMPT, max_tokens=20, seed=seed
            )
            text: str = answer.choices[0].text
            return text

        # One that leaves in the middle disturbs nobody.
        stream = await client.completions.create(
            model=service.model, prompt=PROMPT, max_tokens=2000, stream=True
        )
        await anext(aiter(stream))
        together = asyncio.gather(*map(ask, range(12)))
        await stream.close()
        return [await ask(seed) for seed in range(12)], list(await together)


def test_company_changes_nothing(service: Service) -> None:
    alone, together = asyncio.run(_many(service))
    assert together == alone
    assert len(set(alone)) > 1


def test_probabilities_are_those_of_the_model(strict: openai.OpenAI, model: str) -> None:
    """The greedy token is the most probable one, and alternatives leave room for the rest."""
    choice = strict.completions.create(
        model=model, prompt=PROMPT, temperature=0, max_tokens=5, logprobs=20
    ).choices[0]
    for token, top in zip(choice.logprobs.tokens, choice.logprobs.top_logprobs, strict=True):
        assert top[token] == max(top.values())
        assert sum(math.exp(logprob) for logprob in top.values()) <= 1 + 1e-5
