"""Training against the loop of pytorch/examples word_language_model, same shape, same windows.

    python -m benchmarks.training [--quick] [--save] [--preset cpu-small] [--set KEY=VALUE ...]
        [--text FILE ...]

train_vs_reference: training tokens/s of `Learner.step` with the preset over those of the
    reference: nn.Embedding, nn.LSTM, nn.Linear with tied weights, CrossEntropyLoss over all logits,
    clip_grad_norm_, plain SGD, fp32, hidden state carried; written afresh in that style.
learner_tokens_per_s, reference_tokens_per_s: of either.
tokenize_mb_per_s_per_core: with --text, sources as `train --corpus` takes them: MB of UTF-8 text
    turned into token files a second by as many processes as there are cores, over that number;
    reading, unpacking and the processes' start included. The tokenizer is the shipped checkpoint's.

The corpus is random token ids: what they are changes no time. Both sides use all cores unless
OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import SHIPPED, Benchmark, alternate, new_parser, parse
from models.architectures import build_model
from models.checkpoint import TOKENIZER
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from training.config import TrainConfig, load_config
from training.corpus import parse_source, read_source
from training.data import TokenStreams
from training.distributed import Workers
from training.learner import Learner
from training.precision import choose_precision
from training.shards import Shard, token_dtype, write_shard

WINDOWS = 40


class ReferenceModel(nn.Module):
    """Encoder, nn.LSTM and decoder; tied as the example ties them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, layers = config.hidden_sizes[0], config.num_layers
        self.encoder = nn.Embedding(config.vocab_size, config.embedding_size)
        self.rnn = nn.LSTM(config.embedding_size, size, layers)
        self.decoder = nn.Linear(size, config.vocab_size)
        if config.tie_weights:
            self.decoder.weight = self.encoder.weight

    def forward(
        self, ids: Tensor, hidden: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, hidden = self.rnn(self.encoder(ids), hidden)
        return self.decoder(output).view(-1, self.decoder.out_features), hidden


class ReferenceLoop:
    """One window after the other, as in the example's `train()`."""

    def __init__(self, config: ModelConfig, data: TokenStreams, bptt: int, clip: float) -> None:
        self.model, self.criterion = ReferenceModel(config), nn.CrossEntropyLoss()
        self.data, self.bptt, self.clip, self.lr = data, bptt, clip, 1.0
        self.hidden: tuple[Tensor, Tensor] | None = None

    def step(self) -> float:
        window = self.data.window(self.bptt)
        self.model.train()
        self.model.zero_grad()
        if self.hidden is not None:
            self.hidden = (self.hidden[0].detach(), self.hidden[1].detach())
        output, self.hidden = self.model(torch.from_numpy(window.inputs), self.hidden)
        loss = self.criterion(output, torch.from_numpy(window.targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        for parameter in self.model.parameters():
            assert parameter.grad is not None
            parameter.data.add_(parameter.grad, alpha=-self.lr)
        return float(loss.detach())


def random_streams(folder: Path, config: TrainConfig) -> TokenStreams:
    """A shard of random ids, long enough for some windows; reading begins again at its end."""
    vocab, loop = config.tokenizer.vocab_size, config.loop
    ids = np.random.default_rng(0).integers(vocab, size=WINDOWS * loop.bptt * loop.batch_size)
    ids.astype(token_dtype(vocab)).tofile(folder / "random.tokens")
    return TokenStreams(Shard(folder / "random.tokens", None, vocab), loop.batch_size, seed=0)


def tokenizing_speed(folder: Path, texts: Sequence[str]) -> float:
    """MB a second a core; one that is kept busy by something else counts too."""
    sources, cores = [parse_source(text) for text in texts], len(os.sched_getaffinity(0))
    documents = (document for source in sources for document in read_source(source))
    size = sum(
        len(part.encode())
        for document in documents
        for part in (document.text, *(turn.content for turn in document.turns))
    )
    tokenizer = Tokenizer.from_file(SHIPPED / TOKENIZER)
    began = time.perf_counter()
    write_shard(sources, tokenizer, folder / "text.tokens", processes=cores)
    return size / 1e6 / (time.perf_counter() - began) / cores


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.training", __doc__)
    parser.add_argument("--preset", default="cpu-small")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--text", nargs="+", default=[], metavar="FILE", help="also tokenise it")
    options = parse(parser, argv)
    benchmark = Benchmark("training", options)
    config = load_config(options.preset, options.overrides)
    precision = choose_precision(config.loop.precision, torch.device("cpu"))
    config = load_config(options.preset, [*options.overrides, f"loop.precision={precision}"])
    shape, loop = config.model.to_model_config(config.tokenizer.vocab_size), config.loop
    if len(set(shape.hidden_sizes)) > 1 or shape.residual or shape.architecture != "lstm":
        parser.error("the reference knows only LSTM layers of one width, without skip connections")
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    rounds = 3 if options.quick else 15
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(0, 1, torch.device("cpu"))
        data = [random_streams(Path(folder), config) for _ in range(2)]
        learner = Learner(config, build_model(shape), data[0], workers)
        reference = ReferenceLoop(shape, data[1], loop.bptt, config.optimizer.clip)
        timings = alternate(
            {"learner": learner.step, "reference": reference.step}, rounds=rounds, sample_seconds=0
        )
        tokenizing = (
            {"tokenize_mb_per_s_per_core": tokenizing_speed(Path(folder), options.text)}
            if options.text
            else {}
        )
    tokens = loop.batch_size * loop.bptt
    mine, theirs = timings["learner"].median, timings["reference"].median
    benchmark.publish(
        {
            "train_vs_reference": theirs / mine,
            "learner_tokens_per_s": tokens / mine,
            "reference_tokens_per_s": tokens / theirs,
            **tokenizing,
        },
        config={
            "preset": options.preset,
            "model": shape.to_dict(),
            "batch_size": loop.batch_size,
            "bptt": loop.bptt,
            "precision": loop.precision,
            "threads": torch.get_num_threads(),
            "rounds": rounds,
        },
        timings=timings,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
