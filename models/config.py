"""Shape of a language model. Pure data: importing it costs nothing, least of all torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal, get_args

Architecture = Literal["lstm", "elman", "window_mlp"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a network, and nothing about how it is trained.

    vocab_size: number of pieces, V.
    embedding_size: width of the input embedding, E.
    hidden_sizes: width of each layer, first to last; the last one feeds the softmax.
    tie_weights: the softmax shares the embedding matrix (Press & Wolf 2017; Inan et al. 2017);
        the last layer must then be E wide.
    residual: add a layer's input to its output where the widths agree (He et al. 2016).
    window: number of previous tokens the fixed-window MLP sees; recurrent models ignore it.
    adaptive_cutoffs: an adaptive softmax (Grave et al. 2017) for large vocabularies: the first id
        of each cluster of rare tokens, cluster k being read from hidden / 4^(k + 1) features. Ids
        must be ordered by frequency, as SentencePiece orders them. Empty: an ordinary softmax.
    """

    architecture: Architecture = "lstm"
    vocab_size: int
    embedding_size: int = 512
    hidden_sizes: tuple[int, ...] = (512, 512)
    tie_weights: bool = True
    residual: bool = False
    window: int = 8
    adaptive_cutoffs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.architecture not in get_args(Architecture):
            known = ", ".join(get_args(Architecture))
            raise ValueError(f"architecture {self.architecture!r} is unknown: choose from {known}")
        for name in ("vocab_size", "embedding_size", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be positive widths, not {self.hidden_sizes}")
        if self.tie_weights and self.hidden_sizes[-1] != self.embedding_size:
            raise ValueError(
                f"tie_weights needs the last of hidden_sizes ({self.hidden_sizes[-1]}) to equal "
                f"embedding_size ({self.embedding_size})"
            )
        if self.adaptive_cutoffs:
            self._check_adaptive()

    def _check_adaptive(self) -> None:
        ids = (0, *self.adaptive_cutoffs, self.vocab_size)
        if any(low >= high for low, high in pairwise(ids)):
            raise ValueError(
                "adaptive_cutoffs must rise, between 0 and the vocabulary's size "
                f"({self.vocab_size}), not {self.adaptive_cutoffs}"
            )
        if self.tie_weights:
            raise ValueError(
                "adaptive_cutoffs needs tie_weights = false: clusters have matrices of their own"
            )
        if self.cluster_width(len(self.adaptive_cutoffs) - 1) < 1:
            raise ValueError(
                f"adaptive_cutoffs has {len(self.adaptive_cutoffs)} clusters, too many for the "
                f"last of hidden_sizes ({self.hidden_sizes[-1]}): each is a quarter as wide"
            )

    def cluster_width(self, cluster: int) -> int:
        """Features from which a cluster of the adaptive softmax is read."""
        return self.hidden_sizes[-1] // int(4 ** (cluster + 1))

    @property
    def num_layers(self) -> int:
        return len(self.hidden_sizes)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Width of what enters each layer."""
        first = self.embedding_size
        if self.architecture == "window_mlp":
            first *= self.window
        return (first, *self.hidden_sizes[:-1])

    def has_skip(self, layer: int) -> bool:
        """Whether the skip connection around `layer` exists (equal widths only)."""
        return self.residual and self.input_sizes[layer] == self.hidden_sizes[layer]

    def to_dict(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("hidden_sizes", "adaptive_cutoffs")}
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`; an unknown key is an error, as it would change the meaning."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown model settings: {', '.join(unknown)}")
        cutoffs = tuple(values.get("adaptive_cutoffs", ()))
        hidden = tuple(values["hidden_sizes"])
        return cls(**{**values, "hidden_sizes": hidden, "adaptive_cutoffs": cutoffs})
