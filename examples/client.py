"""The few lines that every example needs to ask a running server; nothing but the standard library.

service = Service("http://127.0.0.1:8000")
service.post("/v1/score", texts=["the cat sat"])
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, TypeVar

T = TypeVar("T")


class Service:
    """A server of lstm-serve, and the model that it is asked for."""

    def __init__(self, url: str, model: str = "default") -> None:
        self.url, self.model = url.rstrip("/"), model
        self.key = os.environ.get("LSTM_SERVE_KEY")

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request; a refusal ends the program with what the server said."""
        body = json.dumps({"model": self.model, **fields}).encode()
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                result: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"{error.code}: {error.read().decode(errors='replace')}")
        except urllib.error.URLError as error:
            sys.exit(f"no server at {self.url} ({error.reason}): start one with `make serve`")
        return result


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of every example: which server, which model."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--url", default="http://127.0.0.1:8000", help="the server")
    options.add_argument("--model", default="default", help="name of a served model")
    return options


def open_text(path: str) -> AbstractContextManager[TextIO]:
    """A file of text, plain or .gz, with a byte order mark or without; `-` is standard input."""
    if path == "-":
        return open(sys.stdin.fileno(), encoding="utf-8-sig", errors="replace", closefd=False)
    if path.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
    return Path(path).open(encoding="utf-8-sig", errors="replace")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """So many items at a time: however long the file, only one batch is in memory."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
