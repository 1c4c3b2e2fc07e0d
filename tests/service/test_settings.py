from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from service.__main__ import main
from service.settings import Settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("LSTM_SERVE_"):
            monkeypatch.delenv(name)


def test_every_setting_is_documented_and_an_option() -> None:
    page = CliRunner().invoke(main, ["serve", "--help"]).output
    assert Settings.model_fields
    for name, field in Settings.model_fields.items():
        assert field.description, name
        option = "--api-key" if name == "api_keys" else "--" + name.replace("_", "-")
        assert option in page


def test_sizes_and_times_say_their_unit() -> None:
    units = {"_mb": "MiB", "_bytes": "bytes", "_s": "seconds"}
    for name, field in Settings.model_fields.items():
        for suffix, unit in units.items():
            if name.endswith(suffix):
                assert unit in str(field.description), name


def test_environment_and_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_SERVE_PORT", "1234")
    monkeypatch.setenv("LSTM_SERVE_MODEL", "/some/where")
    monkeypatch.setenv("LSTM_SERVE_API_KEYS", "one, two,")
    settings = Settings()
    assert (settings.port, settings.model) == (1234, Path("/some/where"))
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]
    assert Settings(port=5).port == 5


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_SERVE_API_KEYS", "")
    monkeypatch.setenv("LSTM_SERVE_MODEL", "")
    assert Settings().api_keys == ()
    assert Settings().model.name == "en-small"


def test_secrets_do_not_show() -> None:
    shown = repr(Settings(api_keys=("open sesame",), state_key="a secret of states"))
    assert "sesame" not in shown
    assert "secret of states" not in shown


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70000}, {"replicas": 0}, {"device": "tpu"}, {"state_key": "short"}, {"nope": 1}],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "port"),
        (["--state-key", "short"], "state_key"),
        (["--model", "/no/such/folder"], "no checkpoint at /no/such/folder"),
        (["--device", "tpu"], "device"),
    ],
)
def test_the_command_names_what_is_wrong(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_misspelt_variable_is_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_SERVE_PRT", "1234")
    for command in ("serve", "check-config"):
        result = CliRunner().invoke(main, [command])
        assert result.exit_code == 2
        assert "LSTM_SERVE_PRT" in result.output
        assert "did you mean LSTM_SERVE_PORT?" in result.output


def test_a_port_in_use_is_told_before_a_model_loads() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in ("serve", "check-config"):
            result = CliRunner().invoke(main, [command, "--port", port])
            assert result.exit_code == 1
            assert "Address already in use" in result.output


def test_check_config_tells_all_that_is_wrong(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("nonsense")
    fine = CliRunner().invoke(main, ["check-config", "--port", "0"])
    assert fine.exit_code == 0, fine.output
    assert "ok    model: en-small" in fine.output
    arguments = ["--port", "0", "--model", str(tmp_path), "--api-keys-file", str(keys)]
    bad = CliRunner().invoke(main, ["check-config", *arguments])
    assert bad.exit_code == 1
    assert bad.output.count("FAULT") == 2
    assert "line 1" in bad.output


def test_a_new_key(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["new-key", "alice", "--scopes", "use,observe"])
    line, key = result.output.split("\n")[:2]
    assert line.startswith("alice use,observe sha256:")
    assert len(key) >= 40
    assert CliRunner().invoke(main, ["new-key", "alice", "--scopes", "all"]).exit_code == 2
    (tmp_path / "keys").write_text(line)
