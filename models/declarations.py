"""What a checkpoint promises about its use: one definition for training, which writes it, and the
service, which applies it.

A fault is told to whoever trains or starts the service, not to the clients of a model that cannot
answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.tokenizer import Tokenizer

# What values sampling fields may have, in a request and as a checkpoint's defaults.
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
TopK = Annotated[int, Field(ge=-1, lt=2**31)]
MinP = Annotated[float, Field(ge=0, le=1)]
TypicalP = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]  # presence and frequency penalties
RepetitionPenalty = Annotated[float, Field(ge=0.01, le=10)]
LengthPenalty = Annotated[float, Field(ge=-10, le=10)]
TokenCount = Annotated[int, Field(ge=0)]


class _Declaration(BaseModel):
    # A field that is not known would be declared and then ignored.
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class SamplingDefaults(_Declaration):
    """Request fields applied where a request sets none; those that are None have no default."""

    max_tokens: TokenCount | None = None
    min_tokens: TokenCount | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    typical_p: TypicalP | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    length_penalty: LengthPenalty | None = None


class DeclaredTemplate(_Declaration):
    """Control tokens by name: one that opens the turns of each role, one that ends every turn.

    system_prompts: those that the model was taught, each a way to talk; it follows no other. None
    where nobody noted them.
    """

    roles: dict[Literal["system", "user", "assistant"], str]
    end_of_turn: str
    system_prompts: list[str] | None = None


class Declarations(_Declaration):
    """The parts of a checkpoint's configuration that say how it is to be used."""

    sampling_defaults: SamplingDefaults = SamplingDefaults()
    chat_template: DeclaredTemplate | None = None


def read_declarations(config: Mapping[str, Any], tokenizer: Tokenizer) -> Declarations:
    """The declarations in a checkpoint's `config`; ValueError names the first that is at fault."""
    given = {name: config.get(name) for name in Declarations.model_fields}
    try:
        declared = Declarations(**{name: part for name, part in given.items() if part is not None})
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    if declared.chat_template is not None:
        _check_template(declared.chat_template, tokenizer)
    return declared


def _check_template(template: DeclaredTemplate, tokenizer: Tokenizer) -> None:
    for role in ("user", "assistant"):
        if role not in template.roles:
            raise ValueError(f"chat_template.roles: {role!r} is missing")
    named = {f"roles.{role}": piece for role, piece in template.roles.items()}
    for place, piece in {**named, "end_of_turn": template.end_of_turn}.items():
        if piece not in tokenizer.control_ids:
            raise ValueError(f"chat_template.{place}: {piece!r} is no control token of this model")
