"""After training: what is measured on the best checkpoint, and written into and beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.activation_scales import INT8_LOSS_METRIC, int8_is_negligible
from models.checkpoint import Checkpoint, load_checkpoint, record_metrics
from training.card import with_measured
from training.data import TokenStreams
from training.distributed import say
from training.int8 import has_int8_form, int8_relative_loss, sample_ids
from training.preparation import shards_of
from training.report import bars, build_report
from training.report_forms import Table
from training.resolution import stored_config
from training.shards import Shard

REPORT = "report.html"
_INT8_STREAMS = 16


def finish(out: Path, folder: Path, tables: Sequence[Table] = ()) -> None:
    """The loss by int8 that the service asks for, and the report: terminal, card, `report.html`.

    tables: further findings for the report.
    """
    checkpoint = load_checkpoint(out)
    train, valid = shards_of(folder, stored_config(folder), checkpoint.model.vocab_size)
    metrics = dict(checkpoint.metrics)
    if (loss := int8_loss(checkpoint, valid)) is not None:
        metrics[INT8_LOSS_METRIC] = loss
    report = build_report(checkpoint, out, train, valid, tables)
    metrics["validation"] = {name: dict(row) for name, row in report.rows.items()}
    card = with_measured(checkpoint.card, report.markdown(), "validation")
    record_metrics(out, metrics, card)
    curves = folder / "curves.png"
    pictures = {"Bits a byte": bars(report)}
    if curves.exists():
        pictures["The run"] = curves.read_bytes()
    (out / REPORT).write_text(report.page(pictures), encoding="utf-8")
    for line in filter(None, report.lines()):
        say(line)
    if loss is not None:
        say(describe_int8(loss))
    say(f"report: {out / REPORT}")


def int8_loss(checkpoint: Checkpoint, valid: Shard) -> float | None:
    """Relative loss by int8 arithmetic on a text; None where there is no int8 form."""
    if not has_int8_form(checkpoint.model):
        return None
    streams = min(_INT8_STREAMS, max(1, valid.num_tokens // 64))
    return int8_relative_loss(checkpoint, sample_ids(TokenStreams(valid, streams, seed=0)))


def describe_int8(loss: float) -> str:
    """A line for people. loss: what int8 adds to the loss, relative (0.01 is a hundredth)."""
    served = "int8" if int8_is_negligible({INT8_LOSS_METRIC: loss}) else "float32"
    return f"int8 costs {loss:+.3%} of the loss: precision=auto serves {served}"
