"""Pages that are written from code and figures are as that writes them today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import results_page
from benchmarks.test_sets import LANGUAGES
from service.app import create_app
from service.settings import Settings
from tests.generated_docs import DOCS, PAGES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", PAGES)
def test_settings_and_commands(name: str) -> None:
    written = (DOCS / name).read_text("utf-8")
    assert written == PAGES[name](), "stale: run `python -m tests.generated_docs`"


def test_every_setting_is_there() -> None:
    page = (DOCS / "settings.md").read_text("utf-8")
    described = re.findall(r"^\| `--[\w-]+` \|.*\| (\S.*) \|$", page, re.MULTILINE)
    assert len(described) == len(Settings.model_fields)


def test_results() -> None:
    stale = "stale: run `python -m benchmarks.results_page`"
    assert results_page.PAGE.read_text("utf-8") == results_page.page(), stale
    readme = results_page.README
    assert readme.read_text("utf-8") == results_page.written(readme, results_page.readme_block()), (
        stale
    )


def test_every_test_set_has_a_name_for_people() -> None:
    known = {name for groups in LANGUAGES.values() for files in groups for name in files}
    shipped = {name for figures in results_page.models().values() for name in figures["test_sets"]}
    assert known | shipped == set(results_page.TITLES)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


def test_every_field_of_every_request_is_documented() -> None:
    """The API's page, and that of rescoring, name each field of the OpenAPI document."""
    pages = [(DOCS / name).read_text("utf-8") for name in ("api.md", "rescoring.md")]
    named = set(re.findall(r"[`\"]([a-z_.]+)[`\"]", "\n".join(pages)))
    document = create_app(Settings()).openapi()
    missing = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for kind in operation.get("requestBody", {}).get("content", {}).values():
                schema = document["components"]["schemas"].get(
                    kind["schema"].get("$ref", "").rpartition("/")[2], {}
                )
                fields = set(schema.get("properties", {}))
                missing += [f"{path}: {name}" for name in sorted(fields - named)]
    assert missing == []


def test_every_error_code_is_documented() -> None:
    codes = set()
    for source in (ROOT / "service").rglob("*.py"):
        codes |= set(re.findall(r"code=\"([a-z_]+)\"", source.read_text("utf-8")))
    assert codes, "the way that codes are written has changed"
    page = (DOCS / "api.md").read_text("utf-8")
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []
