"""Checkpoints by folder or by a shipped one's name."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from benchmarks.harness import SHIPPED
from service.cli.model_option import find_model, open_model


def test_a_folder_goes_before_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(str(tmp_path)) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert find_model(SHIPPED.name).resolve() == SHIPPED.resolve()
    (tmp_path / SHIPPED.name).mkdir()
    assert find_model(SHIPPED.name).resolve() == (tmp_path / SHIPPED.name).resolve()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("en-smal", "did you mean 'en-small'"), ("gpt", "shipped are en-asr, en-small")],
)
def test_a_name_that_is_none_is_told_with_what_there_is(name: str, hint: str) -> None:
    with pytest.raises(click.ClickException, match=f"no checkpoint at {name!r}.*{hint}"):
        find_model(name)


def test_a_folder_that_is_no_checkpoint_is_a_fault_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=str(tmp_path)):
        open_model(str(tmp_path), "auto", 1)


def test_the_options_reach_the_model(tiny_folder: Path) -> None:
    with open_model(str(tiny_folder), "fp32", 2) as model:
        assert (model.facts.name, model.info.precision) == ("tiny", "fp32")
