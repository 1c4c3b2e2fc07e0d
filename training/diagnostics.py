"""How far back in time a gradient reaches.

The loss is that of the last of T steps alone, so that what arrives at an early state has come all
the way through the recurrence. Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.architectures import build_model
from models.checkpoint import load_checkpoint
from models.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.config import TrainConfig
from training.corpus import read_lines
from training.evaluate import model_of
from training.plots import new_figure
from training.run_state import flatten_state


def subject_and_ids(
    checkpoint: Path | None, config: TrainConfig | None, text: Path | None, shape: tuple[int, int]
) -> tuple[str, LanguageModel, Tensor]:
    """What to diagnose: a checkpoint or a fresh model of `config`, and ids (T + 1, B) to run on.

    The ids are those of `text`, from B evenly spaced places; random ones without a text.
    """
    generator = torch.Generator().manual_seed(0)
    if checkpoint is not None:
        loaded = load_checkpoint(checkpoint)
        model, name = model_of(loaded), checkpoint.name
        if text is not None:
            return name, model, _ids_of(loaded.tokenizer, text, shape)
        size = loaded.model.vocab_size
    else:
        assert config is not None
        if text is not None:
            raise ValueError("--text needs --model: a fresh model has no vocabulary to read it")
        size = config.tokenizer.vocab_size
        torch.manual_seed(config.loop.seed)
        model, name = build_model(config.model.to_model_config(size)), "fresh model"
    return name, model, torch.randint(size, shape, generator=generator)


def _ids_of(tokenizer: Tokenizer, text: Path, shape: tuple[int, int]) -> Tensor:
    ids = torch.tensor(tokenizer.encode("\n".join(read_lines(text))))
    steps, rows = shape
    if len(ids) < steps + rows:
        raise ValueError(f"{text} has {len(ids)} tokens, too few: {steps + rows} are needed")
    starts = torch.linspace(0, len(ids) - steps, rows).long()
    return ids[starts[None] + torch.arange(steps)[:, None]]


def gradient_reach(model: LanguageModel, ids: Tensor) -> list[float]:
    """Norm of d loss_T / d state_{T-k} for k = 1 .. T - 1, a mean over rows.

    ids: (T + 1, B); loss_T is -ln P(ids[T] | ids[:T]). A state is all that one step hands to the
    next: h of every layer, and c of an LSTM. Neither model nor its gradients are changed.
    """
    steps, rows = len(ids) - 1, ids.shape[1]
    state: Any = model.initial_state(rows)
    states: list[list[Tensor]] = []
    features = torch.empty(0)
    for step in range(steps):
        features, state = model(ids[step : step + 1], state)
        states.append(flatten_state(state))
    logprobs = torch.log_softmax(model.logits(features[0]), dim=-1)
    loss = -logprobs.gather(1, ids[steps][:, None]).sum()
    inner = [part for parts in states[:-1] for part in parts]
    gradients = torch.autograd.grad(loss, inner, allow_unused=True, materialize_grads=True)
    width = len(states[0])
    return [_norm(gradients[first : first + width]) for first in range(0, len(gradients), width)][
        ::-1
    ]


def _norm(parts: Sequence[Tensor]) -> float:
    """Of tensors (..., B, H) taken together, a mean over B."""
    squares = [part.square().sum(dim=-1).reshape(-1, part.shape[-2]).sum(dim=0) for part in parts]
    return float(torch.stack(squares).sum(dim=0).sqrt().mean())


def memory_span(reach: Sequence[float], share: float = 0.01) -> int:
    """The last number of steps back at which the norm is still `share` of that one step back."""
    return max(k for k, norm in enumerate(reach, 1) if norm >= share * reach[0])


def draw_reach(curves: Mapping[str, Sequence[float]], png: Path) -> None:
    """One line for each named list of norms, on a logarithmic scale, relative to one step back."""
    figure, (axes,) = new_figure(1, 1, (9, 5))
    for name, reach in curves.items():
        relative = np.array(reach) / reach[0]
        shown = np.where(relative > 0, relative, np.nan)
        style = "--" if name.endswith("trained") else "-"
        axes.plot(np.arange(1, len(reach) + 1), shown, style, label=name)
    axes.axhline(0.01, color="black", linewidth=0.8, linestyle=":")
    axes.text(1, 0.012, "1%", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-12)
    axes.set_xlabel("steps back in time, k")
    axes.set_ylabel("|d loss$_T$ / d state$_{T-k}$|, relative to k = 1")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.set_title(next(iter(curves)))
    figure.savefig(png, dpi=100)
