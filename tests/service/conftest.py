"""A tiny real tokenizer, a small LSTM over it, and the application in front of them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from models.checkpoint import Checkpoint, save_checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from service.app import create_app
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.plain_engine import PlainEngine, PlainLSTM
from tests.service.registries import TEMPLATE, Engines

CORPUS = [
    "the cat sat on the mat and the dog sat by the door",
    "i scream for ice cream, you scream for ice cream",
    "The wind blew over the hills; nobody heard it.",
    "Кошка сидит на окне и смотрит на дождь.",
    "How are you today? I am well, thank you.",
    "There is a house in the valley where the river turns north.",
    "She said that they would come another day, when the weather was better.",
    "one two three four five six seven eight nine ten",
    "what would you like to drink with that? water, please",
]

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CORPUS * 4, vocab_size=360, character_coverage=1.0)


@pytest.fixture(scope="session")
def lstm(tokenizer: Tokenizer) -> PlainLSTM:
    config = ModelConfig(vocab_size=tokenizer.vocab_size, embedding_size=12, hidden_sizes=(16, 12))
    return PlainLSTM.random(config, seed=1)


@pytest.fixture(scope="session")
def tiny_folder(
    lstm: PlainLSTM, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small LSTM as a checkpoint, for what loads one; `lstm` is then its oracle."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    saved = Checkpoint(model=lstm.config, weights=dict(lstm.weights), tokenizer=tokenizer)
    save_checkpoint(saved, folder)
    return folder


@pytest.fixture
def engine(lstm: PlainLSTM, tokenizer: Tokenizer) -> PlainEngine:
    spellings = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
    return PlainEngine(lstm, spellings=spellings)


def make_model(name: str, tokenizer: Tokenizer, engine: PlainEngine) -> ServedModel:
    """A model that has learnt to chat, in front of `engine`."""
    return ServedModel(
        name=name,
        created=1_700_000_000,
        config=engine.model.config,
        tokenizer=tokenizer,
        engine=engine,
        digest=engine.digest,
        chat_template={
            "roles": {
                "system": "<|system|>",
                "user": "<|user|>",
                "assistant": "<|assistant|>",
            },
            "end_of_turn": "<|end|>",
        },
        metrics={"valid": {"bits_per_byte": 1.5}},
        card="# tiny\n",
    )


@pytest.fixture
def served(tokenizer: Tokenizer, engine: PlainEngine) -> ServedModel:
    return make_model("tiny", tokenizer, engine)


@asynccontextmanager
async def running(app: FastAPI, **client: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app`, which is started and ready."""
    async with app.router.lifespan_context(app):
        await app.state.context.registry.start()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://service", **client
        ) as http:
            yield http


@pytest.fixture
def serve(served: ServedModel) -> Serve:
    """``async with serve(max_texts=3) as client``: the tiny model under the given settings."""

    def start(*others: ServedModel, **settings: Any) -> Any:
        return running(create_app(Settings(**settings), [served, *others]))

    return start


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as http:
        yield http


@pytest.fixture
def engines(lstm: PlainLSTM) -> Engines:
    return Engines(lstm)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, lstm: PlainLSTM) -> Path:
    """A checkpoint of the small LSTM, on disk."""
    folder = tmp_path_factory.mktemp("saved") / "a"
    checkpoint = Checkpoint(
        model=lstm.config,
        weights=dict(lstm.weights),
        tokenizer=tokenizer,
        chat_template=TEMPLATE,
        sampling_defaults={"temperature": 0.8},
        metrics={"bits_per_byte": 1.5},
        card="# a\n",
    )
    save_checkpoint(checkpoint, folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, saved: Path) -> Path:
    """A folder with four copies of `saved`."""
    for name in ("a", "b", "c", "d"):
        shutil.copytree(saved, tmp_path / name)
    return tmp_path
