"""Training configuration: presets in TOML, overrides by `--set`, mistakes answered by name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.config import ModelConfig
from models.declarations import SamplingDefaults
from models.sentencepiece_model import Normalizer
from models.weights import Storage

AUTO = "auto"  # a preset chosen for the corpus


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Shape of the network; the vocabulary's size comes from the tokenizer."""

    architecture: Literal["lstm", "elman", "window_mlp"] = "lstm"
    embedding_size: int = Field(512, ge=1)
    hidden_sizes: tuple[int, ...] = (512, 512)
    tie_weights: bool = True
    residual: bool = False
    window: int = Field(8, ge=1)
    adaptive_cutoffs: tuple[int, ...] = Field(
        (), description="first ids of the clusters of an adaptive softmax, for large vocabularies"
    )
    storage: Storage = Field("int8", description="form of the weights in the checkpoint")

    def to_model_config(self, vocab_size: int) -> ModelConfig:
        return ModelConfig(vocab_size=vocab_size, **self.model_dump(exclude={"storage"}))


class TokenizerSection(_Section):
    """How the tokenizer is trained, where none is given."""

    vocab_size: int = Field(8192, ge=16)
    model_type: Literal["unigram", "bpe"] = "unigram"
    character_coverage: float = Field(0.9995, gt=0, le=1)
    normalizer: Normalizer = "identity"
    sample_bytes: int = Field(20_000_000, ge=1, description="text shown to the tokenizer's trainer")


class OptimizerSection(_Section):
    """Steps of the weights: size, schedule, bounds."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0)
    schedule: Literal["cosine", "constant"] = Field("cosine", description="after the warm-up")
    warmup_tokens: int = Field(
        2_000_000, ge=0, description="of a rising rate; a tenth of the run at most"
    )
    min_lr_ratio: float = Field(0.02, ge=0, le=1, description="floor of the cosine over lr")
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(0.5, gt=0, description="bound on the global gradient norm")


class AveragingSection(_Section):
    """Averages of the weights, which are what is validated and kept."""

    kind: Literal["none", "exponential", "last", "nt-asgd"] = "none"
    decay: float = Field(0.999, gt=0, lt=1, description="of the exponential average")
    last_share: float = Field(
        0.2, gt=0, le=1, description='share of the run that "last" averages, at its end'
    )
    nonmonotone: int = Field(
        5, ge=1, description='"nt-asgd" begins when this many validations brought no gain'
    )


class RegularizationSection(_Section):
    """Probabilities of dropping, and weights of penalties; 0 switches each off."""

    input_dropout: float = Field(0.0, ge=0, lt=1, description="locked, on the embedded input")
    layer_dropout: float = Field(0.0, ge=0, lt=1, description="locked, between layers")
    output_dropout: float = Field(0.0, ge=0, lt=1, description="locked, before the softmax")
    embedding_dropout: float = Field(0.0, ge=0, lt=1, description="whole rows of the embedding")
    weight_drop: float = Field(0.0, ge=0, lt=1, description="on the recurrent matrices")
    activation_alpha: float = Field(0.0, ge=0, description="AR: on the size of the last output")
    temporal_beta: float = Field(0.0, ge=0, description="TAR: on its change from step to step")


class LoopSection(_Section):
    """How the text is walked through, how long, and what is written on the way."""

    batch_size: int = Field(64, ge=1, description="parallel streams, over all processes together")
    bptt: int = Field(64, ge=1, description="steps that gradients reach back")
    variable_bptt: bool = Field(False, description="draw the length of each window around bptt")
    state_reset: float = Field(
        0.05, ge=0, lt=1, description="chance that a stream's state is zeroed before a window"
    )
    epochs: float = Field(0.0, ge=0, description="passes over the corpus; 0: by its size")
    max_tokens: int = Field(0, ge=0, description="training tokens in all; 0: by epochs")
    minutes: float = Field(
        0.0,
        ge=0,
        description="that training may take, by the speed measured at its start; 0: no bound",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products; auto: bfloat16 where it is faster"
    )
    eval_tokens: int = Field(0, ge=0, description="tokens between validations; 0: by time")
    eval_seconds: float = Field(
        90.0, gt=0, description="time between validations, the first after a third of it"
    )
    valid_limit: int = Field(300_000, ge=1, description="validation tokens used each time")
    patience: int = Field(0, ge=0, description="validations without gain before stopping; 0: never")
    save_seconds: float = Field(300.0, gt=0, description="time between resumable saves")
    seed: int = Field(1, ge=0)


class ChatSection(_Section):
    """What of dialogues the model is taught, and its checkpoint says."""

    enabled: bool | Literal["auto"] = Field(
        "auto", description="store the chat template in the checkpoint; auto: of dialogues"
    )
    system_prompts: list[str] | Literal["auto"] | None = Field(
        "auto",
        description="those that the model is taught, others are ignored where it is served; "
        "auto: the corpus's, if they are few; null: unknown, all are passed on",
    )
    loss_on: Literal["all", "assistant"] = Field(
        "all", description='of dialogues: every turn, or only what follows "assistant"'
    )


class TrainConfig(_Section):
    """Everything that, with the data, determines a run."""

    description: str = ""
    expected: str = ""
    model: ModelSection = ModelSection()
    tokenizer: TokenizerSection = TokenizerSection()
    optimizer: OptimizerSection = OptimizerSection()
    averaging: AveragingSection = AveragingSection()
    regularization: RegularizationSection = RegularizationSection()
    loop: LoopSection = LoopSection()
    chat: ChatSection = ChatSection()
    sampling: SamplingDefaults = Field(
        SamplingDefaults(), description="what the service applies where a request sets nothing"
    )


# What may differ when a run goes on: how long it is, and how often it is looked at.
LENGTHS = frozenset({"loop.epochs", "loop.max_tokens"})
BOUNDS = LENGTHS | {"loop.minutes"}
PACE = BOUNDS | {
    f"loop.{name}"
    for name in ("eval_tokens", "eval_seconds", "valid_limit", "patience", "save_seconds")
}


def preset_names() -> list[str]:
    """The presets of the package, in order."""
    folder = resources.files("training") / "presets"
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def load_config(preset: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """The preset of that name with `section.key=value` overrides (TOML values) applied."""
    return with_overrides(preset_values(preset), overrides)


def preset_values(preset: str) -> dict[str, Any]:
    """The settings of a preset by section; ValueError names the nearest where there is none."""
    if preset not in preset_names():
        raise ValueError(f"unknown preset {preset!r}{_suggest(preset, preset_names())}")
    text = (resources.files("training") / "presets" / f"{preset}.toml").read_text("utf-8")
    return tomllib.loads(text)


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> TrainConfig:
    """A preset's values with overrides; a length asked for takes the place of the preset's."""
    named = {override.partition("=")[0].strip() for override in overrides}
    if named >= LENGTHS:
        raise ValueError("loop.epochs and loop.max_tokens both say how long a run is: give one")
    if named & LENGTHS:
        loop = values.get("loop", {})
        values = values | {"loop": {k: v for k, v in loop.items() if f"loop.{k}" not in BOUNDS}}
    for override in overrides:
        _apply(values, override)
    return parse_config(values)


def parse_config(values: Mapping[str, Any]) -> TrainConfig:
    """Validate, turning the library's report into one line a fault."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        lines = [_explain(fault["loc"], fault) for fault in error.errors()]
        raise ValueError("; ".join(lines)) from error


def _explain(location: Sequence[int | str], fault: Mapping[str, Any]) -> str:
    name = ".".join(map(str, location))
    if fault["type"] != "extra_forbidden":
        return f"{name}: {fault['msg']} (got {fault['input']!r})"
    section: type[BaseModel] = TrainConfig
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        section = annotation
    return f"unknown setting {name!r}{_suggest(str(location[-1]), list(section.model_fields))}"


def _suggest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {near[0]!r}?" if near else f": choose from {', '.join(known)}"


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, raw = override.partition("=")
    if not equals:
        raise ValueError(f"--set {override!r} must have the form section.key=value")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is a string
    *sections, key = path.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ValueError(f"--set {override!r}: {section!r} is not a section")
    values[key] = value
