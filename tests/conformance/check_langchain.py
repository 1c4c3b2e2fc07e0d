"""LangChain's OpenAI classes, for chat and for completions."""

from __future__ import annotations

import pytest
from langchain_openai import ChatOpenAI, OpenAI

from tests.conformance.conftest import Service

MESSAGES = [("system", "Be kind."), ("human", "Hello, how are you?")]


@pytest.fixture
def chat(service: Service) -> ChatOpenAI:
    return ChatOpenAI(
        model=service.model,
        base_url=service.base_url,
        api_key=service.api_key,
        max_retries=0,
        max_tokens=16,
        temperature=0.7,
        seed=11,
    )


@pytest.fixture
def completion(service: Service) -> OpenAI:
    return OpenAI(
        model=service.model,
        base_url=service.base_url,
        api_key=service.api_key,
        max_retries=0,
        max_tokens=16,
        temperature=0.7,
        seed=11,
    )


def test_invoke(chat: ChatOpenAI, service: Service) -> None:
    message = chat.invoke(MESSAGES)
    assert message.content
    assert message.response_metadata["model_name"] == service.model
    assert message.response_metadata["finish_reason"] in ("stop", "length")
    assert message.usage_metadata["output_tokens"] <= 16
    assert chat.invoke(MESSAGES).content == message.content


def test_stream(chat: ChatOpenAI) -> None:
    parts = list(chat.stream(MESSAGES))
    assert len(parts) > 2
    assert "".join(part.content for part in parts) == chat.invoke(MESSAGES).content


def test_logprobs(chat: ChatOpenAI) -> None:
    message = chat.bind(logprobs=True, top_logprobs=2).invoke(MESSAGES)
    entries = message.response_metadata["logprobs"]["content"]
    spelled = b"".join(bytes(entry["bytes"]) for entry in entries if entry["bytes"] is not None)
    assert spelled.decode() == message.content
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


def test_batch(chat: ChatOpenAI) -> None:
    questions = ["Where is the station?", "What would you like to eat?"]
    alone = [chat.invoke(question).content for question in questions]
    assert [message.content for message in chat.batch(questions)] == alone


def test_completions(completion: OpenAI) -> None:
    text = completion.invoke("It was a dark and")
    assert text
    assert "".join(completion.stream("It was a dark and")) == text
    generated = completion.generate(["It was a dark and", "the train to the"])
    assert [len(choices) for choices in generated.generations] == [1, 1]
    assert generated.llm_output["token_usage"]["completion_tokens"] <= 32
