"""A `ModelClient` without a request of HTTP around it."""

from __future__ import annotations

from typing import Any

from models.tokenizer import Tokenizer
from service.api.client import ModelClient
from service.app import create_app
from service.http.call import Call
from service.settings import Settings
from tests.service.conftest import make_model
from tests.service.plain_engine import PlainEngine


def make_client(engine: PlainEngine, tokenizer: Tokenizer, **settings: Any) -> ModelClient:
    model = make_model("tiny", tokenizer, engine)
    context = create_app(Settings(**settings), [model]).state.context
    return ModelClient(context, model, Call(request_id="test", started=0))
