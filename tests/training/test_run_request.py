"""What a run is asked for: told wrong before anything is read, and the same when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.checkpoint import save_checkpoint
from models.tokenizer import Tokenizer
from tests.training.small_checkpoints import random_checkpoint
from training.config import TrainConfig, with_overrides
from training.run_request import RunRequest, Settings, base_of, model_values
from training.survey import CorpusFacts


def request(tmp_path: Path, config: TrainConfig | Settings, **fields: object) -> RunRequest:
    return RunRequest(corpus=["a.txt"], out=tmp_path / "model", config=config, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["auto", "tiny"])
def test_a_wrong_name_is_told_at_once(preset: str) -> None:
    with pytest.raises(ValueError, match="optimiser"):
        Settings(preset=preset, overrides=("optimiser.lr=1",))


def test_settings_for_a_corpus_take_the_shape_of_their_base(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = random_checkpoint()
    config = Settings().resolve(CorpusFacts(bytes=10**6), base)
    assert config.model.to_model_config(base.model.vocab_size) == base.model
    assert "1.00 MB of text" in capsys.readouterr().out
    assert model_values(base)["storage"] == base.storage


def test_a_run_that_goes_on_is_asked_for_the_same_whatever_its_length(tmp_path: Path) -> None:
    short = request(tmp_path, Settings("tiny", ("loop.epochs=1", "optimizer.lr=0.1")))
    long = request(tmp_path, Settings("tiny", ("optimizer.lr=0.1", "loop.epochs=9")))
    other = request(tmp_path, Settings("tiny", ("optimizer.lr=0.2", "loop.epochs=1")))
    assert short.asked() == long.asked() != other.asked()
    whole = [with_overrides({}, [f"loop.epochs={n}", "loop.bptt=32"]) for n in (1, 2)]
    first, second = (request(tmp_path, config).asked() for config in whole)
    assert first == second
    assert first["loop"]["bptt"] == 32


def test_its_folder_is_beside_the_checkpoint_and_its_sources_have_its_names(tmp_path: Path) -> None:
    own = request(tmp_path, Settings(), text_key="body", column="talk")
    assert own.folder == tmp_path / "model.run"
    (source,) = own.sources(["corpus.jsonl"])
    assert (source.path, source.key, source.column) == (Path("corpus.jsonl"), "body", "talk")


def test_a_base_has_its_own_tokenizer(tmp_path: Path) -> None:
    assert base_of(request(tmp_path, Settings())) is None
    base = random_checkpoint()
    save_checkpoint(base, tmp_path / "base")
    base.tokenizer.save(tmp_path / "same.model")
    lines = [f"quite other text {n}" for n in range(30)]
    Tokenizer.train(lines, vocab_size=290, model_type="bpe").save(tmp_path / "other.model")
    fields = {"init_from": tmp_path / "base", "tokenizer": tmp_path / "same.model"}
    found = base_of(request(tmp_path, Settings(), **fields))
    assert found is not None
    assert found.model == base.model
    with pytest.raises(ValueError, match="is not the tokenizer of --init-from"):
        base_of(request(tmp_path, Settings(), **fields | {"tokenizer": tmp_path / "other.model"}))
