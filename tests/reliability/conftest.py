"""A real server of a small model, for everything that is done to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import live_server
from tests.reliability.target import Target, save_small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[Target]:
    settings = {"LSTM_SERVE_LOG_LEVEL": "error", "LSTM_SERVE_MAX_WAITING": "64"}
    with live_server(sys.executable, folder, settings) as address:
        yield Target(address=address)
