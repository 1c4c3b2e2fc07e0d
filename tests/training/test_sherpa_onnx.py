"""The exported models inside sherpa-onnx itself, in recognisers whose acoustics are made up.

Nothing is downloaded: encoder, decoder and joiner are a few ONNX nodes, which hear tokens in noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.config import ModelConfig
from models.lstm import LSTMLanguageModel
from training.export_sherpa import offline_graph, online_graph

sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="pip install sherpa-onnx")

V, SOS, FEATURES = 23, 1, 80
CONFIG = ModelConfig(vocab_size=V, embedding_size=8, hidden_sizes=(8, 8), residual=True)
METADATA = {"num_layers": "2", "hidden_size": "8", "sos_id": str(SOS)}
SCALE = 3.0
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64
Shapes = Mapping[str, tuple[int, Sequence[str | int]]]


@pytest.fixture(scope="module")
def model() -> LSTMLanguageModel:
    torch.manual_seed(0)
    made = LSTMLanguageModel(CONFIG).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return made


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Shapes,
    outputs: Shapes,
    constants: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> None:
    def declared(values: Shapes) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, *value) for name, value in values.items()]

    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", declared(inputs), declared(outputs), held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, {name: str(value) for name, value in metadata.items()})
    path.write_bytes(made.SerializeToString())


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A transducer: every fourth frame of features, times random numbers, is what is heard."""
    folder = tmp_path_factory.mktemp("recogniser")
    x: Shapes = {"x": (_FLOAT, ["N", "T", FEATURES])}
    every: dict[str, Any] = {
        "first": [0],
        "last": [1 << 40],
        "time": [1],
        "fourth": [4],
        "one": [1],
    }
    taken = helper.make_node("Slice", ["x", "first", "last", "time", "fourth"], ["heard"])
    heard: Shapes = {"heard": (_FLOAT, ["N", "S", FEATURES])}
    states: Shapes = {name: (_FLOAT, [1, "N", 1]) for name in "hc"}
    kept = [helper.make_node("Identity", [name], [f"next_{name}"]) for name in "hc"]
    after: Shapes = {f"next_{name}": (_FLOAT, [1, "N", 1]) for name in "hc"}
    lstm = {"num_encoder_layers": 1, "T": 4, "decode_chunk_len": 4}
    lstm |= {"rnn_hidden_size": 1, "d_model": 1}
    save(folder / "online.onnx", [taken, *kept], {**x, **states}, {**heard, **after}, every, lstm)
    lengths = [
        helper.make_node("Add", ["x_lens", "three"], ["more"]),
        helper.make_node("Div", ["more", "four"], ["heard_lens"]),
    ]
    counts: Shapes = {"x_lens": (_INT, ["N"])}
    constants: dict[str, Any] = {**every, "three": np.array([3]), "four": np.array([4])}
    outputs: Shapes = {**heard, "heard_lens": (_INT, ["N"])}
    save(folder / "offline.onnx", [taken, *lengths], {**x, **counts}, outputs, constants, {})
    said = helper.make_node("Cast", ["y"], ["said"], to=_FLOAT)
    told = {"vocab_size": V, "context_size": 1}
    save(folder / "decoder.onnx", [said], {"y": (_INT, ["N", 1])}, {"said": (_FLOAT, ["N", 1])},
         {}, told)  # fmt: skip
    draw = np.random.default_rng(3)
    weight = draw.normal(size=(FEATURES, V)).astype(np.float32)
    joined = [
        helper.make_node("MatMul", ["heard", "weight"], ["logits"]),
        helper.make_node("Mul", ["said", "nothing"], ["unused"]),
        helper.make_node("Add", ["logits", "unused"], ["logit"]),
    ]
    given: Shapes = {"heard": (_FLOAT, ["N", FEATURES]), "said": (_FLOAT, ["N", 1])}
    constants = {"weight": weight, "nothing": np.zeros(1, np.float32)}
    save(folder / "joiner.onnx", joined, given, {"logit": (_FLOAT, ["N", V])}, constants,
         {"joiner_dim": FEATURES})  # fmt: skip
    tokens = "".join(f"t{own} {own}\n" if own else "<blk> 0\n" for own in range(V))
    (folder / "tokens.txt").write_text(tokens)
    return {path.stem: str(path) for path in folder.iterdir()}


def samples() -> np.ndarray[Any, np.dtype[np.float32]]:
    noise = np.random.default_rng(5).normal(size=16000) * 0.1
    return noise.astype(np.float32)


def common(parts: dict[str, str], encoder: str) -> dict[str, Any]:
    chosen = {name: parts[name] for name in ("decoder", "joiner", "tokens")}
    return {**chosen, "encoder": parts[encoder], "decoding_method": "modified_beam_search"}


def ids(tokens: list[str]) -> list[int]:
    return [int(token.strip().removeprefix("t")) for token in tokens]


def test_shallow_fusion_adds_what_the_oracle_says(
    model: LSTMLanguageModel, parts: dict[str, str], tmp_path: Path
) -> None:
    weights = {name: own.detach().numpy() for name, own in model.state_dict().items()}
    (tmp_path / "lm.onnx").write_bytes(online_graph(CONFIG, weights, METADATA))
    recogniser = sherpa_onnx.OnlineRecognizer.from_transducer(
        **common(parts, "online"), model_type="lstm", lm=str(tmp_path / "lm.onnx"), lm_scale=SCALE
    )
    stream = recogniser.create_stream()
    stream.accept_waveform(16000, samples())
    stream.input_finished()
    while recogniser.is_ready(stream):
        recogniser.decode_stream(stream)
    result = recogniser.get_result_all(stream)
    found = ids(list(result.tokens))
    assert len(found) > 3
    assert list(result.lm_probs) == pytest.approx(model.score([SOS, *found]), abs=1e-4)


def test_rescoring_chooses_by_the_oracle_s_score(
    model: LSTMLanguageModel, parts: dict[str, str], tmp_path: Path
) -> None:
    weights = {name: own.detach().numpy() for name, own in model.state_dict().items()}
    (tmp_path / "lm.onnx").write_bytes(offline_graph(CONFIG, weights, SOS, SOS, METADATA))

    def heard(**how: Any) -> list[int]:
        recogniser = sherpa_onnx.OfflineRecognizer.from_transducer(
            **common(parts, "offline"), **how
        )
        stream = recogniser.create_stream()
        stream.accept_waveform(16000, samples())
        recogniser.decode_stream(stream)
        return ids(re.findall(r"t\d+", stream.result.text))

    alone = heard()
    rescored = heard(lm=str(tmp_path / "lm.onnx"), lm_scale=50.0)
    assert sum(model.score([SOS, *rescored, SOS])) > sum(model.score([SOS, *alone, SOS]))
