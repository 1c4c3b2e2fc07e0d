"""What `/v1/score` takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import ModelName, RequestModel, StateToken, TextOrIds, TokenLogprob, Usage

Detail = Literal["totals", "words", "tokens"]


class ScoreRequest(RequestModel):
    """Texts to score, each on its own, after one shared context or state."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"texts": ["the cat sat on the mat", "the cat sat in the mat"], "detail": "words"}
            ]
        }
    )

    model: ModelName = "default"
    texts: Annotated[list[TextOrIds], Field(fail_fast=True)] = Field(
        description="each a string, or a list of token ids that is taken as it is"
    )
    context: str = Field("", description="text before every text; conditions it, is not scored")
    state: StateToken | None = None
    bos: bool = Field(
        True,
        description="begin-of-sequence before the context; with `state`, which has its own "
        "beginning, none is put and the answer says false",
    )
    eos: bool = Field(True, description="score end-of-sequence after each text")
    detail: Detail = Field(
        "totals", description="`words` adds the words, `tokens` the words and the tokens"
    )
    top_logprobs: int = Field(
        0, ge=0, description="most probable alternatives beside each token; needs detail `tokens`"
    )
    return_state: bool = Field(
        False, description="return the state after each text (end-of-sequence is not part of it)"
    )


class ScoredToken(TokenLogprob):
    """A token of the text; its `logprob` is null where nothing stands before it."""

    start: int = Field(description="first character of the text that it stands for")
    end: int = Field(description="one past the last; equal to `start` for none")
    top_logprobs: list[TokenLogprob] | None = None


class ScoredWord(BaseModel):
    """A white-space word with the white space before it; the last entry may be end-of-sequence.

    A token that reaches over two words counts for the one in which it ends.
    """

    word: str
    logprob: float | None
    start: int
    end: int


class TextScore(BaseModel):
    """The score of one text. Logarithms are natural."""

    index: int
    logprob: float
    num_tokens: int = Field(description="tokens with a probability, end-of-sequence among them")
    num_words: int = Field(description="white-space words")
    num_bytes: int = Field(description="UTF-8 bytes")
    perplexity: float | None = Field(description="exp(-logprob / num_tokens)")
    word_perplexity: float | None = Field(
        description="exp(-logprob / (num_words + 1 if eos)); null if a token has no probability"
    )
    bits_per_byte: float | None = Field(
        description="-logprob / (ln 2 * num_bytes); null if a token has no probability"
    )
    tokens: list[ScoredToken] | None = None
    words: list[ScoredWord] | None = None
    state: str | None = None


class ScoreResponse(BaseModel):
    """One entry for each text, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[TextScore]
    bos: bool
    eos: bool
    usage: Usage
