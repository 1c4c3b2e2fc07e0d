"""Checkpoint -> engine, in the process or thread that will own it.

The input table, a model's largest array, lies once in shared memory for all engine processes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from models.activation_scales import int8_is_negligible
from models.checkpoint import Checkpoint, load_checkpoint
from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineInfo, EngineOptions
from service.engine.hosts.replicas import shared_table
from service.engine.hosts.self_check import check_known_answers
from service.engine.runners.base import ModelRunner, why_not_servable
from service.engine.runners.onnx_graph import Arithmetic, input_table
from service.engine.runners.onnx_session import integer_products_are_exact
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache


def load_engine(
    folder: Path, options: EngineOptions, table_file: int | None = None
) -> tuple[Engine, EngineInfo]:
    """Read the checkpoint and build everything; raises ValueError where it cannot be served."""
    checkpoint = load_checkpoint(folder)
    runner = build_runner(checkpoint, options, table_file)
    check_known_answers(runner, checkpoint.model, checkpoint.weights)
    engine = Engine(
        runner,
        Scheduler(runner.max_rows),
        StateCache(options.cache_bytes),
        spellings=list(map(checkpoint.tokenizer.token_bytes, range(runner.vocab_size))),
        burst_s=options.burst_s,
    )
    info = EngineInfo(
        digest=checkpoint.digest,
        device=runner.device,
        precision=runner.arithmetic,
        vocab_size=runner.vocab_size,
        state_size=runner.layout.size,
    )
    return engine, info


def build_runner(
    checkpoint: Checkpoint, options: EngineOptions, table_file: int | None = None
) -> ModelRunner:
    """The kernel for the device and precision that `options` ask for."""
    if reason := why_not_servable(checkpoint.model):
        raise ValueError(reason)
    if options.device == "cuda" or (options.device == "auto" and _has_cuda()):
        if options.precision == "int8":
            raise ValueError("precision int8: the GPU computes in fp32; use precision fp32 or auto")
        from service.engine.runners.torch_runner import TorchRunner

        return TorchRunner(
            checkpoint.model, checkpoint.weights, device="cuda", max_rows=options.max_num_seqs
        )
    from service.engine.runners.onnx_runner import OnnxRunner

    compute = partial(input_table, checkpoint.weights)
    return OnnxRunner(
        checkpoint.model,
        checkpoint.weights,
        arithmetic=choose_arithmetic(checkpoint, options),
        max_rows=options.max_num_seqs,
        threads=options.threads,
        table=None if table_file is None else shared_table(table_file, compute),
    )


def choose_arithmetic(checkpoint: Checkpoint, options: EngineOptions) -> Arithmetic:
    """int8 where the checkpoint's measured loss by it is negligible, unless told otherwise.

    Never where the processor cannot compute it exactly; to ask for it there is a ValueError.
    """
    if options.precision == "fp32":
        return "fp32"
    if options.precision == "auto":
        negligible = int8_is_negligible(checkpoint.metrics)
        return "int8" if negligible and integer_products_are_exact() else "fp32"
    if not integer_products_are_exact():
        raise ValueError(
            "precision int8: this processor's products of bytes overflow (no VNNI); use fp32"
        )
    return "int8"


def _has_cuda() -> bool:
    """Whether a GPU can be used; torch is only imported where a driver is present."""
    if not Path("/proc/driver/nvidia").exists():
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
