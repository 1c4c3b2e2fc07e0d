"""Options of the command line as settings; secrets and faults before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from service.__main__ import main
from service.cli.serve import read_settings, secrets_of, setting_options
from service.settings import Settings


def test_every_setting_has_an_option_with_its_description() -> None:
    options = {option.name: option for option in setting_options()}
    assert set(options) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        option = options[name]
        assert isinstance(option, click.Option)
        assert field.description is not None
        assert str(option.help).startswith(field.description)
    assert options["api_keys"].opts == ["--api-key"]
    assert options["max_num_seqs"].opts == ["--max-num-seqs"]
    assert (options["watch"].opts, options["watch"].secondary_opts) == (["--watch"], ["--no-watch"])


def test_paths_of_the_package_are_told_without_its_place() -> None:
    (model,) = (option for option in setting_options() if option.name == "model")
    assert isinstance(model, click.Option)
    assert str(model.help).endswith("[default: models/pretrained/en-small]")


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_SERVE_PORT", "1234")
    assert read_settings({"port": None, "api_keys": ()}).port == 1234
    assert read_settings({"port": 99}).port == 99
    assert read_settings({"watch": False}).watch is False


def test_a_value_out_of_range_names_the_setting() -> None:
    with pytest.raises(click.UsageError, match=r"setting max_num_seqs: .*than or equal to 1"):
        read_settings({"max_num_seqs": 0})


def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_SERVE_PROT", "1")
    with pytest.raises(click.UsageError, match="LSTM_SERVE_PORT"):
        read_settings({})


def test_keys_and_the_key_of_states_are_secrets() -> None:
    settings = read_settings({"api_keys": ("one-key-one-key-1", "two"), "state_key": "s" * 20})
    assert secrets_of(settings) == ["one-key-one-key-1", "two", "s" * 20]
    assert secrets_of(read_settings({})) == []


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["serve", "--model", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert f"no checkpoint at {tmp_path / 'none'}" in result.output
