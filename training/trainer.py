"""The training loop: truncated back-propagation through time with carried state.

Werbos 1990; Williams & Peng 1990 for the truncation; Pascanu et al. 2013 for norm clipping.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from models.baselines import build_model
from models.checkpoint import Checkpoint, save_checkpoint
from models.tokenizer import Tokenizer
from training.averaging import WeightAverage
from training.config import TrainConfig
from training.data import Position, TokenStreams
from training.losses import linear_cross_entropy
from training.run_state import (
    flatten_state,
    load_run_state,
    restore_rng,
    rng_tensors,
    save_run_state,
    unflatten_state,
)
from training.schedule import learning_rate

CHAT_TEMPLATE = {
    "roles": {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"},
    "end_of_turn": "<|end|>",
}
_VALID_STREAMS = 16


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass
class Progress:
    """Scalars of a run that must survive a kill."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    without_gain: int = 0


@dataclass(frozen=True)
class Outcome:
    reason: str  # "finished", "early stop" or "interrupted"
    progress: Progress


class Trainer:
    """One run. `out` becomes the checkpoint; `out`.run beside it holds state and logs."""

    def __init__(
        self,
        config: TrainConfig,
        tokenizer: Tokenizer,
        train: TokenStreams,
        valid: TokenStreams,
        out: Path,
        device: torch.device,
    ) -> None:
        torch.manual_seed(config.loop.seed)
        self.config, self.tokenizer, self.device = config, tokenizer, device
        self.train_data, self.valid_data = train, valid
        self.out, self.run_folder = out, run_folder(out)
        self.model = build_model(config.model.to_model_config(tokenizer.vocab_size)).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.optimizer.lr,
            betas=config.optimizer.betas,
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        self.average = WeightAverage(self.model, config.optimizer.average)
        self.progress = Progress()
        self.state: Any = self.model.initial_state(config.loop.batch_size)
        self.interrupted = False

    def run(self) -> Outcome:
        """Train to the end, an early stop or a signal; the best checkpoint lies in `out`."""
        loop = self.config.loop
        started, saved = time.monotonic() - self.progress.seconds, time.monotonic()
        with self._guarded(), self._bar() as bar:
            while self.progress.tokens < loop.max_tokens:
                before = self.progress.tokens
                loss, norm = self.train_step()
                self.progress.seconds = time.monotonic() - started
                self._report(bar, loss, norm, self.progress.tokens - before)
                if before // loop.eval_tokens != self.progress.tokens // loop.eval_tokens:
                    self.validate()
                    if loop.patience and self.progress.without_gain >= loop.patience:
                        self.save_state()
                        return Outcome("early stop", self.progress)
                if self.interrupted or time.monotonic() - saved > loop.save_seconds:
                    self.save_state()
                    saved = time.monotonic()
                if self.interrupted:
                    return Outcome("interrupted", self.progress)
            self.validate()
            self.save_state()
        return Outcome("finished", self.progress)

    def train_step(self) -> tuple[float, float]:
        """One window: loss in nats a token, and the gradient's norm before clipping."""
        config = self.config
        inputs, targets = self.train_data.window(config.loop.bptt)
        rate = learning_rate(config.optimizer, self.progress.tokens, config.loop.max_tokens)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.state = self.state.detach()
        loss, self.state = self.loss(
            torch.from_numpy(inputs), torch.from_numpy(targets), self.state
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optimizer.clip)
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            raise TrainingError(
                f"the loss became {value} (gradient norm {float(norm)}) at step "
                f"{self.progress.step} with learning rate {rate:.2g}: lower optimizer.lr or "
                "optimizer.clip and start again, or --resume from the last save"
            )
        self.optimizer.step()
        self.average.update()
        self.progress.step += 1
        self.progress.tokens += inputs.size
        return value, float(norm)

    def loss(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Mean cross-entropy of a (T, B) window in nats a token, and the state after it."""
        dtype = getattr(torch, self.config.loop.precision)
        mixed = dtype is torch.bfloat16
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            features, state = self.model(inputs.to(self.device), state)
        flat = targets.flatten().to(self.device)
        return (
            linear_cross_entropy(features.flatten(0, 1), self.model.output_weight, flat, dtype),
            state,
        )

    @torch.no_grad()
    def valid_loss(self) -> float:
        """Nats a token over the validation text, state carried, with the averaged weights."""
        self.model.eval()
        self.valid_data.position = Position()
        state: Any = self.model.initial_state(self.valid_data.batch_size)
        total, count = 0.0, 0
        with self.average.applied():
            while self.valid_data.position.offset < self.valid_data.stream_length - 1:
                inputs, targets = self.valid_data.window(self.config.loop.bptt)
                loss, state = self.loss(torch.from_numpy(inputs), torch.from_numpy(targets), state)
                total += float(loss) * inputs.size
                count += inputs.size
                if count >= self.config.loop.valid_limit:
                    break
        return total / count

    def validate(self) -> None:
        """Measure, log, and keep the checkpoint if it is the best so far."""
        loss = self.valid_loss()
        self._log({"valid_loss": loss})
        tqdm.write(f"{self.progress.tokens:>12,} tokens: validation {loss:.4f} nats a token")
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.without_gain = loss, 0
            self.save_checkpoint()
        else:
            self.progress.without_gain += 1

    def save_checkpoint(self) -> None:
        with self.average.applied():
            weights = {
                name: tensor.detach().float().cpu().numpy().copy()
                for name, tensor in self.model.state_dict().items()
            }
        progress = asdict(self.progress)
        checkpoint = Checkpoint(
            model=self.model.config,
            weights=weights,
            tokenizer=self.tokenizer,
            storage=self.config.model.storage,
            chat_template=CHAT_TEMPLATE if self.config.chat.enabled else None,
            training={"config": self.config.model_dump(mode="json"), "progress": progress},
            metrics={"valid_loss_nats_per_token": self.progress.best_loss},
        )
        save_checkpoint(checkpoint, self.out)

    def save_state(self) -> None:
        """Everything that `resume` needs to go on as if nothing had happened."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
        tensors |= {f"average.{i}": t for i, t in enumerate(self.average.tensors)}
        carried = enumerate(flatten_state(self.state))
        tensors |= {f"carried.{i}": t.clone() for i, t in carried}  # may share memory
        scalars = {
            "progress": asdict(self.progress),
            "position": asdict(self.train_data.position),
            "average_updates": self.average.num_updates,
        }
        save_run_state(self.run_folder / "state", tensors | rng_tensors(), scalars)

    def resume(self) -> bool:
        """Go back to the last save; False where there is none."""
        if (saved := load_run_state(self.run_folder / "state")) is None:
            return False
        tensors, scalars = saved
        self.model.load_state_dict(_section(tensors, "model."))
        optimizer = self.optimizer.state_dict()
        for name, tensor in _section(tensors, "optimizer.").items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(optimizer)
        self.average.load(_ordered(tensors, "average."), scalars["average_updates"])
        carried = [tensor.to(self.device) for tensor in _ordered(tensors, "carried.")]
        self.state = unflatten_state(self.state, carried)
        restore_rng(tensors)
        self.progress = Progress(**scalars["progress"])
        self.train_data.position = Position(**scalars["position"])
        return True

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run after the step in hand, with everything saved."""

        def interrupt(*_: object) -> None:
            self.interrupted = True

        before = {s: signal.signal(s, interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        torch.set_flush_denormal(True)  # vanishing probabilities would cost 50 times the time
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            torch.set_flush_denormal(False)

    def _bar(self) -> tqdm[Any]:
        return tqdm(
            total=self.config.loop.max_tokens,
            initial=self.progress.tokens,
            unit="tok",
            unit_scale=True,
            smoothing=0.05,
            mininterval=1.0,
        )

    def _report(self, bar: tqdm[Any], loss: float, norm: float, tokens: int) -> None:
        bar.update(tokens)
        if self.progress.step % 20 == 0:
            bar.set_postfix(loss=f"{loss:.3f}", norm=f"{norm:.2f}", refresh=False)
            rate = self.optimizer.param_groups[0]["lr"]
            clipped = norm > self.config.optimizer.clip
            self._log({"loss": loss, "grad_norm": norm, "lr": rate, "clipped": clipped})

    def _log(self, values: Mapping[str, Any]) -> None:
        self.run_folder.mkdir(parents=True, exist_ok=True)
        at = {"step": self.progress.step, "tokens": self.progress.tokens}
        line = {**at, "seconds": round(self.progress.seconds, 1), **values}
        with (self.run_folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def run_folder(out: Path) -> Path:
    """Where a run keeps its shards, resumable state and logs: beside the checkpoint."""
    return out.with_name(out.name + ".run")


def valid_streams(path: Path, vocab_size: int) -> TokenStreams:
    """Validation text in a few parallel streams; fewer where it is short."""
    for streams in (_VALID_STREAMS, 4, 1):
        with contextlib.suppress(ValueError):
            return TokenStreams(path, vocab_size, streams, seed=0)
    return TokenStreams(path, vocab_size, 1, seed=0)


def _section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _ordered(tensors: Mapping[str, Tensor], prefix: str) -> list[Tensor]:
    section = _section(tensors, prefix)
    return [section[str(i)] for i in range(len(section))]
