"""`GET /v1/models`: what is served."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from models.checkpoint import CheckpointError, num_parameters
from service.api.schemas import error_responses
from service.http.dependencies import AppContext, Context, unknown_model
from service.http.errors import unavailable
from service.http.json_body import JSONBody, StrictRoute
from service.registry import UnknownModelError
from service.served_model import ModelFacts

logger = logging.getLogger(__name__)
router = APIRouter(route_class=StrictRoute)


class Architecture(BaseModel):
    """Shape of the network."""

    type: str
    num_layers: int
    embedding_size: int
    hidden_sizes: list[int]
    tie_weights: bool
    residual: bool
    num_parameters: int


class ModelDescription(BaseModel):
    """A served checkpoint."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="unix time")
    owned_by: Literal["lstm-serve"] = "lstm-serve"
    root: str = Field(description="the name without aliases")
    max_model_len: int = Field(
        description="tokens one request may hold; the model itself has no limit"
    )
    is_default: bool
    is_loaded: bool = Field(description="in memory now; others are loaded on first use")
    architecture: Architecture
    vocab_size: int
    digest: str = Field(description="SHA-256 over shape, weights and tokenizer")
    normalizer: str = Field(
        description='what is done to text before segmentation; "identity": none'
    )
    chat_template: dict[str, Any] | None = Field(description="null where chat was not trained")
    sampling_defaults: dict[str, Any] = Field(
        description="sampling fields applied where a request sets none"
    )
    metrics: dict[str, Any] = Field(description="measured quality")
    device: str | None = Field(description="where it computes; null while not loaded")
    precision: str | None = Field(description="int8 or fp32; null while not loaded")


class ModelCard(ModelDescription):
    """A served checkpoint, with its card in Markdown."""

    card: str


class ModelList(BaseModel):
    """All that is served, and the further names of the default model."""

    object: Literal["list"] = "list"
    data: list[ModelDescription]


@router.get(
    "/v1/models",
    summary="List the models",
    description="Every model that is served, the default one first.",
    operation_id="list_models",
    tags=["models"],
    response_model=ModelList,
    responses=error_responses(401, 503),
)
async def list_models(context: Context) -> Response:
    data = []
    for name in context.registry.names():
        try:
            data.append(_describe(context, await context.registry.facts(name)))
        except CheckpointError as error:
            logger.warning("model %r is left out: %s", name, error)
    default = next((model for model in data if model["is_default"]), None)
    if default is not None:
        data += [{**default, "id": alias} for alias in context.registry.aliases]
    return JSONBody({"object": "list", "data": data})


@router.get(
    "/v1/models/{model}",
    summary="Describe a model",
    description="Architecture, digest, precision, measured quality and card of one model. "
    '"default" is the one the server was started on.',
    operation_id="get_model",
    tags=["models"],
    response_model=ModelCard,
    responses=error_responses(401, 404, 503),
)
async def get_model(
    context: Context, model: Annotated[str, Path(description="its name", examples=["default"])]
) -> Response:
    try:
        facts = await context.registry.facts(model)
    except UnknownModelError:
        raise unknown_model(model, context.registry.names()) from None
    except CheckpointError:
        logger.exception("model %r cannot be read", model)
        raise unavailable(f"model {model!r} cannot be read; the server's log says why") from None
    return JSONBody({**_describe(context, facts), "card": facts.card})


def _describe(context: AppContext, facts: ModelFacts) -> dict[str, Any]:
    config = facts.config
    loaded = {model.name: model.engine.info for model in context.registry.loaded()}
    engine = loaded.get(facts.name)
    return {
        "id": facts.name,
        "object": "model",
        "created": facts.created,
        "owned_by": "lstm-serve",
        "root": facts.name,
        "max_model_len": context.settings.max_prompt_tokens,
        "is_default": facts.name == context.registry.default_name,
        "is_loaded": engine is not None,
        "architecture": {
            "type": config.architecture,
            "num_layers": config.num_layers,
            "embedding_size": config.embedding_size,
            "hidden_sizes": config.hidden_sizes,
            "tie_weights": config.tie_weights,
            "residual": config.residual,
            "num_parameters": num_parameters(config),
        },
        "vocab_size": config.vocab_size,
        "digest": facts.digest,
        "normalizer": facts.tokenizer.normalizer,
        "chat_template": facts.chat_template,
        "sampling_defaults": facts.sampling_defaults,
        "metrics": facts.metrics,
        "device": engine.device if engine else None,
        "precision": engine.precision if engine else None,
    }
