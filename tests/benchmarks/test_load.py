"""The load, against a server that only pretends to be the service."""

from __future__ import annotations

import pytest

from benchmarks.load import (
    answer_of,
    completion,
    early_and_late_turn,
    percentiles,
    streams_at_once,
    streams_by_arrival,
)
from tests.benchmarks.conftest import Pretender


def test_streams_at_once_count_every_token(pretender: Pretender) -> None:
    load = streams_at_once(pretender.server_port, [completion(k, 5) for k in range(8)])
    assert load.tokens == 40
    assert len(load.first_token_s) == len(load.total_s) == 8
    assert len(load.gaps_s) == 8 * 4
    assert 0 < max(load.total_s) <= load.seconds
    assert {body["seed"] for body in pretender.bodies} == set(range(8))


def test_arrivals_keep_their_times(pretender: Pretender) -> None:
    load = streams_by_arrival(
        pretender.server_port, [completion(k, 2) for k in range(20)], rate=200, seed=0
    )
    assert load.tokens == 40
    assert 0.02 < load.seconds < 2  # twenty gaps of 5 ms in the mean
    assert all(0 < f <= t for f, t in zip(load.first_token_s, load.total_s, strict=True))


def test_history_is_sent_whole(pretender: Pretender) -> None:
    early, late = early_and_late_turn(pretender.server_port, last_turn=9, body=answer_of(4, seed=1))
    assert early > 0
    assert late > 0
    *_, new, old = pretender.bodies
    assert [m["role"] for m in new["messages"]] == ["user", "assistant", "user"]
    assert len(old["messages"]) == 17
    assert old["messages"][-1] == new["messages"][-1]  # turns 2 and 9: the same words
    assert old["messages"][1]["content"] == "answer 1"
    assert old["seed"] != new["seed"]


def test_state_takes_the_place_of_history(pretender: Pretender) -> None:
    early_and_late_turn(
        pretender.server_port, last_turn=9, body=answer_of(4, seed=1), by_state=True
    )
    assert pretender.bodies[0]["state"] is None
    *_, old = pretender.bodies
    assert len(old["messages"]) == 1
    assert old["state"] == "after answer 8"


def test_percentiles_are_milliseconds() -> None:
    assert percentiles([0.001 * k for k in range(1, 102)]) == pytest.approx(
        {"p50": 51, "p90": 91, "p99": 100}
    )
