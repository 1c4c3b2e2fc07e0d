"""Reloading over HTTP: the new checkpoint answers, old states are told apart, bad ones refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.tokenizer import Tokenizer
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import running
from tests.service.plain_engine import PlainLSTM


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer, lstm: PlainLSTM) -> Path:
    folder = tmp_path / "mine"
    weights = dict(lstm.weights)
    save_checkpoint(Checkpoint(model=lstm.config, weights=weights, tokenizer=tokenizer), folder)
    return folder


@pytest.fixture
async def reloadable(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(model=folder, models=folder.parent, engine="thread", device="cpu")
    async with running(create_app(settings)) as client:
        yield client


async def test_the_new_checkpoint_answers(reloadable: httpx.AsyncClient, folder: Path) -> None:
    request = {"texts": ["the cat"], "return_state": True}
    old = (await reloadable.post("/v1/score", json=request)).json()["data"][0]
    before = load_checkpoint(folder)
    weights = {name: weight * np.float32(0.5) for name, weight in before.weights.items()}
    digest = save_checkpoint(replace(before, weights=weights), folder)
    answer = await reloadable.post("/v1/models/mine/reload")
    assert (answer.status_code, answer.json()["digest"]) == (200, digest)
    assert (await reloadable.get("/v1/models/default")).json()["digest"] == digest
    new = (await reloadable.post("/v1/score", json=request)).json()["data"][0]
    assert new["logprob"] != old["logprob"]
    resumed = await reloadable.post("/v1/score", json={"texts": ["a"], "state": old["state"]})
    assert resumed.status_code == 400
    assert resumed.json()["error"]["code"] == "invalid_state"
    assert "replaced" in resumed.json()["error"]["message"]


async def test_a_bad_one_is_refused_and_the_old_one_goes_on(
    reloadable: httpx.AsyncClient, folder: Path
) -> None:
    request = {"texts": ["the cat"]}
    old = (await reloadable.post("/v1/score", json=request)).json()
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    answer = await reloadable.post("/v1/models/mine/reload")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reload_refused")
    assert (await reloadable.post("/v1/score", json=request)).json() == old
    assert (await reloadable.post("/v1/models/nope/reload")).status_code == 404
