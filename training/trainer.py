"""The training loop: steps, validations, saves and signals, until the run is over."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.data import TokenStreams
from training.learner import Learner
from training.log import RunLog
from training.publish import Publisher
from training.run_state import Progress, flatten_state

_LOG_STEPS = 20


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and how far it had come."""

    reason: str  # "finished", "early stop" or "interrupted"
    progress: Progress


class Trainer:
    """One run. The publisher's `out` becomes the checkpoint; `folder` holds state and logs."""

    def __init__(
        self, learner: Learner, valid: TokenStreams, publisher: Publisher, folder: Path
    ) -> None:
        self.learner, self.valid_data = learner, valid
        self.publisher, self.folder = publisher, folder
        self.config, self.workers = learner.config, learner.workers
        # A look at a number on a GPU waits for all work given to it.
        self.check_steps = 1 if self.workers.device.type == "cpu" else _LOG_STEPS
        self.unchecked: list[tuple[Tensor, Tensor]] = []  # loss and gradient norm of steps
        self.unlogged: list[tuple[float, float]] = []
        self.interrupted = False
        self.saved_at = time.monotonic()
        # In seconds of training. The first validation is early: it tells soon whether all is well,
        # and from it on there is a checkpoint.
        self.validate_at = self.progress.seconds + self.config.loop.eval_seconds / 3
        self.validated_step = -1

    @property
    def progress(self) -> Progress:
        return self.learner.state.progress

    def run(self) -> Outcome:
        """Train to the end, an early stop or a signal; the best checkpoint lies in `out`."""
        if (reason := self._ended()) != "":
            return Outcome(reason, self.progress)
        started = time.monotonic() - self.progress.seconds
        with self._guarded(), self._log() as log:
            while reason == "":
                before = self.progress.tokens
                self.unchecked.append(self.learner.step())
                self.progress.seconds = time.monotonic() - started
                log.advance(self.progress.tokens - before)
                reason = self._after_step(log, before)
            if reason == "interrupted" and self.validated_step != self.progress.step:
                self.validate(log)
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
        due = ended or (every > 0 and before // every != self.progress.tokens // every)
        if not due and self.progress.step % self.check_steps:
            return ""
        interrupted, save, late = self.check()
        self._report(log)
        if due or (late and not interrupted):
            self.validate(log)
        if save:
            self.save()
        return self._ended() or ("interrupted" if interrupted else "")

    def check(self) -> tuple[bool, bool, bool]:
        """Look at what was computed since the last check: (interrupted, time to save, to validate).

        All processes come to the same answer. Raises TrainingError where a loss is no number.
        """
        steps = len(self.unchecked)
        flat = [number.double() for pair in self.unchecked for number in pair]
        local = torch.stack(flat).tolist() if flat else []
        self.unchecked.clear()
        loop, main = self.config.loop, self.workers.is_main
        save = main and time.monotonic() - self.saved_at > loop.save_seconds
        late = main and not loop.eval_tokens and self.progress.seconds > self.validate_at
        flags = [float(self.interrupted), float(save), float(late)]
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
        return sums[-3] > 0, sums[-2] > 0, sums[-1] > 0

    def validate(self, log: RunLog) -> None:
        """Measure, log, and keep the checkpoint if it is the best so far."""
        state, progress, started = self.learner.state, self.progress, time.monotonic()
        loss = self.learner.measure(self.valid_data, self.config.loop.valid_limit)
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss became {loss}: lower optimizer.lr")
        progress.losses.append(loss)
        self.validated_step = progress.step
        cost = time.monotonic() - started
        self.validate_at = progress.seconds + max(self.config.loop.eval_seconds, 20 * cost)
        state.average.observe(progress.losses)
        log.write(progress, {"valid_loss": loss})
        log.say(f"{progress.tokens:>12,} tokens: validation {loss:.4f} nats a token")
        for warning in self._warnings(loss):
            log.say(f"WARNING: {warning}")
        if progress.without_gain == 0 and self.workers.is_main:
            with state.average.applied():
                self.publisher.save(state.model, progress)
            log.redraw()
            self.publisher.add_curves(log.curves)

    def _warnings(self, loss: float) -> list[str]:
        uniform = math.log(self.learner.state.model.config.vocab_size)
        if loss > uniform:
            return [
                f"{loss:.2f} nats a token is worse than a uniform guess ({uniform:.2f}): lower "
                "optimizer.lr, or look at the data with `lstm-train prepare`"
            ]
        if self.progress.without_gain >= 2 and loss > 1.15 * self.progress.best_loss:
            return [
                f"the loss is rising: {loss:.2f} against {self.progress.best_loss:.2f} at its "
                "best; lower optimizer.lr, or train for less long on so little text"
            ]
        return []

    def save(self) -> None:
        """Everything that `resume` needs to go on as if nothing had happened."""
        parts = flatten_state(self.learner.state.carried)
        carried = [self.workers.gather(part, dim=-2) for part in parts]
        if self.workers.is_main:
            self.learner.state.save(self.folder / "state", carried)
        self.saved_at = time.monotonic()

    def resume(self) -> bool:
        """Go back to the last save; False where there is none."""
        data, state = self.learner.data, self.learner.state
        found = state.load(self.folder / "state", data.mine)
        data.position = state.position
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
            "lr": float(self.learner.state.optimizer.param_groups[0]["lr"]),
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

        # Signals reach the main thread only; a run in another one is not interrupted by them.
        is_main = threading.current_thread() is threading.main_thread()
        signals = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        before = {s: signal.signal(s, interrupt) for s in signals}
        torch.set_flush_denormal(True)  # vanishing probabilities would cost 50 times the time
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            torch.set_flush_denormal(False)
