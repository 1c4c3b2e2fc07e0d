"""A checkpoint that is replaced while it is served: by bad ones, then by a good one, under load."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.tokenizer import Tokenizer
from tests.live_server import live_server
from tests.reliability.damage import damaged
from tests.reliability.target import Target, save_small_model, stream
from tests.service.conftest import CORPUS

_FILES = ("config.json", "model.safetensors", "tokenizer.model")
_TEXT = "the cat sat on the mat"


def _scaled(checkpoint: Checkpoint, by: float) -> Checkpoint:
    """The same model with other weights: every answer differs."""
    weights = {name: weight * np.float32(by) for name, weight in checkpoint.weights.items()}
    return replace(checkpoint, weights=weights)


def _cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _one_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _not_a_number(folder: Path) -> None:
    """Whole and with its digest, as a training that diverged would write it."""
    checkpoint = load_checkpoint(folder)
    name, weight = max(checkpoint.weights.items(), key=lambda named: named[1].size)
    weight = weight.copy()
    weight.flat[-1] = np.nan
    save_checkpoint(replace(checkpoint, weights={**checkpoint.weights, name: weight}), folder)


def _no_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"files": null')


def _deep_config(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


def _other_tokenizer(folder: Path) -> None:
    other = Tokenizer.train(CORPUS * 4, vocab_size=340, character_coverage=1.0)
    other.save(folder / "tokenizer.model")


def _other_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["hidden_sizes"] = [65]
    (folder / "config.json").write_text(json.dumps(config))


def _a_pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


_DAMAGES = (
    _cut_short, _one_bit, _not_a_number, _no_config, _deep_config, _other_tokenizer, _other_width,
    _a_pipe, _gone,
)  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "models" / "small")


@pytest.fixture
def target(served: Path) -> Iterator[Target]:
    with live_server(sys.executable, served, {"LSTM_SERVE_LOG_LEVEL": "error"}) as address:
        yield Target(address=address)


@asynccontextmanager
async def _load(target: Target, client: httpx.AsyncClient) -> AsyncIterator[Counter[str]]:
    """Scorings and streams, again and again; how often each answer came. None may fail."""
    answers: Counter[str] = Counter()
    ended = asyncio.Event()

    async def scoring() -> None:
        while not ended.is_set():
            answer = await target.score(client, _TEXT)
            assert answer.status_code == 200, answer.text
            answers[json.dumps(answer.json()["data"])] += 1

    async def streaming() -> None:
        while not ended.is_set():
            events = await stream(client, 40)
            assert events[-1] == "[DONE]", events[-2:]
            assert '"error"' not in events[-2], events[-2]
            answers["stream"] += 1

    tasks = [asyncio.create_task(work()) for work in (scoring, scoring, streaming, streaming)]
    try:
        yield answers
    finally:
        ended.set()
        await asyncio.gather(*tasks)


async def _reload(client: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(60):
        return await client.post("/v1/models/small/reload")


async def test_bad_ones_are_refused_and_a_good_one_swaps_without_a_failed_request(
    target: Target, served: Path, tmp_path: Path
) -> None:
    good = load_checkpoint(served)
    kept = shutil.copytree(served, tmp_path / "kept")
    await target.ready()
    async with target.client() as client:
        old = json.dumps((await target.score(client, _TEXT)).json()["data"])
        async with _load(target, client) as answers:
            for damage in _DAMAGES:
                damage(served)
                answer = await _reload(client)
                assert answer.status_code == 409, (damage.__name__, answer.text)
                assert answer.json()["error"]["code"] == "reload_refused"
                _restore(served, kept)
            # Back as it was: nothing to do, and the old one goes on.
            assert (await _reload(client)).status_code == 200
            assert set(answers) <= {old, "stream"}
            digest = save_checkpoint(_scaled(good, 0.5), served)
            answer = await _reload(client)
            assert (answer.status_code, answer.json()["digest"]) == (200, digest)
            new = json.dumps((await target.score(client, _TEXT)).json()["data"])
    assert new != old
    assert set(answers) <= {old, new, "stream"}
    print(
        f"\nreload under load: {len(_DAMAGES)} bad checkpoints refused, one swapped in; "
        f"{answers[old]} answers of the old one, {answers[new]} of the new, {answers['stream']} "
        "streams; none failed"
    )


@pytest.mark.slow
async def test_random_damage_is_never_served(target: Target, served: Path, tmp_path: Path) -> None:
    """What loads all the same is the checkpoint as it was: no file's meaning changed."""
    kept = shutil.copytree(served, tmp_path / "kept")
    await target.ready()
    statuses: Counter[int] = Counter()
    async with target.client() as client:
        old = json.dumps((await target.score(client, _TEXT)).json()["data"])
        async with _load(target, client) as answers:
            for number in range(200):
                draw = random.Random(number)
                path = served / draw.choice(_FILES)
                path.write_bytes(damaged(draw, path.read_bytes()))
                answer = await _reload(client)
                statuses[answer.status_code] += 1
                assert answer.status_code in (200, 409), (number, answer.text)
                _restore(served, kept)
        assert set(answers) <= {old, "stream"}
    print(f"\n200 damaged checkpoints at reload: {dict(statuses)}; {answers.total()} answers, same")


def _restore(folder: Path, kept: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(kept, folder)
