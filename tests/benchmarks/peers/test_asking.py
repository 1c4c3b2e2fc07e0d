"""What is asked of two servers in turn, where both only pretend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.load import Client
from benchmarks.peers.__main__ import ratios
from benchmarks.peers.asking import (
    LLAMA,
    OURS,
    PARTS,
    SAMPLING,
    Plan,
    Server,
    Servers,
    chat,
    prompt4096,
    streams64,
)
from tests.benchmarks.conftest import Pretender

PLAN = Plan(
    rounds=2,
    single_tokens=3,
    streams=4,
    stream_tokens=2,
    last_turn=4,
    conversations=2,
    prompt_tokens=10,
)


@pytest.fixture(name="servers")
def _servers(pretender: Pretender) -> Iterator[Servers]:
    """Two names for one server, the second with a body of its own."""
    with ThreadPoolExecutor(1) as executor:
        client = Client(executor, pretender.server_port)
        members = {
            OURS: Server(client=client, pid=os.getpid(), body={}),
            LLAMA: Server(client=client, pid=os.getpid(), body={"samplers": []}),
        }
        yield Servers(members=members, vocab=range(100, 200))


def test_who_is_first_alternates(servers: Servers) -> None:
    asked = []

    def ask(server: Server, number: int) -> str:
        asked.append((number, bool(server.body)))
        return f"{number} {bool(server.body)}"

    answers = servers.in_turn(ask, 2)
    assert asked == [(0, False), (0, True), (1, True), (1, False), (2, False), (2, True)]
    assert answers[OURS].kept == ["1 False", "2 False"]
    assert answers[LLAMA].kept == ["1 True", "2 True"]


def test_both_get_the_same_settings(servers: Servers, pretender: Pretender) -> None:
    streams64(servers, PLAN)
    assert len(pretender.bodies) == 2 * 3 * 4
    for body in pretender.bodies:
        assert SAMPLING.items() <= body.items()
    ours = [body for body in pretender.bodies if "samplers" not in body]
    theirs = [body for body in pretender.bodies if "samplers" in body]
    assert {body["prompt"] for body in ours} == {body["prompt"] for body in theirs}
    assert len({body["prompt"] for body in ours}) == 12  # all of them new


def test_a_long_prompt_is_long_and_new(servers: Servers, pretender: Pretender) -> None:
    prompt4096(servers, PLAN)
    prompts = [tuple(body["prompt"]) for body in pretender.bodies]
    assert len(set(prompts)) == 3
    assert all(len(prompt) == 10 and set(prompt) < set(range(100, 200)) for prompt in prompts)
    assert {body["max_tokens"] for body in pretender.bodies} == {1}


def test_only_ours_has_states(servers: Servers, pretender: Pretender) -> None:
    figures = chat(servers, PLAN)
    assert set(figures["chat_turn50_ms"]) == {OURS, LLAMA, f"{OURS}_by_state"}
    by_state = [body for body in pretender.bodies if body.get("return_state")]
    assert by_state
    assert not any("samplers" in body for body in by_state)


def test_missing_tokens_are_no_speed(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.asking.completion", lambda *_: {"max_tokens": 1, **BODY})
    with pytest.raises(RuntimeError, match="4 tokens came of 4 streams of 2"):
        streams64(servers, PLAN)


BODY = {"stream": True, "seed": 1, "prompt": "x"}


def test_every_part_has_its_ratios(servers: Servers) -> None:
    for part in PARTS.values():
        figures = part(servers, PLAN)
        assert ratios(figures)
        assert all(0 < ratio < 100 for ratio in ratios(figures).values())


def test_a_ratio_above_one_is_ours() -> None:
    figures = {
        "one_stream_tokens_per_s": {OURS: 300.0, LLAMA: 100.0},
        "chat_turn50_ms": {OURS: 20.0, LLAMA: 100.0, f"{OURS}_by_state": 1.0},
    }
    assert ratios(figures) == {"one_stream": 3.0, "chat_turn50": 5.0}
