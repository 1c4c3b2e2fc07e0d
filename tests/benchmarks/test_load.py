"""The load, against a server that only pretends to be the service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from benchmarks.load import (
    answer_of,
    completion,
    early_and_late_turn,
    percentiles,
    streams_at_once,
    streams_by_arrival,
)

Json = dict[str, Any]


class Pretender(ThreadingHTTPServer):
    """Answers chats with their number, and completions with as many events as tokens."""

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[Json] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pretender

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        self.send_response(200)
        if body.get("stream"):
            self._stream(body["max_tokens"])
        else:
            self._answer(f"answer {len(self.server.bodies)}")

    def _stream(self, count: int) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        self.end_headers()
        events: list[Json] = [{"choices": [{"text": "x"}], "usage": None}] * count
        events.append({"choices": [], "usage": {"completion_tokens": count}})
        for data in (*map(json.dumps, events), "[DONE]"):
            line = f"data: {data}\n\n".encode()
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, text: str) -> None:
        message = {"role": "assistant", "content": text}
        content = json.dumps({"choices": [{"message": message, "state": f"after {text}"}]}).encode()
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def server() -> Iterator[Pretender]:
    with Pretender() as pretender:
        thread = threading.Thread(target=pretender.serve_forever, args=(0.01,))
        thread.start()
        yield pretender
        pretender.shutdown()
        thread.join()


def test_streams_at_once_count_every_token(server: Pretender) -> None:
    load = streams_at_once(server.server_port, [completion(k, 5) for k in range(8)])
    assert load.tokens == 40
    assert len(load.first_token_s) == len(load.total_s) == 8
    assert len(load.gaps_s) == 8 * 4
    assert 0 < max(load.total_s) <= load.seconds
    assert {body["seed"] for body in server.bodies} == set(range(8))


def test_arrivals_keep_their_times(server: Pretender) -> None:
    load = streams_by_arrival(
        server.server_port, [completion(k, 2) for k in range(20)], rate=200, seed=0
    )
    assert load.tokens == 40
    assert 0.02 < load.seconds < 2  # twenty gaps of 5 ms in the mean
    assert all(0 < f <= t for f, t in zip(load.first_token_s, load.total_s, strict=True))


def test_history_is_sent_whole(server: Pretender) -> None:
    early, late = early_and_late_turn(server.server_port, last_turn=9, body=answer_of(4, seed=1))
    assert early > 0
    assert late > 0
    *_, new, old = server.bodies
    assert [m["role"] for m in new["messages"]] == ["user", "assistant", "user"]
    assert len(old["messages"]) == 17
    assert old["messages"][-1] == new["messages"][-1]  # turns 2 and 9: the same words
    assert old["messages"][1]["content"] == "answer 1"
    assert old["seed"] != new["seed"]


def test_state_takes_the_place_of_history(server: Pretender) -> None:
    early_and_late_turn(server.server_port, last_turn=9, body=answer_of(4, seed=1), by_state=True)
    assert server.bodies[0]["state"] is None
    *_, old = server.bodies
    assert len(old["messages"]) == 1
    assert old["state"] == "after answer 8"


def test_percentiles_are_milliseconds() -> None:
    assert percentiles([0.001 * k for k in range(1, 102)]) == pytest.approx(
        {"p50": 51, "p90": 91, "p99": 100}
    )
