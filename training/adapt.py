"""A trained model goes on with a little text of a domain: rate and length found on the way.

A few short trials with different learning rates, each from the base's weights; the best rate then
trains for as many passes as the text deserves and the time allows. The best checkpoint is kept, and
measured beside the base on the held-out text, on text of the base's own, and on given words.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.checkpoint import Checkpoint, load_checkpoint, record_metrics
from models.tokenizer import Tokenizer
from training.config import TrainConfig, parse_config
from training.data import TokenStreams
from training.distributed import Workers, join, say
from training.evaluate import model_of
from training.finish import finish
from training.learner import Learner
from training.mixture import MIXTURE, own_files, write_mixture
from training.preparation import prepare, shards_of
from training.report_forms import Table
from training.resolution import stored_config, write_config
from training.run import new_model, train_prepared, valid_streams
from training.run_request import RunRequest, model_values
from training.scoring import sample_documents, token_losses
from training.trainer import Outcome
from training.word_probability import WordChange, word_logprobs

RATES = (3e-4, 1e-3, 3e-3)
_TRIAL_TOKENS = 40_000
_TRIAL_VALID = 10_000
_OWN_DOCUMENTS, _OWN_TOKENS = 64, 128
_FORGETTING = 0.05  # of the loss on the base's own text, that is worth a warning
# Training tokens up to which a number of passes holds.
_PASSES = ((300_000, 6), (3_000_000, 4), (30_000_000, 2), (float("inf"), 1))


@dataclass(frozen=True, kw_only=True)
class AdaptRequest:
    """mix: files of the base's sort of text, or "self" for text that the base writes, which make
    up `mix_share` of what is trained on. words: whose probability is shown before and after.
    minutes: that training should stay within."""

    base: Path
    corpus: Sequence[str]
    out: Path
    valid: Sequence[str] = ()
    mix: Sequence[str] = ()
    mix_share: float = 0.3
    words: Path | None = None
    minutes: float = 6.0
    rate: float | None = None
    epochs: float | None = None
    license: str = ""
    text_key: str = "text"
    column: str = ""
    dedupe: bool = False
    processes: int = 1
    command: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """Losses in nats a token: before and after, on the domain's held-out text and on text that the
    base wrote itself. rates: the trials' losses by learning rate."""

    outcome: Outcome
    rates: dict[float, float]
    valid_before: float
    valid_after: float
    own_before: float
    own_after: float
    words: list[WordChange] = field(default_factory=list)

    @property
    def forgotten(self) -> float:
        """How much larger the loss on the base's own text has become, relative to it."""
        return self.own_after / self.own_before - 1

    def tables(self) -> list[Table]:
        """For the report."""
        texts = (
            ("the held-out text of the domain", self.valid_before, self.valid_after),
            ("text that the base made up", self.own_before, self.own_after),
        )
        losses = [
            (name, f"{before:.3f}", f"{after:.3f}", f"{after / before - 1:+.1%}")
            for name, before, after in texts
        ]
        head = ("nats a token", "before", "after", "change")
        found = [Table("What was won and what was lost", head, losses)]
        if self.words:
            rows = [
                (
                    w.word,
                    f"{w.before:.2f}",
                    f"{w.after:.2f}",
                    f"x {math.exp(w.after - w.before):,.3g}",
                )
                for w in self.words
            ]
            head = ("ln P at the start of a text", "before", "after", "probability")
            found.append(Table("Given words", head, rows))
        return found

    def metrics(self) -> dict[str, Any]:
        """For the checkpoint's metrics.json."""
        return {
            "learning_rate_trials": {f"{rate:g}": loss for rate, loss in self.rates.items()},
            "valid_before_nats_per_token": self.valid_before,
            "valid_after_nats_per_token": self.valid_after,
            "base_text_before_nats_per_token": self.own_before,
            "base_text_after_nats_per_token": self.own_after,
            "words": {w.word: {"before": w.before, "after": w.after} for w in self.words},
        }


def adapt(request: AdaptRequest) -> Adapted:
    """The whole of it; raises ValueError, RuntimeError or OSError."""
    base = load_checkpoint(request.base)
    run = _run_request(request, base)
    run.folder.mkdir(parents=True, exist_ok=True)
    if request.mix:
        corpus, other = run.sources(request.corpus), run.sources(own_files(request.mix))
        write_mixture(run.folder / MIXTURE, base, corpus, other, request.mix_share)
    with join("cpu") as workers:
        prepare(run, workers.device)
        rates, speed = _try_rates(request, run, workers)
        _decide(request, run, min(rates, key=rates.__getitem__), speed)
        outcome = train_prepared(run, workers)
    if not run.out.exists():
        raise RuntimeError("interrupted before the first validation: there is no checkpoint")
    adapted = _compare(request, run, base, outcome, rates)
    checkpoint = load_checkpoint(run.out)
    metrics = {**checkpoint.metrics, "adaptation": adapted.metrics()}
    record_metrics(run.out, metrics, checkpoint.card)
    tell(adapted)
    finish(run.out, run.folder, adapted.tables())
    return adapted


def find_base(name: str) -> Path:
    """A folder, or the name of a shipped checkpoint; ValueError names those there are."""
    import models

    shipped = Path(models.__file__).parent / "pretrained"
    for folder in (Path(name), shipped / name):
        if folder.is_dir():
            return folder
    known = ", ".join(sorted(p.name for p in shipped.iterdir() if p.is_dir()))
    raise ValueError(f"--base {name}: no such folder, and no shipped model (there are {known})")


def _run_request(request: AdaptRequest, base: Checkpoint) -> RunRequest:
    """A run in the shape of the base; rate and length are decided after the trials."""
    old = base.training.get("origin", {}).get("license", "not stated")
    own = request.license or "the adaptation text's is not stated"
    values = {
        "description": f"{request.base.name}, adapted to another text.",
        "model": model_values(base),
        "tokenizer": {"vocab_size": base.model.vocab_size},
        "optimizer": {"lr": RATES[1], "warmup_tokens": 0, "clip": 0.5},
        "averaging": {"kind": "exponential", "decay": 0.99},
        "regularization": {"layer_dropout": 0.1, "output_dropout": 0.2},
        "loop": {"batch_size": 16, "bptt": 64, "patience": 3, "valid_limit": 60_000},
        "sampling": dict(base.sampling_defaults),
    }
    also = (str(request.out.with_name(request.out.name + ".run") / MIXTURE),) if request.mix else ()
    return RunRequest(
        corpus=request.corpus,
        valid=request.valid,
        also=also,
        out=request.out,
        config=parse_config(values),
        init_from=request.base,
        text_key=request.text_key,
        column=request.column,
        dedupe=request.dedupe,
        processes=request.processes,
        license=f"base: {old}; text: {own}",
        command=request.command,
    )


def _try_rates(
    request: AdaptRequest, run: RunRequest, workers: Workers
) -> tuple[dict[float, float], float]:
    """Validation loss after a short run with each rate, and tokens a second."""
    config = stored_config(run.folder)
    rates = RATES if request.rate is None else (request.rate,)
    found, tokens, spent = dict[float, float](), 0, 0.0
    for rate in rates:
        train, valid = shards_of(run.folder, config, config.tokenizer.vocab_size)
        budget = min(train.num_tokens, _TRIAL_TOKENS)
        trial = _with(config, lr=rate, max_tokens=budget, warmup_tokens=budget // 10)
        data = TokenStreams(train, config.loop.batch_size, config.loop.seed)
        learner = Learner(trial, new_model(run, config, train.vocab_size), data, workers)
        started = time.monotonic()
        while learner.state.progress.tokens < budget:
            learner.step()
        spent += time.monotonic() - started
        tokens += learner.state.progress.tokens
        found[rate] = learner.measure(valid_streams(valid, workers), _TRIAL_VALID)
        say(f"trial: learning rate {rate:g} -> {found[rate]:.4f} nats a token")
    return found, tokens / max(spent, 1e-9)


def _decide(request: AdaptRequest, run: RunRequest, rate: float, speed: float) -> None:
    """Rate and length for the run itself, written where it reads its settings."""
    config = stored_config(run.folder)
    train, _ = shards_of(run.folder, config, config.tokenizer.vocab_size)
    tokens = train.num_tokens
    passes = next(n for limit, n in _PASSES if tokens <= limit)
    affordable = request.minutes * 60 * speed / tokens
    chosen = request.epochs or max(min(passes, affordable), 0.2)
    total = round(chosen * tokens)
    decided = _with(
        config,
        lr=rate,
        max_tokens=total,
        warmup_tokens=total // 20,
        eval_tokens=max(round(min(tokens / 2, total / 6)), 1),
    )
    cut = chosen < passes and not request.epochs
    why = f" (as many as {request.minutes:g} minutes allow)" if cut else ""
    say(f"adapting: learning rate {rate:g}, {chosen:.1f} passes over {tokens:,} tokens{why}")
    write_config(run.folder, decided)


def _with(
    config: TrainConfig, *, lr: float, max_tokens: int, warmup_tokens: int, eval_tokens: int = 0
) -> TrainConfig:
    values = config.model_dump(mode="json")
    values["optimizer"] |= {"lr": lr, "warmup_tokens": warmup_tokens}
    values["loop"] |= {"max_tokens": max_tokens, "eval_tokens": eval_tokens}
    return parse_config(values)


def _compare(
    request: AdaptRequest,
    run: RunRequest,
    base: Checkpoint,
    outcome: Outcome,
    rates: dict[float, float],
) -> Adapted:
    """The base and the best checkpoint on the same texts."""
    config = stored_config(run.folder)
    _, valid = shards_of(run.folder, config, base.model.vocab_size)
    before, after = model_of(base), model_of(load_checkpoint(run.out))
    own = sample_documents(
        before, base.tokenizer, count=_OWN_DOCUMENTS, max_tokens=_OWN_TOKENS, seed=0
    )
    ids = valid.read(config.loop.valid_limit).astype(np.int64)
    pieces = [part.tolist() for part in np.array_split(ids, max(1, len(ids) // 512))]
    words = [] if request.words is None else _changes(request.words, base.tokenizer, before, after)

    def mean(model: Any, texts: Sequence[Sequence[int]]) -> float:
        return float(np.concatenate(token_losses(model, texts)).mean(dtype=np.float64))

    return Adapted(
        outcome=outcome,
        rates=rates,
        valid_before=mean(before, pieces),
        valid_after=mean(after, pieces),
        own_before=mean(before, own),
        own_after=mean(after, own),
        words=words,
    )


def _changes(path: Path, tokenizer: Tokenizer, before: Any, after: Any) -> list[WordChange]:
    words = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    pair = (word_logprobs(model, tokenizer, words) for model in (before, after))
    return [WordChange(word, old, new) for word, old, new in zip(words, *pair, strict=True)]


def tell(adapted: Adapted) -> None:
    """What was won and what was lost, in lines for people."""
    before, after = adapted.valid_before, adapted.valid_after
    say(
        f"held-out text: {before:.4f} -> {after:.4f} nats a token "
        f"(perplexity {np.exp(before):.1f} -> {np.exp(after):.1f})"
    )
    say(
        f"the base's own text: {adapted.own_before:.4f} -> {adapted.own_after:.4f} nats a token "
        f"({adapted.forgotten:+.1%})"
    )
    if after >= before:
        say("WARNING: the text taught the model nothing: keep the base")
    elif adapted.forgotten > _FORGETTING:
        say(
            "WARNING: the model has become worse on the base's own text; where that matters, "
            "mix some in: --mix FILE, or --mix self for text that the base makes up"
        )
    for word in adapted.words:
        say(f"  {word.word}: ln P {word.before:.2f} -> {word.after:.2f}")
