"""Every curl command of the documentation is run, and prints what is shown, in form.

The outputs are written anew by `python -m tests.test_docs http://localhost:8000`, the address of a
server of the shipped checkpoint.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness import SHIPPED
from tests.docs_examples import Example, differences, examples, shortened
from tests.live_server import live_server

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [example for document in DOCUMENTS for example in examples(document)]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with live_server(sys.executable, SHIPPED, {"LSTM_SERVE_LOG_LEVEL": "warning"}) as url:
        yield url


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.place)
def test_an_example(example: Example, address: str, tmp_path: Path) -> None:
    printed = example.run(address, tmp_path)
    assert printed
    if example.output is not None:
        assert differences(example.output, printed) == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"a": 1, "b": [{"c": "x"}]}', '{"a": 2.5, "b": [{"c": "y"}, {"c": "z"}]}'),
        ('{"top_logprobs": [{" a": -1}]}', '{"top_logprobs": [{" the": -2, " a": -3}]}'),
        ('data: {"a": 1}\n...\ndata: [DONE]', 'data: {"a": 2}\n\n: x\n\ndata: [DONE]\n\n'),
        ("up 1", "up 0.5"),
    ],
)
def test_values_may_differ(shown: str, printed: str) -> None:
    assert differences(shown, printed) == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"a": 1}', '{"a": 1, "b": 1}'),
        ('{"a": 1, "b": 1}', '{"a": 1}'),
        ('{"a": 1}', '{"a": null}'),
        ('{"a": [{"b": 1}]}', '{"a": [{"c": 1}]}'),
        ('data: {"a": 1}\ndata: [DONE]', 'data: {"a": "x"}\n\ndata: [DONE]'),
        ("up 1", "down 1"),
        ("up 1", '{"up": 1}'),
    ],
)
def test_forms_must_not(shown: str, printed: str) -> None:
    assert differences(shown, printed)


def test_what_is_shown_is_cut_and_keeps_its_form() -> None:
    numbers = list(range(100))
    printed = json.dumps(
        {"state": "x" * 1000, "logprobs": numbers, "more": [{"a": 1.23456789}] * 9}
    )
    shown = shortened(printed)
    assert differences(shown, printed) == []
    assert len(shown) < 400
    assert max(map(len, shown.splitlines())) <= 100


def test_every_route_has_an_example() -> None:
    from service.app import create_app
    from service.settings import Settings

    shown = "".join(example.script for example in EXAMPLES if example.place.startswith("api.md"))
    paths = create_app(Settings()).openapi()["paths"]
    assert [path for path in paths if f":8000{path.partition('{')[0]}" not in shown] == []


def refresh(address: str, folder: Path) -> None:
    """Write the outputs anew, as the server at `address` gives them."""
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        for example in reversed(list(examples(document))):
            if example.output is not None:
                first, last = example.span
                text = text[:first] + shortened(example.run(address, folder)) + text[last:]
        document.write_text(text, "utf-8")


if __name__ == "__main__":
    refresh(sys.argv[1], Path())
