"""The step, the matrix products in it, the sampler and the loop around them. Model S, one core.

    python -m benchmarks.engine [--quick] [--save] [--threads N] [--precision int8|fp32]

step_b{1,64}_vs_nn_lstm: tokens/s of the runner (`step` and `logprobs` for every row) over those of
    a torch.nn.LSTM step and log_softmax over the tied matrix, fp32, as torch comes.
step_b{1,64}_vs_nn_lstm_without_onednn: the same with oneDNN switched off in torch. With it a step
    packs nn.LSTM's weights anew at every call; an engineer who looks twice finds that.
int8_gemm_fraction_b64: seconds of one step's matrix products at 64 rows over seconds of the
    runner's `step` and `logprobs`. The products: ONNX Runtime's MatMulInteger, uint8 times constant
    int8 to int32, in one session that does nothing else, [64, 512] x [512, 2048] for layer 0,
    [64, 1024] x [1024, 2048] for layer 1, [64, 512] x [512, 8192] for the softmax.
step_b1_vs_bandwidth: seconds to read as many bytes as a step's int8 matrices have, once and for
    nothing, on one thread, over the runner's seconds: how near the step is to the memory's limit.
sampling_share_b64: seconds of engine.sampling.sampler.sample for 64 rows over the runner's seconds.
    Settings: temperature 0.8, top_k 50, top_p 0.95, presence and frequency penalty 0.2, logprobs 5;
    each row has generated 128 tokens; rows are distributed by Zipf's law. As in the service, seven
    control tokens are never sampled.
sampling_share_b64_plain, sampling_share_b64_repetition: the same with temperature 1 alone; and with
    repetition_penalty 1.1 too.
sampling_share_b64_nucleus, sampling_share_b64_wide: with temperature 0.65 and top_p 0.9, as the
    shipped model is served; and the same where all tokens are about equally probable.
guided_mask_share_b64: what masks of a grammar add to a draw of 64 rows, over the runner's seconds:
    temperature 1, each row at another place of a JSON text that a schema describes.
engine_b{1,64}_tokens_per_s: streams of 128 tokens through Engine, so scheduling, step, sampling at
    temperature 1, outputs; engine_b64_settings_tokens_per_s: with the settings above.
engine_b{1,64}_vs_step: the engine's rate over that of the bare step of so many rows.
loop_overhead_b64: seconds that a step of Engine takes beyond the runner and the sampler (both at
    temperature 1) over the runner's seconds.
max_error_nats: largest difference of any log-probability between runner and nn.LSTM, 8 steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.baseline import NnLstm, State
from benchmarks.guided_draws import guided_sampling
from benchmarks.harness import (
    Benchmark,
    Json,
    Timing,
    add_kernel_options,
    alternate,
    new_parser,
    parse,
)
from benchmarks.int8_gemm import int8_products, operations, reading, weight_bytes
from benchmarks.model_s import MODEL_S, build_runner, check_error, new_engine, random_weights
from benchmarks.streams import generate, stream_requests
from models.config import ModelConfig
from models.weights import Weights
from service.engine.request import Floats, SamplingParams
from service.engine.runners.base import ModelRunner
from service.engine.runners.onnx_graph import Arithmetic
from service.engine.sampling.logits_processors import SampleState
from service.engine.sampling.sampler import Scratch, sample

ROWS = 64
# Control tokens, which the service never lets a text contain.
PLAIN = SamplingParams(temperature=1.0, suppressed_token_ids=tuple(range(7)))
SETTINGS = replace(
    PLAIN,
    temperature=0.8,
    top_k=50,
    top_p=0.95,
    presence_penalty=0.2,
    frequency_penalty=0.2,
    logprobs=5,
)
NUCLEUS = replace(PLAIN, temperature=0.65, top_p=0.9)
REPETITION = replace(SETTINGS, repetition_penalty=1.1)
_HISTORY = 128

Task = Callable[[], object]


def runner_step(runner: ModelRunner, rows: int) -> Task:
    """One token for each row, and the distributions after it."""
    ids, places = np.arange(rows), np.arange(rows)

    def task() -> None:
        runner.step(ids)
        runner.logprobs(places)

    return task


class NnLstmStep:
    """The same in torch; the state is carried from call to call."""

    def __init__(self, model: NnLstm, rows: int, *, onednn: bool) -> None:
        self._model, self._ids, self._onednn = model, torch.arange(rows), onednn
        self._state: State | None = None

    def __call__(self) -> None:
        torch.backends.mkldnn.set_flags(self._onednn)  # type: ignore[no-untyped-call]
        _, self._state = self._model.step(self._ids, self._state)
        torch.backends.mkldnn.set_flags(True)  # type: ignore[no-untyped-call]


def zipf_logprobs(rows: int, vocab_size: int) -> Floats:
    """Rows of ln P by Zipf's law, each over its own order of the vocabulary."""
    draw = np.random.default_rng(0)
    ranked = -np.log(np.arange(1, vocab_size + 1))
    ranked -= np.log(np.exp(ranked).sum())
    return np.stack([draw.permutation(ranked) for _ in range(rows)]).astype(np.float32)


def flat_logprobs(rows: int, vocab_size: int) -> Floats:
    """Rows of ln P that differ little, as those of a model that knows nothing."""
    logits = 0.3 * np.random.default_rng(3).standard_normal((rows, vocab_size))
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits.astype(np.float32)


def sampling(runner: ModelRunner, params: SamplingParams, logprobs: Floats) -> Task:
    """Draw a token for each row, as the engine does in the middle of 64 streams."""
    draw = np.random.default_rng(1)
    probabilities = np.exp(logprobs.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    states = []
    for key, own in enumerate(probabilities):
        state = SampleState.of(params, key, prompt=range(16))
        for token in draw.choice(len(own), _HISTORY, p=own).tolist():
            state.append(token)
        states.append(state)
    runner.logprobs(np.arange(len(states)))  # whose logits a repetition penalty looks at
    scratch = Scratch()
    return lambda: sample(logprobs, states, runner.logits, scratch)


def streams(runner: ModelRunner, count: int, params: SamplingParams) -> Task:
    """So many streams from their first token to their last, in an engine that is new."""
    prompts = [[k + 1] for k in range(count)]
    return lambda: generate(new_engine(runner), stream_requests(prompts, params))


def largest_error(runner: ModelRunner, model: NnLstm, rows: int) -> float:
    """Of the log-probabilities after a few steps from nothing, in nats."""
    draw = np.random.default_rng(2)
    runner.write_states(0, [None] * rows)
    state: State | None = None
    worst = 0.0
    for _ in range(8):
        ids = draw.integers(runner.vocab_size, size=rows)
        expected, state = model.step(torch.from_numpy(ids), state)
        runner.step(ids)
        found = runner.logprobs(np.arange(rows))
        worst = max(worst, float(np.abs(found - expected.numpy()).max()))
    return worst


def tasks_of(
    config: ModelConfig, weights: Weights, runner: ModelRunner, *, threads: int, length: int
) -> dict[str, Task]:
    """All that is timed, by name. length: tokens of a stream."""
    model = NnLstm(config, weights)
    logprobs = zipf_logprobs(ROWS, config.vocab_size)
    tasks: dict[str, Task] = {
        "int8_gemm_b64": int8_products(config, ROWS, threads),
        "reading": reading(weight_bytes(config)),
    }
    for rows in (1, ROWS):
        tasks[f"step_b{rows}"] = runner_step(runner, rows)
        tasks[f"nn_lstm_b{rows}"] = NnLstmStep(model, rows, onednn=True)
        tasks[f"nn_lstm_b{rows}_without_onednn"] = NnLstmStep(model, rows, onednn=False)
        plain = replace(PLAIN, max_tokens=length)
        tasks[f"streams_b{rows}"] = streams(runner, rows, plain)
    tasks["streams_b64_settings"] = streams(runner, ROWS, replace(SETTINGS, max_tokens=length))
    sampled = {"settings": SETTINGS, "plain": PLAIN, "repetition": REPETITION, "nucleus": NUCLEUS}
    for name, params in sampled.items():
        tasks[f"sampling_b64_{name}"] = sampling(runner, params, logprobs)
    tasks["sampling_b64_guided"] = guided_sampling(logprobs, PLAIN)
    tasks["sampling_b64_wide"] = sampling(runner, NUCLEUS, flat_logprobs(ROWS, config.vocab_size))
    return tasks


def figures_of(timings: dict[str, Timing], *, length: int) -> Json:
    """What the timings say; see the module's docstring."""
    seconds = {name: timing.median for name, timing in timings.items()}
    step = seconds["step_b64"]
    steps = length + 1  # the prompt's token takes one too
    loop = seconds["streams_b64"] / steps - step - seconds["sampling_b64_plain"]
    return {
        "step_b1_vs_nn_lstm": seconds["nn_lstm_b1"] / seconds["step_b1"],
        "step_b64_vs_nn_lstm": seconds["nn_lstm_b64"] / step,
        "step_b1_vs_nn_lstm_without_onednn": seconds["nn_lstm_b1_without_onednn"]
        / seconds["step_b1"],
        "step_b64_vs_nn_lstm_without_onednn": seconds["nn_lstm_b64_without_onednn"] / step,
        "step_b1_vs_bandwidth": seconds["reading"] / seconds["step_b1"],
        "int8_gemm_fraction_b64": seconds["int8_gemm_b64"] / step,
        "sampling_share_b64": seconds["sampling_b64_settings"] / step,
        "sampling_share_b64_plain": seconds["sampling_b64_plain"] / step,
        "sampling_share_b64_repetition": seconds["sampling_b64_repetition"] / step,
        "sampling_share_b64_nucleus": seconds["sampling_b64_nucleus"] / step,
        "sampling_share_b64_wide": seconds["sampling_b64_wide"] / step,
        "guided_mask_share_b64": (seconds["sampling_b64_guided"] - seconds["sampling_b64_plain"])
        / step,
        "step_b1_tokens_per_s": 1 / seconds["step_b1"],
        "step_b64_tokens_per_s": ROWS / step,
        "engine_b1_tokens_per_s": length / seconds["streams_b1"],
        "engine_b64_tokens_per_s": ROWS * length / seconds["streams_b64"],
        "engine_b64_settings_tokens_per_s": ROWS * length / seconds["streams_b64_settings"],
        "engine_b1_vs_step": seconds["step_b1"] * steps / seconds["streams_b1"],
        "engine_b64_vs_step": step * steps / seconds["streams_b64"],
        "loop_overhead_b64": loop / step,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.engine", __doc__)
    add_kernel_options(parser)
    options = parse(parser, argv)
    benchmark = Benchmark("engine", options)
    torch.set_num_threads(options.threads)
    precision: Arithmetic = options.precision
    length, rounds = (8, 3) if options.quick else (128, 15)
    weights = random_weights(MODEL_S)
    runner = build_runner(MODEL_S, weights, precision=precision, rows=ROWS, threads=options.threads)
    error = check_error(largest_error(runner, NnLstm(MODEL_S, weights), ROWS), precision)
    tasks = tasks_of(MODEL_S, weights, runner, threads=options.threads, length=length)
    sample_seconds = 0.01 if options.quick else 0.1
    timings = alternate(tasks, rounds=rounds, sample_seconds=sample_seconds)
    figures = figures_of(timings, length=length)
    gemm_rate = operations(MODEL_S, ROWS) / timings["int8_gemm_b64"].median / 1e9
    benchmark.publish(
        {**figures, "int8_gemm_gops": gemm_rate, "max_error_nats": error},
        config={
            "model": MODEL_S.to_dict(),
            "precision": precision,
            "threads": options.threads,
            "rounds": rounds,
            "stream_tokens": length,
        },
        timings=timings,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
