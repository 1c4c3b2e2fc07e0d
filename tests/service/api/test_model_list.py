from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.checkpoint import Checkpoint, save_checkpoint
from models.tokenizer import Tokenizer
from service.api.model_list import ModelCard, ModelList
from service.app import create_app
from service.settings import Settings
from tests.service.conftest import Serve, make_model, running
from tests.service.plain_engine import PlainEngine, PlainLSTM


async def test_description(client: httpx.AsyncClient, lstm: PlainLSTM) -> None:
    answer = (await client.get("/v1/models/tiny")).json()
    ModelCard.model_validate(answer)
    assert answer["id"] == "tiny"
    assert answer["architecture"] == {
        "type": "lstm",
        "num_layers": 2,
        "embedding_size": 12,
        "hidden_sizes": [16, 12],
        "tie_weights": True,
        "residual": False,
        "num_parameters": sum(np.size(w) for w in lstm.weights.values()),
    }
    assert (answer["digest"], answer["precision"], answer["device"]) == (
        "sha256:plain",
        "fp32",
        "cpu",
    )
    assert answer["metrics"] == {"valid": {"bits_per_byte": 1.5}}
    assert answer["card"] == "# tiny\n"
    assert (await client.get("/v1/models/default")).json() == answer


async def test_list_has_the_default_first(
    serve: Serve, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    async with serve(make_model("another", tokenizer, PlainEngine(lstm))) as client:
        answer = (await client.get("/v1/models")).json()
        ModelList.model_validate(answer)
        entries = [(entry["id"], entry["is_default"]) for entry in answer["data"]]
        assert entries == [("tiny", True), ("another", False)]


async def test_unknown_model_is_a_404_everywhere(client: httpx.AsyncClient) -> None:
    answers = [await client.get("/v1/models/nope")]
    for route, body in (
        ("/v1/score", {"texts": []}),
        ("/v1/next-token", {}),
        ("/tokenize", {"prompt": ""}),
        ("/detokenize", {"tokens": []}),
    ):
        answers.append(await client.post(route, json={**body, "model": "nope"}))
    for answer in answers:
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "'nope'" in error["message"]


@pytest.mark.parametrize("name", ["../tiny", "tiny/../tiny", "%2e%2e", ".", " tiny", "TINY"])
async def test_a_name_is_no_path(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/v1/score", json={"texts": ["a"], "model": name})
    assert answer.status_code == 404


@pytest.mark.parametrize("fault", ["files: null", "deep", "a pipe", "no text", "a huge number"])
async def test_a_bad_folder_is_left_out_and_hurts_nobody(
    tmp_path: Path, tokenizer: Tokenizer, lstm: PlainLSTM, fault: str
) -> None:
    """Each of these once made the list a 500, or was waited for without end."""
    weights = dict(lstm.weights)
    checkpoint = Checkpoint(model=lstm.config, weights=weights, tokenizer=tokenizer)
    for name in ("good", "bad"):
        save_checkpoint(checkpoint, tmp_path / name)
    config = tmp_path / "bad" / "config.json"
    if fault == "a pipe":
        (tmp_path / "bad" / "tokenizer.model").unlink()
        os.mkfifo(tmp_path / "bad" / "tokenizer.model")
    else:
        content = json.loads(config.read_text())
        damaged = {
            "files: null": json.dumps({**content, "files": None}),
            "deep": "[" * 100_000,
            "no text": "\x00\udcff",
            "a huge number": json.dumps({**content, "format_version": 10**400}),
        }
        config.write_text(damaged[fault], "utf-8", "surrogateescape")
    settings = Settings(model=tmp_path / "good", models=tmp_path, engine="thread", device="cpu")
    async with asyncio.timeout(20), running(create_app(settings)) as client:
        listed = await client.get("/v1/models")
        assert [model["id"] for model in listed.json()["data"]] == ["good"]
        assert (await client.get("/v1/models/bad")).status_code == 503
        asked = await client.post("/v1/score", json={"model": "bad", "texts": ["a"]})
        assert asked.status_code == 503
        assert asked.json()["error"]["code"] == "unavailable"
        assert (await client.post("/v1/score", json={"texts": ["a"]})).status_code == 200


async def test_an_alias_is_listed_with_the_name_behind_it(serve: Serve) -> None:
    async with serve(served_model_name="gpt-4o,other") as client:
        data = (await client.get("/v1/models")).json()["data"]
        described = [(model["id"], model["root"]) for model in data]
        assert described == [("tiny", "tiny"), ("gpt-4o", "tiny"), ("other", "tiny")]
        assert {model["max_model_len"] for model in data} == {1 << 20}
        body = {"texts": ["a"], "model": "gpt-4o"}
        assert (await client.post("/v1/score", json=body)).status_code == 200
