"""Settings that leave things open, decided: by the corpus, the base, and what was before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.checkpoint import load_checkpoint, save_checkpoint
from models.config import ModelConfig
from tests.training.small_checkpoints import VOCAB, random_checkpoint
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.config import TrainConfig, with_overrides
from training.resolution import (
    resolved_config,
    resumed_config,
    stored_config,
    with_length,
    write_config,
)
from training.run_request import RunRequest, Settings
from training.shards import Shard
from training.survey import CorpusFacts

Train = Callable[..., int]
SHORT = ("loop.max_tokens=2000", "loop.eval_tokens=1000")
CPU = torch.device("cpu")


def request(tmp_path: Path, *overrides: str, **fields: object) -> RunRequest:
    config = Settings(preset="tiny", overrides=overrides)
    return RunRequest(corpus=["c.txt"], out=tmp_path / "m", config=config, **fields)  # type: ignore[arg-type]


def resolve(request: RunRequest, with_assistant: int = 0) -> TrainConfig:
    facts = CorpusFacts(bytes=10**6, words=10**5, with_assistant=with_assistant)
    return resolved_config(request, facts, CPU)


def test_nothing_is_left_open(tmp_path: Path) -> None:
    config = resolve(request(tmp_path))
    assert config.loop.precision in ("float32", "bfloat16")
    assert config.chat.enabled is False
    assert resolve(request(tmp_path), with_assistant=3).chat.enabled is True


def test_a_base_of_another_shape_is_refused_with_what_would_fit(tmp_path: Path) -> None:
    shape = ModelConfig(vocab_size=VOCAB, embedding_size=12, hidden_sizes=(16, 12))
    save_checkpoint(random_checkpoint(shape), tmp_path / "base")
    based = request(tmp_path, init_from=tmp_path / "base")
    with pytest.raises(ValueError, match=r"has another shape.*model\.embedding_size=12") as told:
        resolve(based)
    sets = str(told.value).partition("--set ")[2].split()
    fitting = resolve(request(tmp_path, *sets, init_from=tmp_path / "base"))
    assert fitting.model.to_model_config(VOCAB) == shape


def test_the_settings_of_a_run_come_back(tmp_path: Path) -> None:
    config = resolve(request(tmp_path))
    write_config(tmp_path, config)
    assert stored_config(tmp_path) == config


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((), {"epochs": 3.0, "max_tokens": 777}),
        (("loop.epochs=5",), {"epochs": 5.0, "max_tokens": 0}),
        (("loop.max_tokens=900",), {"epochs": 0.0, "max_tokens": 900}),
    ],
)
def test_a_run_that_goes_on_keeps_its_settings_and_may_have_another_length(
    tmp_path: Path, asked: tuple[str, ...], found: dict[str, float]
) -> None:
    first = request(tmp_path, "optimizer.lr=0.25")
    first.folder.mkdir()
    config = resolve(first)
    values = config.model_dump(mode="json")
    values["loop"] |= {"epochs": 3.0, "max_tokens": 777}
    write_config(first.folder, TrainConfig.model_validate(values))
    again = resumed_config(request(tmp_path, *asked))
    assert again.optimizer.lr == 0.25
    assert {name: getattr(again.loop, name) for name in found} == found


def test_minutes_bound_a_run_from_its_beginning(tmp_path: Path) -> None:
    first = request(tmp_path, "loop.minutes=2")
    first.folder.mkdir()
    write_config(first.folder, resolve(first))
    assert resumed_config(first).loop.minutes == 2
    with pytest.raises(ValueError, match="--minutes bounds a run from its beginning"):
        resumed_config(request(tmp_path, "loop.minutes=3"))


def shard_of(tmp_path: Path, num_tokens: int) -> Shard:
    path = tmp_path / "train.tokens"
    path.write_bytes(bytes(2 * num_tokens))
    return Shard(path, None, 1000)


def test_a_length_is_passes_or_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard, base = shard_of(tmp_path, 500), with_overrides({}, [])
    by_passes = with_length(with_overrides(base.model_dump(), ["loop.epochs=2"]), 10**6, shard)
    by_tokens = with_length(with_overrides(base.model_dump(), ["loop.max_tokens=1000"]), 1, shard)
    assert (by_passes.loop.max_tokens, by_tokens.loop.epochs) == (1000, 2)
    assert capsys.readouterr().out == ""
    with_length(with_overrides(base.model_dump(), ["loop.epochs=100"]), 10**6, shard)
    assert "WARNING: 100 passes over so little text" in capsys.readouterr().out


def test_many_passes_are_warned_of(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("loop.max_tokens=1000000", "optimizer.lr=1e39", "optimizer.clip=1e30")
    train(tmp_path / "m", sets=(*sets, "optimizer.warmup_tokens=0"))  # ends at once, by its loss
    assert "passes over so little text" in capsys.readouterr().out


def test_chat_is_for_models_that_have_heard_an_assistant(tmp_path: Path) -> None:
    talk = {"turns": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}
    for name in ("train", "valid"):
        (tmp_path / f"{name}.jsonl").write_text((json.dumps(talk) + "\n") * 300)
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "valid")}
    few = (*SHORT, "tokenizer.vocab_size=270")
    assert main(train_arguments(files, tmp_path / "talks", sets=few)) == 0
    template = load_checkpoint(tmp_path / "talks").chat_template
    assert template is not None
    assert "system_prompts" not in template


def test_the_system_prompts_of_a_corpus_are_those_that_the_model_follows(tmp_path: Path) -> None:
    """Training that goes on from a model adds to what it was taught."""

    def corpus(name: str, system: str) -> dict[str, Path]:
        turns = [("system", system), ("user", "hi"), ("assistant", "yes")]
        talk = {"turns": [{"role": role, "content": content} for role, content in turns]}
        files = {part: tmp_path / f"{name}-{part}.jsonl" for part in ("train", "valid")}
        for file in files.values():
            file.write_text((json.dumps(talk) + "\n") * 300)
        return files

    few = (*SHORT, "tokenizer.vocab_size=276")
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(train_arguments(corpus("a", "Have a chat."), first, sets=few)) == 0
    template = load_checkpoint(first).chat_template
    assert template is not None
    assert template["system_prompts"] == ["Have a chat."]
    more = train_arguments(
        corpus("b", "Sell books."), second, "--init-from", str(first), sets=SHORT
    )
    assert main(more) == 0
    template = load_checkpoint(second).chat_template
    assert template is not None
    assert template["system_prompts"] == ["Have a chat.", "Sell books."]
