"""Every block of README and docs is run, or stands below with the reason why it is not.

Commands that ask a server are run by test_docs.py, Python by test_docs_commands.py, all other
commands here, page by page and line by line, in a copy of the checkout. What trains or measures is
slow: `make test-docs`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.docs_examples import FENCE, is_script
from tests.docs_workbench import Workbench, logical_lines

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "models" / "pretrained").glob("*/README.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
_SHELL = ("", "bash", "sh", "shell", "console")

_HOURS = "what was done once, in hours, over whole corpora; its options are parsed"
_CORPORA = "needs the public corpora whole"
_MINUTES = "measures for many minutes; its --quick, or its parts, are run"
# Blocks that hold nothing to type: page, pattern, and what they are.
SHOWN = [
    ("docs/architecture.md", "lstm_serve ──>*", "a picture"),
    ("docs/architecture.md", "server ──>*", "a picture"),
    ("docs/rescoring.md", "total = *", "a formula"),
    ("docs/rescoring.md", "context + best_1*", "a formula"),
    ("docs/rescoring.md", '{"form": 1*', "what `tune` has written"),
]
# Commands: page, pattern, and why they are not run.
NOT_RUN = [
    ("docs/api.md", "lm_eval run*", "the harness has an environment of its own: make conformance"),
    ("docs/checkpoints.md", "lstm-serve pull https:*", "an address that stands for yours"),
    ("docs/gpu.md", "*", "needs a GPU"),
    ("docs/growth.md", "python -m benchmarks.growth", _MINUTES),
    ("docs/growth.md", "python -m benchmarks.growth --save", _MINUTES),
    ("docs/operations.md", "serve run*", "a Ray cluster: tests/service/test_ray_serve.py, slow"),
    ("docs/performance.md", "make bench", _MINUTES),
    ("docs/performance.md", "python -m benchmarks", _MINUTES),
    ("docs/performance.md", "python -m benchmarks.engine --save", _MINUTES),
    ("docs/performance.md", "python -m benchmarks.growth", _MINUTES),
    ("docs/performance.md", "python -m benchmarks.peers", "builds llama.cpp from its source"),
    ("docs/study/README.md", "python -m training study*", "minutes: tests/training/study"),
    ("docs/rescoring.md", "python -m benchmarks.recognition*", "needs the public lists"),
    ("docs/rescoring.md", "python -m training ngram --corpus CORPORA*", _CORPORA),
    ("docs/rescoring.md", "*--workers 2*", "a Ray cluster: tests/service/test_ray_data.py, slow"),
    ("docs/training.md", "lstm-train prepare --recipe*", _CORPORA),
    ("docs/training.md", "lstm-train draw*", _CORPORA),
    (
        "docs/training.md",
        "torchrun --nnodes 2*",
        "two machines: tests/training/test_distributed.py",
    ),
    ("examples/asr_rescoring/README.md", "*", "installs, and takes an hour: tests/examples"),
    ("models/pretrained/en-asr/README.md", "python -m*", _HOURS),
    ("models/pretrained/en-small/README.md", "python -m*", _HOURS),
    ("models/pretrained/ru-small/README.md", "python -m*", _HOURS),
    ("models/pretrained/ru-small/README.md", "... --out*", _HOURS),
]
_TAKES_LONG = re.compile(r"\btrain\b|lstm-train|training|benchmarks|own_text|\btune\b")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fence of a page.

    follows: the block right before it, with nothing between, is one of commands.
    """

    page: str
    line: int
    language: str
    text: str
    asks_server: bool
    follows: bool

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_python(self) -> bool:
        return self.language == "python"

    @property
    def reads_texts(self) -> bool:
        """Python about files of the reader's, which the workbench has."""
        return self.is_python and 'txt"' in self.text

    @property
    def is_output(self) -> bool:
        return self.follows and not self.asks_server and self.language in ("", "json")

    def commands(self) -> Iterator[str]:
        """What is typed, a line each, in a block of a shell's; of a console's, behind its `$`."""
        if self.reads_texts:
            yield f"python -c {shlex.quote(self.text)}"
        is_typed = self.language in _SHELL and not self.is_output and not self.asks_server
        if not is_typed or listed(SHOWN, self.page, self.text):
            return
        for line in logical_lines(self.text):
            if self.language != "console":
                yield line
            elif line.startswith("$ "):
                yield line.removeprefix("$ ")


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    end, typed = -1, False
    for fence in FENCE.finditer(text):
        asks = is_script(fence)
        follows = typed and not text[end : fence.start()].strip()
        block = Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, fence.start()) + 1,
            language=fence["language"],
            text=fence["text"],
            asks_server=asks,
            follows=follows,
        )
        end, typed = fence.end(), asks or any(block.commands())
        yield block


def listed(entries: list[tuple[str, str, str]], page: str, text: str) -> bool:
    return any(name == page and fnmatchcase(text, shape) for name, shape, _ in entries)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = {
    str(page.relative_to(ROOT)): [
        command
        for block in BLOCKS
        if block.page == str(page.relative_to(ROOT))
        for command in block.commands()
        if not listed(NOT_RUN, block.page, command)
    ]
    for page in PAGES
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_is_run_or_listed(block: Block) -> None:
    if block.asks_server or block.is_python or block.is_output:
        return
    if not listed(SHOWN, block.page, block.text):
        assert any(block.commands()), f"neither run nor listed above:\n{block.text}"


def test_the_lists_have_no_more_than_they_must() -> None:
    commands = [(block.page, command) for block in BLOCKS for command in block.commands()]
    texts = [(block.page, block.text) for block in BLOCKS]
    for entries, found in ((SHOWN, texts), (NOT_RUN, commands)):
        for entry in entries:
            assert any(listed([entry], *place) for place in found), entry


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_stands_in_fences(page: Path) -> None:
    """An indented block would be read by nobody here."""
    text = FENCE.sub("", page.read_text("utf-8"))
    assert re.findall(r"^(?![-*\d]).*\n\n {4}\S.*", text, re.MULTILINE) == []


def _pages() -> Iterator[object]:
    for page, commands in COMMANDS.items():
        is_slow = any(_TAKES_LONG.search(command) for command in commands)
        marks = [pytest.mark.slow, pytest.mark.timeout(900)] if is_slow else []
        if commands:
            yield pytest.param(page, id=page, marks=marks)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("page", list(_pages()))
def test_the_commands_of_a_page(page: str, tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    for command in COMMANDS[page]:
        bench.type(command)


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "json"], ids=lambda b: b.place
)
def test_json_can_be_read(block: Block) -> None:
    json.loads(block.text)
