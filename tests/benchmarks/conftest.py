"""A server that only pretends to be the service, for what asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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
        elif "prompt" in body:
            self._send({"choices": [{"text": "x"}]})
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
        self._send({"choices": [{"message": message, "state": f"after {text}"}]})

    def _send(self, answer: Json) -> None:
        content = json.dumps(answer).encode()
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture(name="pretender")
def _pretender() -> Iterator[Pretender]:
    with Pretender() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
