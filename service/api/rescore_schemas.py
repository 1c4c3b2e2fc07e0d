"""What `POST /v1/rescore` takes and gives."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.api.schemas import (
    KnownFields,
    ModelName,
    NativeRequest,
    StateToken,
    Usage,
    numbers_by_name,
)
from service.text.rescoring import Normalize

Weights = Annotated[dict[str, float], numbers_by_name(-math.inf, math.inf)]


class _Kept(BaseModel):
    """An object of the client's that comes back with all its fields, unknown ones too."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    # As a type, JSON refuses numbers beyond every double, which could not be given back.
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)


class Hypothesis(_Kept):
    """One hypothesis. Logarithms are natural and higher is better; unknown fields come back."""

    text: str
    score: float | None = Field(
        None,
        description="the recogniser's own score, weighted by 1; all hypotheses of a list have one, "
        "or none has and it counts 0",
    )
    scores: Weights | None = Field(
        None, description="further scores by name, weighted by `weights`"
    )
    word_scores: dict[str, list[float]] | None = Field(
        None,
        description="by name, another model's ln P of each word and, with `eos`, of the end; "
        "see `mixture`",
    )


class Utterance(_Kept):
    """An N-best list of any length, empty ones included; unknown fields come back."""

    id: str | int | None = Field(None, description="comes back; no two lists may have the same")
    hypotheses: Annotated[list[Hypothesis], Field(fail_fast=True)]


_EXAMPLE: dict[str, Any] = {
    "lm_weight": 0.5,
    "length_bonus": 0.0,
    "weights": {"ngram": 0.3},
    "utterances": [
        {
            "id": "utt-1",
            "hypotheses": [
                {"text": "i scream for ice cream", "score": -120.3, "scores": {"ngram": -31.0}},
                {"text": "ice cream for ice cream", "score": -119.8, "scores": {"ngram": -33.5}},
            ],
        }
    ],
}


class Mixture(KnownFields):
    """share * P_model + (1 - share) * P_with, word by word, in place of the model alone."""

    model_config = ConfigDict(populate_by_name=True)

    with_: str = Field(alias="with", description="name of the other model among `word_scores`")
    share: float = Field(ge=0, le=1, description="the served model's share")


class RescoreRequest(NativeRequest):
    """N-best lists, and how to combine the language model's score with those they bring.

    total = score + sum_k weights[k] * scores[k] + lm_weight * lm_logprob + length_bonus * num_words
    + hot_words; with a mixture, its `mixed_logprob` stands for `lm_logprob`.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model: ModelName = "default"
    utterances: Annotated[list[Utterance], Field(fail_fast=True)]
    lm_weight: float = Field(0.5, description="factor of the language model's ln P")
    length_bonus: float = Field(0.0, description="added for each word; negative is a penalty")
    weights: Weights = Field(
        {}, description="factor of each of `scores`; each hypothesis needs exactly these scores"
    )
    mixture: Mixture | None = Field(
        None, description="mix the model with another one, whose `word_scores` the hypotheses bring"
    )
    hot_words: Weights = Field(
        {},
        description="words and phrases that are likely here, each with what it adds to the total "
        "wherever it stands, in nats",
    )
    normalize: Normalize = Field(
        "none",
        description="divide ln P by the number of tokens or of words before it is weighted; a "
        "scored end-of-sequence counts as one",
    )
    context: str = Field("", description="text directly before each hypothesis; not scored")
    state: StateToken | None = None
    bos: Literal[True] = Field(
        True,
        description="begin-of-sequence stands before the context; with `state`, which has its own "
        "beginning, none is put and the answer says false",
    )
    eos: bool = Field(True, description="score end-of-sequence after each hypothesis")
    carry_context: bool = Field(
        False,
        description="condition each utterance on the best hypotheses of those before it, each "
        "closed by a newline, after `context`",
    )
    top_n: int | None = Field(None, ge=1, description="return only the best n of each list")


class RankedHypothesis(Hypothesis):
    """The hypothesis as it was sent, and what was found."""

    index: int = Field(description="place in the list that was sent, from 0")
    lm_logprob: float = Field(description="ln P of the text and, with `eos`, of its end")
    mixed_logprob: float | None = Field(
        None, description="ln P under `mixture`, word by word; only where there is one"
    )
    hot_words: float | None = Field(
        None, description="what `hot_words` adds to the total; only where there are some"
    )
    num_tokens: int = Field(description="tokens in `lm_logprob`")
    num_words: int = Field(description="white-space words of the text")
    total: float
    rank: int = Field(description="from 1; equal totals keep the order in which they were sent")
    posterior: float = Field(description="softmax of the totals over the whole list")


class RankedUtterance(Utterance):
    """The utterance as it was sent, its hypotheses best first."""

    hypotheses: list[RankedHypothesis]  # type: ignore[assignment]


class RescoreUsage(Usage):
    """What a request took."""

    tree_nodes: int = Field(
        description="tokens left when a prefix that hypotheses of a list share is counted once"
    )


class RescoreResponse(BaseModel):
    """One entry for each utterance, in their order."""

    object: Literal["rescore"] = "rescore"
    model: str
    utterances: list[RankedUtterance]
    lm_weight: float
    length_bonus: float
    weights: dict[str, float]
    mixture: Mixture | None
    hot_words: dict[str, float]
    normalize: Normalize
    bos: bool
    eos: bool
    carry_context: bool
    top_n: int | None
    usage: RescoreUsage
