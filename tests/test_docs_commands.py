"""Commands of the documentation that ask no server: each is one that can be typed.

Those that train for hours or measure for minutes are not run but parsed, by the very parsers that
would read them; what they do is tested where it is done. Python is run as it stands.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import click
import pytest

import service.__main__
import training.__main__
from benchmarks.harness import SHIPPED
from service.settings import Settings
from tests.docs_examples import FENCE, at_address, is_script
from tests.live_server import live_server
from training.config import load_config

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "models" / "pretrained").glob("*/README.md")),
]
_SHELL = ("", "bash", "sh", "shell", "console")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
# Other people's programs: their options are theirs.
_FOREIGN = (
    *("docker", "lm_eval", "pip", "pre-commit", "kubectl"),
    *("serve", "apt-get", "git", "systemctl"),
)
_KNOWN = ("make", "python", "lstm-serve", "lstm-train", "torchrun", "examples/", *_FOREIGN)


class Command(NamedTuple):
    place: str
    words: tuple[str, ...]


def commands() -> Iterator[Command]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for fence in FENCE.finditer(text):
            if fence["language"] not in _SHELL or is_script(fence):
                continue
            line = text.count("\n", 0, fence.start()) + 1
            for number, words in enumerate(_read(fence["text"]), start=1):
                if words and words[0].startswith(_KNOWN):
                    yield Command(f"{page.relative_to(ROOT)}:{line}-{number}", tuple(words))


def _read(script: str) -> Iterator[list[str]]:
    """The words of each line, environment and path of the program taken off."""
    for line in script.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(re.sub(r"\$\([^)]*\)", "FILE", line), comments=True)
        except ValueError:  # a picture or an output
            continue
        while words and _ASSIGNMENT.fullmatch(words[0]):
            _check_variable(words.pop(0).partition("=")[0])
        if words:
            words[0] = re.sub(r"^\.venv[\w-]*/bin/", "", words[0])
        yield words


def _check_variable(name: str) -> None:
    if name.startswith("LSTM_SERVE_"):
        assert name.removeprefix("LSTM_SERVE_").lower() in Settings.model_fields, name


COMMANDS = list(commands())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_a_command_can_be_typed(command: Command) -> None:
    program, *arguments = command.words
    if program == "torchrun":
        program, arguments = "python", arguments[arguments.index("-m") :]
    if program == "make":
        check_make(arguments)
    elif program == "lstm-train" or (program == "python" and arguments[:2] == ["-m", "training"]):
        check_training(arguments[2:] if program == "python" else arguments)
    elif program == "lstm-serve" or (program == "python" and arguments[:2] == ["-m", "service"]):
        check_service(arguments[2:] if program == "python" else arguments)
    elif program == "python" and arguments[0] == "-m":
        check_module(arguments[1], arguments[2:])
    elif program == "python" and arguments[0] != "-c":
        assert (ROOT / arguments[0]).exists(), arguments[0]
    elif program.startswith("examples/"):
        assert os.access(ROOT / program, os.X_OK), program


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for argument in arguments:
        name, is_variable, _ = argument.partition("=")
        wanted = rf"\$\({name}\)" if is_variable else rf"^{name}:.*## "
        assert re.search(wanted, makefile, re.MULTILINE), argument


def check_training(arguments: list[str]) -> None:
    options = training.__main__._parser().parse_args(arguments)
    given = [pair for pair in getattr(options, "set", None) or [] if pair != "KEY=VALUE"]
    if getattr(options, "preset", "auto") != "auto":  # which is chosen when the corpus was read
        load_config(options.preset, given)


def check_service(arguments: list[str]) -> None:
    group = service.__main__.main
    context = click.Context(group)
    if not arguments or arguments == ["--help"]:
        return
    command = group.get_command(context, arguments[0])
    assert command is not None, arguments[0]
    command.make_parser(click.Context(command)).parse_args(arguments[1:])


def check_module(name: str, arguments: list[str]) -> None:
    assert importlib.util.find_spec(name) is not None, name
    flags = [argument for argument in arguments if argument.startswith("--")]
    if name.startswith("benchmarks") and flags:
        said = _help(name)
        assert [flag for flag in flags if flag.partition("=")[0] not in said] == []


@cache
def _help(module: str) -> str:
    """What `python -m module --help` says; in this process, which has torch imported already."""
    program = importlib.import_module(module)
    if hasattr(program, "__path__"):
        program = importlib.import_module(f"{module}.__main__")
    said = io.StringIO()
    with (
        patch.object(sys, "argv", [module, "--help"]),
        redirect_stdout(said),
        pytest.raises(SystemExit) as ended,
    ):
        program.main()
    assert ended.value.code in (None, 0)
    return said.getvalue()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live_server(sys.executable, SHIPPED, {"LSTM_SERVE_LOG_LEVEL": "warning"}) as url:
        yield url


def programs() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for fence in FENCE.finditer(text):
            is_of_own_texts = 'txt"' in fence["text"]  # run by test_docs_run.py, which has such
            if fence["language"] == "python" and not is_of_own_texts:
                line = text.count("\n", 0, fence.start()) + 1
                yield f"{page.relative_to(ROOT)}:{line}", fence["text"]


PROGRAMS = list(programs())


@pytest.mark.parametrize(("place", "program"), PROGRAMS, ids=[place for place, _ in PROGRAMS])
def test_python_runs_as_it_stands(place: str, program: str, address: str) -> None:
    for package in ("openai", "pyctcdecode"):  # others' packages, which a reader may not have
        if f"from {package} " in program:
            pytest.importorskip(package, reason=f"{package} is not installed")
    command = [sys.executable, "-c", at_address(program, address)]
    environment = {**os.environ, "no_proxy": "*", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (place, done.stderr)
    assert done.stdout or "print(" not in program
