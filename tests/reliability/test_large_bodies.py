"""One body, as large as it may be, holds the server's event loop for no more than a moment."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.harness import SHIPPED
from service.engine.hosts.silence import process_state
from tests.live_server import live_server
from tests.reliability.target import Target

_CHAT, _COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_MESSAGE = {"role": "user", "content": "hello"}
_HELLO = {"messages": [_MESSAGE], "logprobs": True, "max_tokens": 100, "ignore_eos": True}
_TEXT = "the rain fell "

# (path, body, status): what once held the loop for seconds, and the most that is let in.
BODIES: dict[str, tuple[str, object, int]] = {
    "8,192 alternatives a token": (_CHAT, {**_HELLO, "top_logprobs": 8192}, 400),
    "20 alternatives of 12,800 tokens": (_CHAT, {**_HELLO, "top_logprobs": 20, "n": 128}, 200),
    "400,000 empty messages": (_CHAT, {"messages": [{}] * 400_000}, 400),
    "400,000 messages": (_CHAT, {"messages": [_MESSAGE] * 400_000}, 400),
    "800,000 bad biases": (
        _COMPLETIONS,
        {"prompt": "the", "logit_bias": {f"x{k}": 1 for k in range(800_000)}},
        400,
    ),
    "250,000 bad biases": (
        _COMPLETIONS,
        {"prompt": "the", "logit_bias": {f"x{k}": 1 for k in range(250_000)}},
        400,
    ),
    "800,000 tokens": ("/detokenize", {"tokens": [9] * 800_000}, 200),
    "15 MB of text": ("/v1/score", {"texts": [_TEXT * 1_100_000]}, 400),
    "15 MB of text as tokens": ("/tokenize", {"prompt": _TEXT * 1_100_000}, 200),
}


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The shipped model: its vocabulary makes answers large."""
    with live_server(sys.executable, SHIPPED, {"LSTM_SERVE_LOG_LEVEL": "error"}) as address:
        yield Target(address=address)


@pytest.mark.parametrize(("path", "body", "status"), BODIES.values(), ids=BODIES.keys())
def test_no_body_holds_the_loop(target: Target, path: str, body: object, status: int) -> None:
    """By the server's own processor time, which no neighbour on the machine makes longer."""
    content = json.dumps(body).encode()
    url, kind = target.address + path, {"content-type": "application/json"}
    with target.watching_liveness() as liveness:
        time.sleep(0.2)
        begin, spent = time.perf_counter(), _cpu_s(target)
        answer = httpx.post(url, content=content, headers=kind, timeout=60)
        took, spent = time.perf_counter() - begin, _cpu_s(target) - spent
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["message"]
        assert len(answer.content) < 2000
    assert spent < 3 + len(answer.content) / 5e6
    assert max(liveness) < 5  # on a busy machine
    print(
        f"\n{len(content) / 1e6:.1f} MB: {status} after {took:.2f} s, {spent:.2f} s of processor, "
        f"{len(answer.content) / 1e6:.2f} MB back; liveness at most {1000 * max(liveness):.0f} ms"
    )


def _cpu_s(target: Target) -> float:
    state = process_state(target.server_pid())
    assert state is not None
    return state.cpu_s
