"""The model in process answers as the service does, to the last bit."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import PROJECT, SHIPPED
from models.checkpoint import CheckpointError
from service.app import create_app
from service.language_model import LanguageModel
from service.results import TextState
from service.settings import Settings
from tests.service.conftest import running

TEXTS = ["the cat sat on the mat", "Colourless green ideas sleep furiously.", "", "it's 5 o'clock"]
CONTEXT = "She opened the door and said"


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    with LanguageModel.load(SHIPPED) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def ask() -> Any:
    """Answers of the service for (path, body) pairs, from an engine of its own."""

    def answers(*requests: tuple[str, dict[str, Any]]) -> list[Any]:
        async def all_of_them() -> list[Any]:
            async with running(create_app(Settings(engine="thread"))) as client:
                found = []
                for path, body in requests:
                    response = await client.post(path, json=body)
                    assert response.status_code == 200, response.text
                    found.append(response.json())
                return found

        return asyncio.run(all_of_them())

    return answers


def test_scores_are_those_of_the_service(model: LanguageModel, ask: Any) -> None:
    body = {"texts": TEXTS, "detail": "tokens", "top_logprobs": 2, "context": CONTEXT}
    (answer,) = ask(("/v1/score", body))
    found = model.score(TEXTS, detail="tokens", top_logprobs=2, context=CONTEXT)
    for ours, theirs in zip(found, answer["data"], strict=True):
        assert ours.tokens is not None
        assert ours.words is not None
        assert ours.logprob == theirs["logprob"]
        assert ours.bits_per_byte == theirs["bits_per_byte"]
        assert [token.logprob for token in ours.tokens] == [t["logprob"] for t in theirs["tokens"]]
        assert [(w.word, w.logprob) for w in ours.words] == [
            (word["word"], word["logprob"]) for word in theirs["words"]
        ]
        top = [[(t.id, t.logprob) for t in token.top_logprobs or ()] for token in ours.tokens]
        assert top == [
            [(t["id"], t["logprob"]) for t in token["top_logprobs"]] for token in theirs["tokens"]
        ]


def test_what_comes_next_is_that_of_the_service(model: LanguageModel, ask: Any) -> None:
    tokens, words = ask(
        ("/v1/next-token", {"context": CONTEXT, "top_k": 3, "tokens": ["▁the"], "full": True}),
        ("/v1/next-word", {"context": CONTEXT, "top_k": 3, "words": ["banana", "nothing"]}),
    )
    next_tokens = model.next_token(CONTEXT, top_k=3, tokens=["▁the"], full=True)
    assert [t.logprob for t in next_tokens.top] == [t["logprob"] for t in tokens["top"]]
    assert [t.logprob for t in next_tokens.tokens] == [t["logprob"] for t in tokens["tokens"]]
    assert next_tokens.logprobs is not None
    assert next_tokens.logprobs.tolist() == tokens["logprobs"]
    next_words = model.next_word(CONTEXT, top_k=3, words=["banana", "nothing"])
    for ours, theirs in ((next_words.top, words["top"]), (next_words.words, words["words"])):
        assert [(w.word, w.logprob) for w in ours] == [(w["word"], w["logprob"]) for w in theirs]
    assert next_words.unexplored_mass == words["unexplored_mass"]
    assert next_words.context_end_logprob == words["context_end_logprob"]


def test_seeds_give_the_texts_of_the_service(model: LanguageModel, ask: Any) -> None:
    body = {"prompt": CONTEXT, "max_tokens": 24, "seed": 5, "n": 2, "stop": [" the"], "top_p": 0.9}
    messages = [{"role": "user", "content": "Hi! How are you today?"}]
    completion, chat = ask(
        ("/v1/completions", body),
        ("/v1/chat/completions", {"messages": messages, "seed": 3, "max_tokens": 30}),
    )
    options: dict[str, Any] = {"max_tokens": 24, "seed": 5, "stop": " the", "top_p": 0.9}
    samples = model.sample(CONTEXT, 2, **options)
    assert [(s.text, s.finish_reason) for s in samples] == [
        (choice["text"], choice["finish_reason"]) for choice in completion["choices"]
    ]
    assert "".join(model.stream(CONTEXT, **options)) == samples[0].text
    said = model.chat(messages, seed=3, max_tokens=30)
    assert said.text == chat["choices"][0]["message"]["content"]


def test_lists_are_ranked_as_by_the_service(model: LanguageModel, ask: Any) -> None:
    hypotheses = [
        {"text": "i scream for ice cream", "score": -120.3, "scores": {"ngram": -30.0}},
        {"text": "eye scream four ice cream", "score": -119.8, "scores": {"ngram": -31.0}},
    ]
    settings: dict[str, Any] = {"lm_weight": 0.7, "length_bonus": 0.3, "weights": {"ngram": 0.2}}
    (answer,) = ask(
        ("/v1/rescore", {"utterances": [{"hypotheses": hypotheses}], **settings}),
    )
    (found,) = model.rescore([hypotheses], **settings)
    theirs = answer["utterances"][0]["hypotheses"]
    for name in ("text", "index", "rank", "lm_logprob", "total", "posterior"):
        assert [getattr(row, name) for row in found] == [row[name] for row in theirs]


def test_a_state_goes_on_where_the_text_stood(model: LanguageModel) -> None:
    whole = model.score("He opened the door and went into the room.")
    state = model.state("He opened the do")
    rest = model.score("or and went into the room.", state=state)
    begun = model.score("He opened the do", eos=False)
    assert rest.state is None
    assert model.next_token(state=model.state(CONTEXT)) == model.next_token(CONTEXT)
    # Cut at a border of words, the parts add up to the whole.
    first = model.score("He opened", eos=False, return_state=True)
    second = model.score(" the door and went into the room.", state=first.state)
    assert math.isclose(first.logprob + second.logprob, whole.logprob, rel_tol=1e-12)
    assert begun.logprob > whole.logprob


def test_a_conversation_goes_on_from_its_state(model: LanguageModel) -> None:
    first = [{"role": "user", "content": "Hello!"}]
    said = model.chat(first, seed=1, max_tokens=20, return_state=True)
    asked = {"role": "user", "content": "Do you like music?"}
    resumed = model.chat([asked], state=said.state, seed=2, max_tokens=20)
    whole = model.chat(
        [*first, {"role": "assistant", "content": said.text}, asked], seed=2, max_tokens=20
    )
    assert resumed.text == whole.text


def test_threads_share_the_engine(model: LanguageModel) -> None:
    expected = [model.score(text).logprob for text in TEXTS]
    found: dict[int, list[float]] = {}

    def ask_all(number: int) -> None:
        found[number] = [model.score(text).logprob for text in TEXTS]

    threads = [threading.Thread(target=ask_all, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [expected] * 4


def test_leaving_a_stream_early_ends_its_work(model: LanguageModel) -> None:
    stream = model.stream(CONTEXT, max_tokens=100_000, seed=1, ignore_eos=True)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert model.generate(CONTEXT, max_tokens=2, seed=1).num_tokens == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate("x", temprature=1), "temprature.*did you mean 'temperature'"),
        (lambda m: m.generate("x", temperature=-1), "temperature"),
        (lambda m: m.score("x", detail="all"), "detail must be one of totals, words, tokens"),
        (lambda m: m.score("x", top_logprobs=2), "top_logprobs needs detail"),
        (lambda m: m.score("x", context="y", state=m.state()), "takes the place of context"),
        (lambda m: m.next_token(tokens=["no such piece"]), "no token of this model"),
        (lambda m: m.next_word(words=["two words"]), "not one word"),
        (lambda m: m.chat([{"role": "bot", "content": "x"}]), "role: this model knows"),
        (lambda m: m.rescore([[{"text": "a", "scores": {"n": 1}}]]), "no weight is given"),
        (lambda m: m.score("x", state=TextState(m.state().history, "sha256:0")), "another model"),
    ],
)
def test_bad_arguments_are_named(model: LanguageModel, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(model)


def test_a_closed_model_answers_nothing_more(tmp_path: Path) -> None:
    with LanguageModel.load(SHIPPED) as model:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        model.score("x")
    with pytest.raises(CheckpointError, match="no such folder"):
        LanguageModel.load(tmp_path / "missing")


def test_no_web_framework_is_imported() -> None:
    names = "('fastapi', 'starlette', 'uvicorn', 'torch')"
    code = f"import sys, service.language_model; print([m for m in {names} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
