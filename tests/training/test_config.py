import pytest
from pydantic import ValidationError

from training.config import TrainConfig, load_config, parse_config, preset_names


def test_every_preset_is_valid_and_says_what_to_expect() -> None:
    assert set(preset_names()) == {
        *("tiny", "cpu-small", "ptb-cpu", "wikitext2-cpu", "awd-wikitext2", "gpu-large")
    }
    for name in preset_names():
        config = load_config(name)
        assert config.description, name
        assert config.expected, name
        config.model.to_model_config(config.tokenizer.vocab_size)


def test_overrides_are_toml_values() -> None:
    overrides = ["optimizer.lr=0.5", "model.hidden_sizes=[3, 64]", "loop.precision=bfloat16"]
    config = load_config("tiny", overrides)
    assert config.optimizer.lr == 0.5
    assert config.model.hidden_sizes == (3, 64)
    assert config.loop.precision == "bfloat16"
    assert config.loop.bptt == load_config("tiny").loop.bptt


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rte=1", "unknown setting 'optimizer.learning_rte'"),
        ("loop.btpt=3", "unknown setting 'loop.btpt': did you mean 'bptt'?"),
        ("optimzer.lr=3", "unknown setting 'optimzer': did you mean 'optimizer'?"),
        ("model.zzz=1", "unknown setting 'model.zzz': choose from architecture"),
        ("loop.bptt=0", "loop.bptt: Input should be greater than or equal to 1 .got 0."),
        ("optimizer.lr=fast", "optimizer.lr: .*valid number.*'fast'"),
        ("loop.precision=float8", "loop.precision: .*'float32' or 'bfloat16'"),
        ("sampling.presence_penalty=5", "sampling.presence_penalty: .*less than or equal to 2"),
        ("loop.bptt", "must have the form section.key=value"),
        ("loop.bptt.x=1", "'bptt' is not a section"),
    ],
)
def test_a_mistake_is_answered_by_name(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config("tiny", [override])


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'tinny': did you mean 'tiny'\?"):
        load_config("tinny")


def test_a_resolved_config_reads_back_as_itself() -> None:
    config = load_config("cpu-small", ["loop.seed=7"])
    assert parse_config(config.model_dump(mode="json")) == config


def test_a_config_cannot_change_during_a_run() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().loop.bptt = 3  # type: ignore[misc]
