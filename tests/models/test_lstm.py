import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.config import ModelConfig
from models.lstm import LSTMLanguageModel, LSTMLayer, LSTMState

pytestmark = pytest.mark.usefixtures("double_precision")
VOCAB = 11
CONFIGS = {
    "tied": ModelConfig(vocab_size=VOCAB, embedding_size=6, hidden_sizes=(8, 6)),
    "free softmax": ModelConfig(
        vocab_size=VOCAB, embedding_size=5, hidden_sizes=(8,), tie_weights=False
    ),
    "skips": ModelConfig(vocab_size=VOCAB, embedding_size=6, hidden_sizes=(6, 6, 6), residual=True),
}
id_lists = st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=12)


def build(config: ModelConfig) -> LSTMLanguageModel:
    """A model whose predictions are far from uniform."""
    torch.manual_seed(1)
    model = LSTMLanguageModel(config).eval()
    torch.nn.init.normal_(model.embedding.weight)
    return model


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@settings(max_examples=15)
@given(ids=id_lists)
def test_a_texts_score_is_the_sum_of_next_token_log_probabilities(
    config: ModelConfig, ids: list[int]
) -> None:
    """The chain rule, with the next-token distributions taken from the whole-sequence network."""
    model = build(config)
    with torch.no_grad():
        features, _ = model(torch.tensor(ids[:-1])[:, None], model.initial_state(1))
        logprobs = torch.log_softmax(model.logits(features[:, 0]), dim=-1)
    assert torch.allclose(logprobs.exp().sum(dim=-1), torch.ones(len(ids) - 1))
    chosen = [float(logprobs[t, token]) for t, token in enumerate(ids[1:])]
    assert model.score(ids) == pytest.approx(chosen, rel=1e-10)
    assert sum(model.score(ids)) == pytest.approx(sum(chosen), rel=1e-10)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_probabilities_of_all_texts_of_one_length_sum_to_one(config: ModelConfig) -> None:
    model = build(config)
    total = sum(
        math.exp(sum(model.score([0, first, second])))
        for first in range(VOCAB)
        for second in range(VOCAB)
    )
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@settings(max_examples=15)
@given(ids=st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=10), data=st.data())
def test_a_state_carried_across_a_split_is_no_split(
    config: ModelConfig, ids: list[int], data: st.DataObject
) -> None:
    model, cut = build(config), data.draw(st.integers(1, len(ids) - 1))
    sequence = torch.tensor(ids)[:, None]
    with torch.no_grad():
        whole, end = model(sequence, model.initial_state(1))
        left, middle = model(sequence[:cut], model.initial_state(1))
        right, split_end = model(sequence[cut:], middle)
    assert torch.allclose(torch.cat([left, right]), whole, rtol=1e-12, atol=1e-14)
    for one, other in zip((*end.h, *end.c), (*split_end.h, *split_end.c), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_step_continues_the_state_that_score_starts_from(config: ModelConfig) -> None:
    model = build(config)
    with torch.no_grad():
        _, state = model.step(torch.tensor([3]), model.initial_state(1))
    assert model.score([4, 5, 6], state) == pytest.approx(model.score([3, 4, 5, 6])[1:])


def test_rows_of_a_batch_do_not_touch_one_another() -> None:
    model = build(CONFIGS["tied"])
    ids = torch.tensor([[1, 7], [2, 8], [3, 9]])
    with torch.no_grad():
        both, _ = model(ids, model.initial_state(2))
        alone, _ = model(ids[:, :1], model.initial_state(1))
    assert torch.allclose(both[:, :1], alone)


def test_the_fused_kernel_computes_the_equations() -> None:
    layer, (steps, rows) = LSTMLayer(5, 7), (9, 3)
    x, h, c = torch.randn(steps, rows, 5), torch.randn(rows, 7), torch.randn(rows, 7)
    outputs, h_end, c_end = layer(x, h, c)
    for t in range(steps):
        h, c = layer.step(x[t], h, c)
        assert torch.allclose(outputs[t], h, rtol=1e-12, atol=1e-14)
    assert torch.allclose(h_end, h)
    assert torch.allclose(c_end, c)


def test_one_step_by_hand() -> None:
    layer = LSTMLayer(1, 1)
    layer.weight_ih.data = torch.tensor([[0.1], [0.2], [0.3], [0.4]])
    layer.weight_hh.data = torch.tensor([[0.5], [0.6], [0.7], [0.8]])
    layer.bias.data = torch.tensor([0.01, 0.02, 0.03, 0.04])
    x, h, c = 2.0, -0.5, 0.25

    def sigmoid(a: float) -> float:
        return 1 / (1 + math.exp(-a))

    i, f = sigmoid(0.1 * x + 0.5 * h + 0.01), sigmoid(0.2 * x + 0.6 * h + 0.02)
    g, o = math.tanh(0.3 * x + 0.7 * h + 0.03), sigmoid(0.4 * x + 0.8 * h + 0.04)
    new_c = f * c + i * g
    with torch.no_grad():
        got_h, got_c = layer.step(torch.tensor([[x]]), torch.tensor([[h]]), torch.tensor([[c]]))
    assert float(got_c) == pytest.approx(new_c, rel=1e-12)
    assert float(got_h) == pytest.approx(o * math.tanh(new_c), rel=1e-12)


def test_gradient_of_scalar_weights_is_the_closed_form_sum_over_time() -> None:
    """BPTT: d h_T / d w = sum over t of (Jacobian from t to T) times (d state_t / d w at t alone).

    The state is (h, c); its Jacobian and the direct derivatives are written out by hand.
    """
    layer, steps = LSTMLayer(1, 1), 12
    torch.nn.init.normal_(layer.weight_hh)
    x = torch.randn(steps, 1, 1)
    outputs, _, _ = layer(x, torch.zeros(1, 1), torch.zeros(1, 1))
    (gradient,) = torch.autograd.grad(outputs[-1].sum(), layer.weight_hh)

    w = layer.weight_hh.detach()[:, 0]
    h = c = torch.zeros(())
    total = torch.zeros(2, 4)  # d (h, c) / d (w_i, w_f, w_g, w_o)
    for t in range(steps):
        gates = layer.weight_ih.detach()[:, 0] * x[t, 0, 0] + w * h + layer.bias.detach()
        i, f, g, o = *torch.sigmoid(gates[:2]), torch.tanh(gates[2]), torch.sigmoid(gates[3])
        new_c = f * c + i * g
        tanh_c = torch.tanh(new_c)
        slope = torch.stack([i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)])
        dc_dgates = torch.stack([g, c, i, torch.zeros(())]) * slope
        dh_dgates = o * (1 - tanh_c**2) * dc_dgates
        dh_dgates[3] = tanh_c * slope[3]
        jacobian = torch.stack(
            [
                torch.stack([(dh_dgates * w).sum(), o * (1 - tanh_c**2) * f]),
                torch.stack([(dc_dgates * w).sum(), f]),
            ]
        )
        direct = torch.stack([dh_dgates * h, dc_dgates * h])
        total = jacobian @ total + direct
        h, c = o * tanh_c, new_c
    assert torch.allclose(gradient[:, 0], total[0], rtol=1e-9)
    assert float(total[0].abs().min()) > 0


def test_gradients_through_time_agree_with_finite_differences() -> None:
    layer = LSTMLayer(3, 2)
    x, h, c = torch.randn(6, 2, 3), torch.randn(2, 2), torch.randn(2, 2)

    def run(weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, h: Tensor, c: Tensor) -> Tensor:
        names = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias}
        out: tuple[Tensor, ...] = torch.func.functional_call(layer, names, (x, h, c))
        return torch.cat([out[0], out[1][None], out[2][None]])

    free = (layer.weight_ih, layer.weight_hh, layer.bias, h.requires_grad_(), c.requires_grad_())
    assert torch.autograd.gradcheck(run, free)


def test_a_detached_state_stops_the_gradient() -> None:
    """What truncated back-propagation through time rests on."""
    model = LSTMLanguageModel(CONFIGS["tied"])
    _, state = model(torch.tensor([[1], [2]]), model.initial_state(1))
    assert state.h[0].requires_grad
    assert not any(t.requires_grad for t in (*state.detach().h, *state.detach().c))
    assert torch.equal(state.detach().c[1], state.c[1])


def test_recurrent_matrices_start_orthogonal_and_the_forget_gate_open() -> None:
    layer = LSTMLayer(20, 32)
    for block in layer.weight_hh.detach().chunk(4):
        assert torch.allclose(block @ block.T, torch.eye(32), atol=1e-10)
    i, f, g, o = layer.bias.detach().chunk(4)
    assert (f == 1).all()
    assert not torch.cat([i, g, o]).any()


def test_gates_see_their_input_from_the_start() -> None:
    """The first layer's input product has about unit variance though the embedding is small."""
    config = ModelConfig(vocab_size=500, embedding_size=64, hidden_sizes=(64, 64))
    model = LSTMLanguageModel(config)
    first, second = model.layers
    assert isinstance(first, LSTMLayer)
    assert isinstance(second, LSTMLayer)
    product = model.embedding.weight @ first.weight_ih.T
    assert float(product.detach().std()) == pytest.approx(1, abs=0.1)
    assert float(second.weight_ih.detach().std()) == pytest.approx(1 / 8, rel=0.1)


def test_a_new_model_is_near_uniform() -> None:
    """Its loss must start near ln V, or training would first have to unlearn."""
    model = LSTMLanguageModel(ModelConfig(vocab_size=500, embedding_size=32, hidden_sizes=(32,)))
    ids = torch.randint(500, (20,)).tolist()
    assert -sum(model.score(ids)) / 19 == pytest.approx(math.log(500), abs=0.3)


def test_tied_weights_are_one_matrix() -> None:
    tied, free = LSTMLanguageModel(CONFIGS["tied"]), LSTMLanguageModel(CONFIGS["free softmax"])
    assert tied.output_weight is tied.embedding.weight
    assert free.output_weight is not free.embedding.weight


def test_a_skip_connection_adds_the_layers_input() -> None:
    config = CONFIGS["skips"]
    model = LSTMLanguageModel(config)
    for layer in model.layers:
        torch.nn.init.zeros_(layer.weight_ih)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.weight_hh)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    ids = torch.tensor([[3], [4]])
    features, _ = model(ids, model.initial_state(1))
    assert torch.equal(features, model.embedding(ids))


def test_initial_state_is_the_memory_of_nothing() -> None:
    state = LSTMLanguageModel(CONFIGS["tied"]).initial_state(3)
    assert isinstance(state, LSTMState)
    assert [t.shape for t in state.h] == [(3, 8), (3, 6)] == [t.shape for t in state.c]
    assert not any(t.any() for t in (*state.h, *state.c))
