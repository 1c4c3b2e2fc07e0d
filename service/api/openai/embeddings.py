"""`POST /v1/embeddings`: the network's state after a text, as a vector, in OpenAI's form."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.client import ModelClient
from service.api.openai.known_fields import REFUSED_EMBEDDING, refuse_unserved, reported
from service.api.openai.requests import PromptField, split_prompt
from service.api.schemas import ModelName, RequestModel, error_responses
from service.engine.request import Priority
from service.engine.runners.base import StateLayout
from service.http.errors import check_count, check_token_ids, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import begin

router = APIRouter(route_class=StrictRoute)

# Up to this many tokens a request is as good as interactive.
_BULK_TOKENS = 1024


class EmbeddingRequest(RequestModel):
    """Texts to be turned into vectors."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["the cat sat"]}]})

    model: ModelName = "default"
    input: PromptField = Field(description="a text, texts, token ids, lists of token ids")
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="`base64`: little-endian float32"
    )
    dimensions: int | None = Field(
        None, ge=1, description="only the size that the model has (its last layer's)"
    )
    user: str | None = Field(None, description="a label for the caller's own use; changes nothing")


class Embedding(BaseModel):
    """The state after a text, normalised: numbers, or base64 of float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """What was read."""

    prompt_tokens: int = Field(description="begin-of-sequence not counted")
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """One vector for each text, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
    ignored_fields: list[str] | None = Field(
        None, description="fields of the request that nobody knows; only if there are any"
    )


@router.post(
    "/v1/embeddings",
    summary="Vectors of texts",
    description="The output of the last LSTM layer after a text (begin-of-sequence before it), "
    "scaled to length 1: what the network knows that bears on the next word. Texts that go on "
    "alike are near each other, so it is good for finding alike endings and as input of a small "
    "classifier; it is no model of meaning, and long texts are judged by their last words.",
    operation_id="embeddings",
    tags=["openai"],
    response_model=EmbeddingResponse,
    responses=error_responses(),
)
async def embeddings(request: Request, body: Annotated[EmbeddingRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    unknown = refuse_unserved(body.model_extra, REFUSED_EMBEDDING)
    client.call.num_ignored = len(unknown)
    size = client.model.config.hidden_sizes[-1]
    if body.dimensions not in (None, size):
        raise invalid("dimensions", f"{body.dimensions} is not {size}, which this model has")
    sources = split_prompt(body.input)
    check_count("input", len(sources), client.settings.max_texts, "texts")
    for index, source in enumerate(sources):
        if not isinstance(source, str):
            check_token_ids(f"input.{index}", source, client.tokenizer)
    before = begin(client.tokenizer, bos=True)
    prompts = await client.prompts(before, sources, eos=False, param="input")
    num_tokens = sum(len(prompt.ids) for prompt in prompts) - len(prompts)
    if num_tokens > _BULK_TOKENS:
        client.priority = Priority.BULK
    computed = await client.compute(
        [prompt.ids for prompt in prompts],
        start=None,
        state_at=[len(prompt.ids) for prompt in prompts],
    )
    features = StateLayout.of(client.model.config).slices()["features"]
    data = []
    for index, output in enumerate(computed.prompts):
        assert output.state is not None
        vector = output.state.vector[features]
        vector = vector / (float((vector**2).sum()) ** 0.5 or 1)
        packed: Any = vector.tolist()
        if body.encoding_format == "base64":
            packed = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": packed})
    usage = client.usage(num_tokens, cached=computed.cached_tokens)
    return JSONBody(
        {
            "object": "list",
            "model": body.model,
            "data": data,
            "usage": {"prompt_tokens": num_tokens, "total_tokens": usage["total_tokens"]},
            **reported(unknown),
        }
    )
