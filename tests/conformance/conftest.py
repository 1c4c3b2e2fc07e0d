"""One live server, with a key, for all clients.

The files here are named `check_*.py`, so that the quick tests leave them out: they need clients
that the development environment does not have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live_server import live_server

_ROOT = Path(__file__).parents[2]
_API_KEY = "a key for conformance"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server as its clients know it: address without a path, key, name of its default model."""

    url: str
    api_key: str
    model: str

    @property
    def base_url(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    given = os.environ.get("CONFORMANCE_MODEL") or _ROOT / "models" / "pretrained" / "en-small"
    folder = Path(given).resolve()
    assert folder.is_dir(), f"there is no checkpoint at {folder}; name one with MODEL="
    return folder


@pytest.fixture(scope="session")
def service(checkpoint: Path) -> Iterator[Service]:
    settings = {
        "LSTM_SERVE_API_KEYS": _API_KEY,
        "LSTM_SERVE_LOG_LEVEL": "warning",
        # As the evaluation that is compared with computes.
        "LSTM_SERVE_PRECISION": "fp32",
    }
    with live_server(os.environ["CONFORMANCE_SERVER_PYTHON"], checkpoint, settings) as url:
        yield Service(url=url, api_key=_API_KEY, model=checkpoint.name)
