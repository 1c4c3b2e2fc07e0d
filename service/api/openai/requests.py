"""What clients may send to the OpenAI endpoints.

Sampling fields are None where a request sets none: the checkpoint's default holds then, and where
it declares none, the value in brackets at the end of the field's description. What becomes of
fields that the schemas do not know is in `known_fields`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, Tag

from models.declarations import (
    LengthPenalty,
    MinP,
    Penalty,
    RepetitionPenalty,
    Temperature,
    TokenCount,
    TopK,
    TopP,
    TypicalP,
)
from service.api.schemas import (
    MAX_LISTED_TOKENS,
    ModelName,
    RequestModel,
    TokenId,
    TokenIds,
    numbers_by_name,
)

MAX_CHOICES = 128
MAX_MESSAGES = 16_384
MAX_STOPS = 16
MAX_STOP_LENGTH = 1000
MAX_BAD_WORDS = 256
MAX_GUIDED_CHOICES, MAX_CHOICE_LENGTH, MAX_REGEX_LENGTH = 1024, 1000, 10_000
MAX_TOP_LOGPROBS = 20


def _kind(value: Any) -> str | None:
    """Which member of a union `value` means, so that its faults are told and no other member's."""
    if isinstance(value, list):
        return f"list of {_kind(value[0])}" if value else "list of text"
    return {str: "text", int: "id", dict: "part"}.get(type(value))


def either(expected: str) -> Discriminator:
    """Of members tagged "text", "list of text", "list of id", "list of part" (objects), and so on;
    `expected` is told of any other value."""
    return Discriminator(_kind, custom_error_type="wrong_form", custom_error_message=expected)


# A list of a million faults is refused at its first one.
_FULL_LIST = Field(min_length=1, fail_fast=True)
PromptIds = Annotated[list[TokenId], _FULL_LIST]
PromptField = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], _FULL_LIST, Tag("list of text")]
    | Annotated[PromptIds, Tag("list of id")]
    | Annotated[list[PromptIds], _FULL_LIST, Tag("list of list of id")],
    either("must be a string, a list of strings, a list of token ids or a list of those"),
]
Source = str | Sequence[int]


def split_prompt(prompt: str | list[str] | list[int] | list[list[int]]) -> list[Source]:
    """The prompts of a `PromptField`, one by one."""
    if isinstance(prompt, str):
        return [prompt]
    many: list[Source] = []
    for part in prompt:
        if isinstance(part, int):
            return [cast(list[int], prompt)]
        many.append(part)
    return many


StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]
Choices = Annotated[
    list[Annotated[str, Field(max_length=MAX_CHOICE_LENGTH)]],
    Field(min_length=1, max_length=MAX_GUIDED_CHOICES, fail_fast=True),
]
Regex = Annotated[str, Field(min_length=1, max_length=MAX_REGEX_LENGTH)]
Schema = dict[str, Any] | bool | str
StopField = Annotated[
    Annotated[StopString, Tag("text")]
    | Annotated[list[StopString], Field(max_length=MAX_STOPS, fail_fast=True), Tag("list of text")],
    either(f"must be a string or a list of at most {MAX_STOPS} strings"),
]


Biases = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], numbers_by_name(-100, 100)]


# How many alternatives; -1 stands for every token of the vocabulary.
NumTop = Annotated[int, Field(ge=-1, le=MAX_TOP_LOGPROBS)]


class StreamOptions(RequestModel):
    """What a stream tells besides the text."""

    include_usage: bool = Field(
        False, description="send one more chunk before `[DONE]`, with the usage and no choices"
    )


class StructuredOutputs(RequestModel):
    """At most one of them."""

    choice: Choices | None = Field(None, description="as `guided_choice`")
    regex: Regex | None = Field(None, description="as `guided_regex`")
    schema_: Schema | None = Field(None, alias="json", description="as `guided_json`")
    json_object: bool = Field(False, description="a JSON object of any kind")


class SamplingRequest(RequestModel):
    """What all that generate text have in common: how it is sampled, and what ends it."""

    model: ModelName = "default"
    stop: StopField = Field([], description="strings that end the text; they are not part of it")
    seed: int | None = Field(
        None,
        ge=-(2**63),
        lt=2**63,
        description="same request, model and seed: same answer. Without one, or with -1, one is "
        "drawn. The answer tells it",
    )
    stream: bool = Field(False, description="send the text as it is generated")
    user: str | None = Field(None, description="a label for the caller's own use; changes nothing")

    temperature: Temperature | None = Field(None, description="divides the logits; 0 is greedy (1)")
    top_p: TopP | None = Field(
        None, description="the most probable tokens that reach this mass (1: all)"
    )
    top_k: TopK | None = Field(None, description="this many most probable tokens; 0 or -1: all (0)")
    min_p: MinP | None = Field(
        None, description="tokens at least this fraction as probable as the best (0)"
    )
    typical_p: TypicalP | None = Field(None, description="locally typical sampling (1: off)")
    presence_penalty: Penalty | None = Field(
        None, description="taken off the logits of tokens already in the text (0)"
    )
    frequency_penalty: Penalty | None = Field(
        None, description="as `presence_penalty`, for each occurrence (0)"
    )
    repetition_penalty: RepetitionPenalty | None = Field(
        None, description="above 1 discourages tokens of prompt and text (1)"
    )
    logit_bias: Biases = Field(
        {}, description="by token id, or a token's text or name, what is added to its logit"
    )
    min_tokens: TokenCount | None = Field(
        None, description="neither stop tokens nor stop strings end the text before (0)"
    )
    stop_token_ids: TokenIds = Field(
        [], max_length=MAX_LISTED_TOKENS, description="tokens that end the text"
    )
    ignore_eos: bool = Field(
        False,
        description="end-of-sequence, and in a chat end-of-turn, is never generated, whatever "
        "other fields allow",
    )
    allowed_token_ids: PromptIds | None = Field(
        None,
        max_length=MAX_LISTED_TOKENS,
        description="nothing else is generated; of control tokens still none that ends no text",
    )
    bad_words: list[StopString] = Field(
        [],
        max_length=MAX_BAD_WORDS,
        fail_fast=True,
        description="words whose token sequences are never completed",
    )
    guided_choice: Choices | None = Field(
        None,
        description="the text is one of these; the answer tells the exact probability of each",
    )
    guided_regex: Regex | None = Field(
        None,
        description="the text is a match of this regular expression (Rust's syntax)",
    )
    guided_json: Schema | None = Field(None, description="the text is JSON of this schema")
    structured_outputs: StructuredOutputs | None = Field(
        None, description="vLLM's newer form of the same"
    )
    include_stop_str_in_output: bool = Field(
        False, description="the stop string that ends a text is part of it"
    )

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop


class GenerationRequest(SamplingRequest):
    """What completions and chat completions have in common."""

    n: int = Field(1, ge=1, le=MAX_CHOICES, description="choices for each prompt")
    best_of: int | None = Field(
        None,
        ge=1,
        le=MAX_CHOICES,
        description="generate this many and return the `n` of the highest mean log-probability; "
        "with `use_beam_search` the number of beams (as `n`)",
    )
    stream_options: StreamOptions | None = Field(None, description="only with `stream`")
    response_format: dict[str, Any] | None = Field(
        None, description="OpenAI's form of `guided_json`: `json_object`, `json_schema` or `text`"
    )
    use_beam_search: bool = Field(
        False, description="the `n` best of `best_of` beams instead of samples"
    )
    length_penalty: LengthPenalty | None = Field(
        None, description="beams rank by sum of ln P / length ** this (1)"
    )

    return_tokens_as_token_ids: bool = Field(
        False, description="write the tokens in `logprobs` as `token_id:17`"
    )
    return_token_ids: bool = Field(
        False, description="return the ids of the prompt's and of the text's tokens, in vLLM's form"
    )
    prompt_logprobs: NumTop | None = Field(
        None,
        description="return the log-probabilities of the prompt's tokens, and of this many "
        "alternatives to each, in vLLM's form; not with `stream`",
    )
    state: str | None = Field(
        None, description="sealed state from an earlier answer, in place of a history"
    )
    return_state: bool = Field(
        False, description="return the state after each choice, sealed, to go on from"
    )

    @property
    def num_candidates(self) -> int:
        """How many continuations of a prompt are generated, or how many beams are kept."""
        return self.n if self.best_of is None else self.best_of

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(GenerationRequest):
    """Continue a prompt. Null means a field's default."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "It was a dark and", "max_tokens": 16, "temperature": 0.8, "seed": 7},
                {"prompt": "Once upon a time", "max_tokens": 1, "echo": True, "logprobs": 1},
            ]
        }
    )

    prompt: PromptField = Field(
        "", description="empty: the text begins from nothing, or where `state` ends"
    )
    max_tokens: TokenCount | None = Field(None, description="0 is legal (16)")
    logprobs: NumTop | None = Field(
        None,
        description="return the tokens' log-probabilities, and those of this many alternatives; "
        "-1: the whole vocabulary",
    )
    echo: bool = Field(False, description="put the prompt before the text")
    add_special_tokens: bool | None = Field(
        None,
        description="begin-of-sequence before each prompt that does not itself begin with it. It "
        "is neither listed nor counted, and gives the prompt's first token a score (true). After a "
        "`state` none is put. The answer's `bos` tells what was done",
    )
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="keep this many tokens at the end of each prompt; -1: all"
    )


class TextPart(RequestModel):
    """A piece of a message."""

    type: Literal["text"]
    text: str


ContentField = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[TextPart], _FULL_LIST, Tag("list of part")],
    either('must be a string or a list of {"type": "text", "text": ...}'),
]


class ChatMessage(RequestModel):
    """One turn. `developer` is another name for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: ContentField
    name: str | None = Field(None, description="who speaks: a label that changes nothing")

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


Messages = Annotated[
    list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
]


class ChatCompletionRequest(GenerationRequest):
    """Answer a conversation. Null means a field's default."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [{"role": "user", "content": "Hello, how are you?"}],
                    "max_completion_tokens": 40,
                    "seed": 7,
                }
            ]
        }
    )

    messages: Messages = Field(
        description="the conversation, or what follows the one that `state` stands for"
    )
    max_tokens: TokenCount | None = Field(None, description="older name of `max_completion_tokens`")
    max_completion_tokens: TokenCount | None = Field(
        None, description="0 is legal (1024; the turn usually ends by itself)"
    )
    logprobs: bool = Field(False, description="return the tokens' log-probabilities")
    top_logprobs: NumTop | None = Field(
        None,
        description="and those of this many most probable tokens, -1: of all; only with `logprobs`",
    )
    add_generation_prompt: bool = Field(
        True, description="open the assistant's turn after the messages"
    )
    continue_final_message: bool = Field(
        False,
        description="leave the last message open, for the text to go on with; then "
        "`add_generation_prompt` must be false or left out",
    )
