"""What would keep a server from starting is found, each fault in a line, and nothing is left."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.__main__ import main


def check(*arguments: object, code: int) -> Result:
    result = CliRunner().invoke(main, ["check-config", "--port", "0", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_configuration_that_would_serve(tiny_folder: Path) -> None:
    lines = check("--model", tiny_folder, code=0).output.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok    model", "ok    keys", "ok    states", "ok    address",
    ]  # fmt: skip
    assert "tiny, sha256:" in lines[0]
    assert "MiB when loaded" in lines[0]
    assert "none: this machine may use the service" in lines[1]


def test_every_fault_is_told_not_the_first_alone(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = check("--model", tmp_path, "--port", port, code=1).output.splitlines()
    faults = [line for line in told if line.startswith("FAULT")]
    assert [line.split(":")[0] for line in faults] == ["FAULT model", "FAULT address"]
    assert str(port) in faults[1]


def test_a_socket_that_was_tried_is_gone_again(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    check("--model", tiny_folder, "--unix-socket", path, code=0)
    assert not path.exists()


def test_keys_are_counted_and_never_shown(tiny_folder: Path) -> None:
    told = check("--model", tiny_folder, "--api-key", "secret-secret-secret", code=0).output
    assert "ok    keys: 1 key(s)" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [(["--max-num-seqs", "0"], "setting max_num_seqs"), (["--api-keys-file", "none"], "none")],
)
def test_settings_that_are_none_are_named(
    tiny_folder: Path, arguments: list[str], fault: str
) -> None:
    result = CliRunner().invoke(main, ["check-config", "--model", str(tiny_folder), *arguments])
    assert result.exit_code != 0
    assert fault in result.output
