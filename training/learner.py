"""A network that learns, one window at a time: truncated back-propagation through time.

Werbos 1990; Williams & Peng 1990 for the truncation with carried state; Pascanu et al. 2013 for
the clipping of the gradient's norm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.language_model import LanguageModel
from training.averaging import WeightAverage
from training.config import TrainConfig
from training.data import Position, TokenStreams, Window, window_length
from training.distributed import Workers
from training.optimizers import build_optimizer, learning_rate
from training.regularization import Objective
from training.run_state import Progress, RunState, flatten_state, unflatten_state


class Learner:
    """Takes steps on `data` and measures; knows nothing of files. `state` is all that changes."""

    def __init__(
        self, config: TrainConfig, model: LanguageModel, data: TokenStreams, workers: Workers
    ) -> None:
        self.config, self.data, self.workers = config, data, workers
        precision = getattr(torch, config.loop.precision)
        self.objective = Objective(model, config.regularization, precision)
        self._parallel = workers.parallel(self.objective)
        self.state = RunState(
            model=model,
            optimizer=build_optimizer(model, config.optimizer),
            average=WeightAverage(model, config.averaging),
            carried=model.initial_state(data.num_mine),
            position=data.position,
            progress=Progress(),
        )

    def step(self) -> tuple[Tensor, Tensor]:
        """Learn from one window: loss in nats a token, and the gradient's norm before clipping.

        Both are scalars on the device; of several processes, the loss is this one's share times
        their number.
        """
        config, state, loop = self.config, self.state, self.config.loop
        progress = state.progress
        steps = window_length(loop.bptt, loop.variable_bptt, loop.seed, progress.step)
        window = self.data.window(steps)
        rate = learning_rate(config.optimizer, progress.tokens, loop.max_tokens)
        for group in state.optimizer.param_groups:
            # A shorter window gives a noisier gradient (Merity et al. 2018).
            group["lr"] = rate * (steps / loop.bptt if loop.variable_bptt else 1)
        # Dropout is drawn from the seed, the step and the process alone: nothing to save.
        torch.manual_seed((loop.seed * 1_000_003 + progress.step) * 4096 + self.workers.rank)
        self.objective.train()
        share = self.workers.size / max(window.num_counted, 1)
        carried = self._reset_some(state.carried.detach())
        loss, nll, state.carried = self._parallel(*self._on_device(window), share, carried)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.optimizer.clip)
        state.optimizer.step()
        progress.step += 1
        progress.tokens += len(window.inputs) * loop.batch_size
        state.position = self.data.position
        state.average.update(progress.tokens / loop.max_tokens)
        return nll, norm

    @torch.no_grad()
    def measure(self, data: TokenStreams, limit: int) -> float:
        """Nats a token over about `limit` tokens of `data` from its start, state carried.

        The averaged weights are measured, where there are any.
        """
        self.objective.eval()
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
        nll_sum, tokens = self.workers.sum([float(total), count])
        return nll_sum / max(tokens, 1)

    def _reset_some(self, carried: Any) -> Any:
        """The state with some streams' rows zeroed, drawn from the seed and the step.

        A state that is only ever carried on drifts to where a fresh one never comes, and the
        weights come to rely on it: text that starts from nothing is then predicted badly, by over
        a nat a token on small corpora.
        """
        loop, step = self.config.loop, self.state.progress.step
        if loop.state_reset == 0:
            return carried
        draw = np.random.default_rng([loop.seed, step]).random(loop.batch_size)
        kept = torch.from_numpy(draw[self.data.mine] >= loop.state_reset)
        mask = kept[:, None].to(self.workers.device, torch.float32)
        return unflatten_state(carried, [(x * mask).to(x.dtype) for x in flatten_state(carried)])

    def _on_device(self, window: Window) -> tuple[Tensor, Tensor, Tensor | None]:
        def move(array: object) -> Tensor:
            tensor = torch.as_tensor(array)
            if self.workers.device.type == "cpu":
                return tensor
            return tensor.pin_memory().to(self.workers.device, non_blocking=True)

        rows = None if window.rows is None else move(window.rows)
        return move(window.inputs), move(window.targets), rows
