import pytest
import torch

from models.architectures import build_model
from models.language_model import LanguageModel
from tests.models.small_networks import VOCAB, small_config

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.fixture(params=["lstm", "elman", "window_mlp"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    model = build_model(small_config(request.param))
    torch.nn.init.normal_(model.embedding.weight)
    return model.eval()


def test_score_follows_the_chain_rule(model: LanguageModel) -> None:
    ids = torch.randint(VOCAB, (9,)).tolist()
    with torch.no_grad():
        features, _ = model(torch.tensor(ids[:-1])[:, None], model.initial_state(1))
        logprobs = torch.log_softmax(model.logits(features[:, 0]), dim=-1)
    chosen = [float(logprobs[t, token]) for t, token in enumerate(ids[1:])]
    assert model.score(ids) == pytest.approx(chosen, rel=1e-10)
    assert torch.allclose(logprobs.exp().sum(dim=-1), torch.ones(8))


def test_a_state_carried_across_a_split_is_no_split(model: LanguageModel) -> None:
    ids = torch.randint(VOCAB, (8, 2))
    with torch.no_grad():
        whole, _ = model(ids, model.initial_state(2))
        for cut in range(1, 8):
            left, state = model(ids[:cut], model.initial_state(2))
            right, _ = model(ids[cut:], state)
            assert torch.allclose(torch.cat([left, right]), whole, rtol=1e-12, atol=1e-14)


def test_generate_continues_from_the_whole_prompt(model: LanguageModel) -> None:
    generated = model.generate([1, 2], 5)
    ids = [1, 2, *generated]
    for t in range(2, len(ids)):
        candidates = [sum(model.score([*ids[:t], token])) for token in range(VOCAB)]
        assert max(range(VOCAB), key=candidates.__getitem__) == ids[t]
    last = generated[-1]
    stopped = model.generate([1, 2], 5, stop_ids=[last])
    assert stopped == generated[: generated.index(last) + 1]
    with pytest.raises(ValueError, match="at least one token"):
        model.generate([], 3)
