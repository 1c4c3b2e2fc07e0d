"""sherpa-onnx's forms in ONNX Runtime against the plain network, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint
from models.config import ModelConfig
from models.lstm import LSTMLanguageModel
from training.__main__ import main
from training.export_sherpa import offline_graph, online_graph

V, SOS, EOS = 23, 1, 2
EQUAL = ModelConfig(vocab_size=V, embedding_size=8, hidden_sizes=(8, 8), residual=True)
UNEQUAL = ModelConfig(vocab_size=V, embedding_size=6, hidden_sizes=(10, 7), tie_weights=False)
SENTENCES = [[5, 9, 3, 21], [7], [], [4, 4, 4, 4, 4, 4]]


def random_model(config: ModelConfig) -> tuple[LSTMLanguageModel, dict[str, Any]]:
    torch.manual_seed(0)
    model = LSTMLanguageModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model, {name: own.detach().numpy() for name, own in model.state_dict().items()}


def session(graph: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("config", [EQUAL, UNEQUAL])
def test_offline_form_is_the_oracle_s_score(config: ModelConfig) -> None:
    model, weights = random_model(config)
    run = session(offline_graph(config, weights, SOS, EOS, {"num_layers": "2"}))
    longest = max(map(len, SENTENCES))
    x = np.array([own + [0] * (longest - len(own)) for own in SENTENCES], np.int64)
    lengths = np.array([len(own) for own in SENTENCES], np.int64)
    (nll,) = run.run(None, {"x": x, "x_lens": lengths})
    expected = [-sum(model.score([SOS, *own, EOS])) for own in SENTENCES]
    np.testing.assert_allclose(nll, expected, atol=1e-4)
    assert nll.dtype == np.float32
    assert run.get_modelmeta().custom_metadata_map["num_layers"] == "2"


def test_online_form_begins_with_a_step_on_sos() -> None:
    model, weights = random_model(EQUAL)
    run = session(online_graph(EQUAL, weights, {"sos_id": "1"}))
    assert [own.name for own in run.get_inputs()] == ["x", "h0", "c0"]
    h = c = np.zeros((2, 1, 8), np.float32)
    state = model.initial_state(1)
    for token in (SOS, 5, 9, 3):
        logprobs, h, c = run.run(None, {"x": np.array([[token]]), "h0": h, "c0": c})
        expected, state = model.step(torch.tensor([token]), state)
        np.testing.assert_allclose(logprobs, expected.detach(), atol=1e-5)
        assert logprobs.shape == (1, V)
        np.testing.assert_allclose(h[:, 0], torch.cat(state.h).detach(), atol=1e-5)


def test_online_form_needs_layers_of_one_width() -> None:
    _, weights = random_model(UNEQUAL)
    with pytest.raises(ValueError, match=r"layers of one width, not \(10, 7\)"):
        online_graph(UNEQUAL, weights, {})


def test_other_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="LSTM networks"):
        offline_graph(ModelConfig(vocab_size=V, architecture="elman"), {}, SOS, EOS, {})


@pytest.mark.parametrize("form", ["sherpa-onnx", "sherpa-onnx-online"])
def test_the_shipped_model_from_the_command_line(form: str, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert main(["export", "--model", str(SHIPPED), "--format", form, "--out", str(out)]) == 0
    tokenizer = load_checkpoint(SHIPPED).tokenizer
    run = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    told = run.get_modelmeta().custom_metadata_map
    assert (told["sos_id"], told["num_layers"], told["hidden_size"]) == ("1", "2", "512")
    first = (out / "tokens.txt").read_text().splitlines()[tokenizer.eos_id]
    assert first == f"{tokenizer.piece(tokenizer.eos_id)} {tokenizer.eos_id}"
    if form == "sherpa-onnx":
        ids = tokenizer.encode("the cat sat on the mat")
        x, lengths = np.array([ids], np.int64), np.array([len(ids)], np.int64)
        (nll,) = run.run(None, {"x": x, "x_lens": lengths})
        assert 20 < nll[0] < 60
