"""sherpa-onnx's two forms of a language model, for rescoring and for shallow fusion.

Float32, built from the weights with ONNX's own LSTM operator. Ids are int64 and must be those of
the recogniser's own tokens; inputs and outputs go by their places. The online form's first state is
the one after a step on `sos_id` from zeros, which sherpa-onnx takes itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from onnx import TensorProto, numpy_helper

from models.checkpoint import TOKENIZER, Checkpoint
from models.config import ModelConfig
from models.weights import Weights
from training.onnx_graph import Graph

SherpaForm = Literal["sherpa-onnx", "sherpa-onnx-online"]
MODEL, TOKENS = "model.onnx", "tokens.txt"


def export_sherpa(checkpoint: Checkpoint, form: SherpaForm, folder: Path) -> None:
    """Write `model.onnx`, the tokenizer and `tokens.txt` (`piece id` a line) into `folder`.

    Raises ValueError for a network that the form cannot hold.
    """
    config, weights, tokenizer = checkpoint.model, checkpoint.weights, checkpoint.tokenizer
    sos, eos = tokenizer.bos_id, tokenizer.eos_id
    metadata = {
        "num_layers": str(config.num_layers),
        "hidden_size": str(config.hidden_sizes[0]),
        "sos_id": str(sos),
        "eos_id": str(eos),
        "vocab_size": str(config.vocab_size),
        "checkpoint_digest": checkpoint.digest,
    }
    if form == "sherpa-onnx":
        graph = offline_graph(config, weights, sos, eos, metadata)
    else:
        graph = online_graph(config, weights, metadata)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(graph)
    tokenizer.save(folder / TOKENIZER)
    pieces = (f"{tokenizer.piece(own)} {own}\n" for own in range(tokenizer.vocab_size))
    (folder / TOKENS).write_text("".join(pieces), encoding="utf-8")


_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


def offline_graph(
    config: ModelConfig, weights: Weights, sos: int, eos: int, metadata: Mapping[str, str]
) -> bytes:
    """x (N, L) zero-padded, x_lens (N) -> nll (N): -ln P of each text and its end.

    The graph puts sos before and eos behind.
    """
    graph = Graph(config, weights)
    rows = graph.add("Shape", ["x"], "rows", start=0, end=1)
    one = graph.add("Concat", [rows, graph.ints(1)], "rows_1", axis=0)
    starts = graph.add("Expand", [graph.ints(sos), one], "starts")
    ids = graph.add("Concat", [starts, "x"], "with_start", axis=1)
    h, c = _zero_states(graph, rows)
    by_time = graph.add("Transpose", [ids], "ids_by_time", perm=[1, 0])
    logprobs = graph.logprobs(graph.network(by_time, h, c), "logprobs_by_time")
    by_row = graph.add("Transpose", [logprobs], "logprobs_by_row", perm=[1, 0, 2])
    # What follows each position: the next id, the end where the text is over.
    padding = graph.add("Expand", [graph.ints(0), one], "padding")
    following = graph.add("Concat", ["x", padding], "following", axis=1)
    length = graph.add("Shape", [following], "length", start=1, end=2)
    scalar = graph.add("Squeeze", [length], "length_scalar")
    zero, step = (graph.constant(f"int{own}", np.array(own, np.int64)) for own in (0, 1))
    places = graph.add("Range", [zero, scalar, step], "places")
    lengths = graph.add("Unsqueeze", ["x_lens", graph.ints(1)], "lengths")
    is_end = graph.add("Equal", [places, lengths], "is_end")
    is_there = graph.add("LessOrEqual", [places, lengths], "is_there")
    targets = graph.add("Where", [is_end, graph.ints(eos), following], "targets")
    columns = graph.add("Unsqueeze", [targets, graph.ints(2)], "columns")
    picked = graph.add("GatherElements", [by_row, columns], "picked", axis=2)
    scores = graph.add("Squeeze", [picked, graph.ints(2)], "scores")
    nothing = graph.constant("nothing", np.zeros(1, np.float32))
    kept = graph.add("Where", [is_there, scores, nothing], "kept")
    total = graph.add("ReduceSum", [kept, graph.ints(1)], "total", keepdims=0)
    graph.add("Neg", [total], "nll")
    inputs = {"x": (_INT, ["N", "L"]), "x_lens": (_INT, ["N"])}
    return graph.serialize(inputs, {"nll": (_FLOAT, ["N"])}, metadata)


def _zero_states(graph: Graph, rows: str) -> tuple[list[str], list[str]]:
    """Before anything was read, for `rows` sequences: by layer (1, N, H_k)."""
    zeros = []
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    for k, size in enumerate(graph.config.hidden_sizes):
        shape = graph.add("Concat", [graph.ints(1), rows, graph.ints(size)], f"shape{k}", axis=0)
        zeros.append(graph.add("ConstantOfShape", [shape], f"zeros{k}", value=zero))
    return zeros, zeros


def online_graph(config: ModelConfig, weights: Weights, metadata: Mapping[str, str]) -> bytes:
    """x (N, L), h0, c0 (layers, N, H) -> log_softmax (N, V) after the last id, next_h0, next_c0.

    Raises ValueError where layers differ in width.
    """
    if len(set(config.hidden_sizes)) > 1:
        raise ValueError(f"sherpa-onnx-online needs layers of one width, not {config.hidden_sizes}")
    graph = Graph(config, weights)
    layers = range(config.num_layers)
    ids = graph.add("Transpose", ["x"], "ids_by_time", perm=[1, 0])
    features = graph.network(ids, graph.split_state("h0"), graph.split_state("c0"))
    last = graph.add("Gather", [features, graph.constant("last", np.array(-1))], "last_features")
    graph.logprobs(last, "log_softmax")
    for name in "hc":
        graph.add("Concat", [f"after_{name}{k}" for k in layers], f"next_{name}0", axis=0)
    state: tuple[int, Sequence[str | int]] = (
        _FLOAT,
        [config.num_layers, "N", config.hidden_sizes[0]],
    )
    return graph.serialize(
        {"x": (_INT, ["N", "L"]), "h0": state, "c0": state},
        {
            "log_softmax": (_FLOAT, ["N", config.vocab_size]),
            "next_h0": state,
            "next_c0": state,
        },
        metadata,
    )
