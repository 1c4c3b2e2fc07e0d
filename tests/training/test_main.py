"""The command line as a whole: every command explains itself, mistakes are one line."""

import errno

import pytest

from training import __main__ as command_line
from training.__main__ import EXIT_INTERRUPTED, main


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    for module in command_line._COMMANDS:
        name = module.__name__.rpartition(".")[2]
        assert name in listed
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert "--" in capsys.readouterr().out


def test_without_a_command_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ValueError("a bad value"), 1, "error: a bad value"),
        (RuntimeError("no luck"), 1, "error: no luck"),
        (OSError(errno.ENOSPC, "No space left"), 1, "make room, then repeat the command"),
        (OSError(errno.ENOENT, "No such file"), 1, "error: "),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted with nothing to save"),
    ],
)
def test_mistakes_are_a_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    told: str,
) -> None:
    def failing(_: object) -> int:
        raise error

    monkeypatch.setattr("training.cli.widen.run", failing)
    command = ["widen", "--model", "m", "--hidden-sizes", "8", "--out", "o"]
    assert main(command) == status
    said = "".join(capsys.readouterr())
    assert told in said
    assert ("make room" in said) == (getattr(error, "errno", 0) == errno.ENOSPC)
    assert said.count("\n") == 1


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: object) -> int:
        raise TypeError("a fault")

    monkeypatch.setattr("training.cli.widen.run", failing)
    with pytest.raises(TypeError):
        main(["widen", "--model", "m", "--hidden-sizes", "8", "--out", "o"])
