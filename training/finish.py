"""After training: what is measured on the best checkpoint and written into it."""

from __future__ import annotations

from pathlib import Path

from models.activation_scales import INT8_LOSS_METRIC, int8_is_negligible
from models.checkpoint import Checkpoint, load_checkpoint, record_metrics
from training.data import TokenStreams
from training.distributed import say
from training.int8 import int8_relative_loss, sample_ids
from training.preparation import shards_of, stored_config
from training.shards import Shard

_INT8_STREAMS = 16


def finish(out: Path, folder: Path) -> None:
    """Measure what the service wants to know of a checkpoint, on the run's validation text."""
    checkpoint = load_checkpoint(out)
    _, valid = shards_of(folder, stored_config(folder), checkpoint.model.vocab_size)
    loss = int8_loss(checkpoint, valid)
    if loss is not None:
        record_metrics(out, {**checkpoint.metrics, INT8_LOSS_METRIC: loss}, checkpoint.card)
        say(describe_int8(loss))


def int8_loss(checkpoint: Checkpoint, valid: Shard) -> float | None:
    """Relative loss by int8 arithmetic on a text; None where there is no int8 form."""
    if checkpoint.model.architecture != "lstm" or checkpoint.model.adaptive_cutoffs:
        return None
    streams = min(_INT8_STREAMS, max(1, valid.num_tokens // 64))
    return int8_relative_loss(checkpoint, sample_ids(TokenStreams(valid, streams, seed=0)))


def describe_int8(loss: float) -> str:
    served = "int8" if int8_is_negligible({INT8_LOSS_METRIC: loss}) else "float32"
    return f"int8 costs {loss:+.3%} of the loss: precision=auto serves {served}"
