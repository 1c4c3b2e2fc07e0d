"""The training loop: truncated back-propagation through time with carried state.

Werbos 1990; Williams & Peng 1990 for the truncation; Pascanu et al. 2013 for norm clipping.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.baselines import build_model
from models.tokenizer import Tokenizer
from training.averaging import WeightAverage
from training.config import TrainConfig
from training.data import Position, TokenStreams, Window, window_length
from training.distributed import Workers
from training.log import RunLog
from training.optimizers import build_optimizer, learning_rate
from training.publish import Origin, Publisher
from training.regularization import Objective
from training.run_state import Progress, RunState, flatten_state

_LOG_STEPS = 20


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


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
        workers: Workers,
        origin: Origin,
    ) -> None:
        self.config, self.workers = config, workers
        self.train_data, self.valid_data = train, valid
        self.folder = run_folder(out)
        torch.manual_seed(config.loop.seed)
        model = build_model(config.model.to_model_config(tokenizer.vocab_size))
        if origin.weights is not None:
            model.load_state_dict({k: torch.from_numpy(v) for k, v in origin.weights.items()})
        model.to(workers.device)
        self.objective = Objective(
            model, config.regularization, getattr(torch, config.loop.precision)
        )
        self.parallel = workers.parallel(self.objective)
        self.state = RunState(
            model=model,
            optimizer=build_optimizer(model, config.optimizer),
            average=WeightAverage(model, config.averaging),
            carried=model.initial_state(train.num_mine),
            position=train.position,
            progress=Progress(),
        )
        self.publisher = Publisher(config, tokenizer, origin, out)
        # A look at a number on a GPU waits for all work given to it.
        self.check_steps = 1 if workers.device.type == "cpu" else _LOG_STEPS
        self.unchecked: list[tuple[Tensor, Tensor]] = []  # loss and gradient norm of steps
        self.unlogged: list[tuple[float, float]] = []
        self.interrupted = False
        self.saved_at = time.monotonic()

    @property
    def progress(self) -> Progress:
        return self.state.progress

    def run(self) -> Outcome:
        """Train to the end, an early stop or a signal; the best checkpoint lies in `out`."""
        if (reason := self._ended()) != "":
            return Outcome(reason, self.progress)
        started = time.monotonic() - self.progress.seconds
        with self._guarded(), self._log() as log:
            while reason == "":
                before = self.progress.tokens
                self.train_step()
                self.progress.seconds = time.monotonic() - started
                log.advance(self.progress.tokens - before)
                reason = self._after_step(log, before)
            self.save()
        if self.workers.is_main:
            self.publisher.add_curves(log.curves)
        return Outcome(reason, self.progress)

    def _ended(self) -> str:
        """Why the run is over, or nothing while it is not."""
        loop, progress = self.config.loop, self.progress
        if loop.patience and progress.without_gain >= loop.patience:
            return "early stop"
        return "finished" if progress.tokens >= loop.max_tokens else ""

    def _after_step(self, log: RunLog, before: int) -> str:
        """What is due now: look, report, validate, save. Says why the run is over, if it is."""
        every, ended = self.config.loop.eval_tokens, self._ended() != ""
        due = ended or before // every != self.progress.tokens // every
        if not due and self.progress.step % self.check_steps:
            return ""
        interrupted, save = self.check()
        self._report(log)
        if due:
            self.validate(log)
        if save:
            self.save()
        return self._ended() or ("interrupted" if interrupted else "")

    def train_step(self) -> None:
        """One window."""
        config, progress = self.config, self.progress
        loop, optimizer = config.loop, self.state.optimizer
        steps = window_length(loop.bptt, loop.variable_bptt, loop.seed, progress.step)
        window = self.train_data.window(steps)
        rate = learning_rate(config.optimizer, progress.tokens, loop.max_tokens)
        for group in optimizer.param_groups:
            # A shorter window gives a noisier gradient (Merity et al. 2018).
            group["lr"] = rate * (steps / loop.bptt if loop.variable_bptt else 1)
        # Dropout is drawn from the seed, the step and the process alone: nothing to save.
        torch.manual_seed((loop.seed * 1_000_003 + progress.step) * 4096 + self.workers.rank)
        self.objective.train()
        share = self.workers.size / max(window.num_counted, 1)
        loss, nll, self.state.carried = self.parallel(
            *self._on_device(window), share, self.state.carried.detach()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.state.model.parameters(), config.optimizer.clip)
        optimizer.step()
        progress.step += 1
        progress.tokens += len(window.inputs) * loop.batch_size
        self.state.position = self.train_data.position
        self.state.average.update(progress.tokens / loop.max_tokens)
        self.unchecked.append((nll, norm))

    def check(self) -> tuple[bool, bool]:
        """Look at what was computed since the last check: (interrupted, time to save).

        All processes come to the same answer. Raises TrainingError where a loss is no number.
        """
        steps = len(self.unchecked)
        flat = [number.double() for pair in self.unchecked for number in pair]
        local = torch.stack(flat).tolist() if flat else []
        self.unchecked.clear()
        late = time.monotonic() - self.saved_at > self.config.loop.save_seconds
        flags = [float(self.interrupted), float(late and self.workers.is_main)]
        sums = self.workers.sum(local + flags)
        for k in range(steps):
            loss, norm = (x / self.workers.size for x in sums[2 * k : 2 * k + 2])
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise TrainingError(
                    f"the loss became {loss} (gradient norm {norm}) at step "
                    f"{self.progress.step - steps + k}: lower optimizer.lr or optimizer.clip and "
                    "start again, or --resume from the last save"
                )
            self.unlogged.append((loss, norm))
        return sums[-2] > 0, sums[-1] > 0

    def _on_device(self, window: Window) -> tuple[Tensor, Tensor, Tensor | None]:
        def move(array: object) -> Tensor:
            tensor = torch.as_tensor(array)
            if self.workers.device.type == "cpu":
                return tensor
            return tensor.pin_memory().to(self.workers.device, non_blocking=True)

        rows = None if window.rows is None else move(window.rows)
        return move(window.inputs), move(window.targets), rows

    @torch.no_grad()
    def valid_loss(self) -> float:
        """Nats a token over the validation text, state carried, with the averaged weights."""
        self.objective.eval()
        data, limit = self.valid_data, self.config.loop.valid_limit
        data.position = Position()
        carried = self.state.model.initial_state(data.num_mine)
        total, count, read = torch.zeros((), device=self.workers.device), 0, 0
        with self.state.average.applied():
            while data.num_mine and not data.ended and read < limit:
                window = data.window(self.config.loop.bptt)
                _, nll, carried = self.objective(*self._on_device(window), 1.0, carried)
                total += nll
                count += len(window.targets)
                read += len(window.inputs) * data.batch_size
        nll, tokens = self.workers.sum([float(total), count])
        return nll / max(tokens, 1)

    def validate(self, log: RunLog) -> None:
        """Measure, log, and keep the checkpoint if it is the best so far."""
        loss, progress = self.valid_loss(), self.progress
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss became {loss}: lower optimizer.lr")
        progress.losses.append(loss)
        self.state.average.observe(progress.losses)
        log.write(progress, {"valid_loss": loss})
        log.say(f"{progress.tokens:>12,} tokens: validation {loss:.4f} nats a token")
        if progress.without_gain == 0 and self.workers.is_main:
            with self.state.average.applied():
                self.publisher.save(self.state.model, progress)

    def save(self) -> None:
        """Everything that `resume` needs to go on as if nothing had happened."""
        parts = flatten_state(self.state.carried)
        carried = [self.workers.gather(part, dim=-2) for part in parts]
        if self.workers.is_main:
            self.state.save(self.folder / "state", carried)
        self.saved_at = time.monotonic()

    def resume(self) -> bool:
        """Go back to the last save; False where there is none."""
        found = self.state.load(self.folder / "state", self.train_data.mine)
        self.train_data.position = self.state.position
        return found

    def _report(self, log: RunLog) -> None:
        if self.progress.step % _LOG_STEPS or not self.unlogged:
            return
        losses, norms = zip(*self.unlogged, strict=True)
        self.unlogged.clear()
        clip = self.config.optimizer.clip
        values = {
            "loss": sum(losses) / len(losses),
            "grad_norm": sum(norms) / len(norms),
            "clipped": sum(norm > clip for norm in norms) / len(norms),
            "lr": float(self.state.optimizer.param_groups[0]["lr"]),
            "tokens_per_second": self.progress.tokens / self.progress.seconds,
        }
        log.write(self.progress, values)

    def _log(self) -> RunLog:
        limit, main = self.config.loop.max_tokens, self.workers.is_main
        return RunLog(self.folder, self.progress, limit, enabled=main)

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


def run_folder(out: Path) -> Path:
    """Where a run keeps its shards, resumable state and logs: beside the checkpoint."""
    return out.with_name(out.name + ".run")
