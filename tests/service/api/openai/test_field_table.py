"""The table of fields in docs/api.md is that of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.openai.field_table import GENERATING, OTHERS, Column, field_tables
from service.api.openai.known_fields import WITHOUT_EFFECT

COLUMNS = (*GENERATING, *OTHERS)
BASES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1},
    "/v1/responses": {"input": "a", "max_output_tokens": 1},
    "/v1/embeddings": {"input": "a"},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [9]},
}
PAGE = Path(__file__).parents[4] / "docs" / "api.md"
COMMAND = "python -m tests.service.api.openai.test_field_table"
_TABLE = re.compile(r"(?<=<!-- fields -->\n).*?(?=<!-- end of fields -->)", re.DOTALL)


def test_the_page_has_the_current_table() -> None:
    found = _TABLE.search(PAGE.read_text("utf-8"))
    assert found is not None
    assert found[0] == field_tables(), f"write the table anew: {COMMAND}"


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.url)
def test_no_field_is_both_served_and_refused(column: Column) -> None:
    assert column.served.model_fields.keys() & column.refused.keys() == set()
    assert column.served.model_fields.keys() & WITHOUT_EFFECT.keys() == set()
    assert column.refused.keys() & WITHOUT_EFFECT.keys() == set()


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.url)
async def test_the_table_tells_the_truth(client: httpx.AsyncClient, column: Column) -> None:
    """A value that asks for something, of every field that is not served."""
    base = BASES[column.url]
    names = {name for each in COLUMNS for name in (*each.refused, *each.served.model_fields)}
    for name in sorted(names | WITHOUT_EFFECT.keys()):
        fate = column.fate(name)
        if fate == "served":
            continue
        response = await client.post(column.url, json={**base, name: {"ask": "for something"}})
        if fate.startswith("refused"):
            assert response.status_code == 400, name
            assert response.json()["error"]["param"] == name
        else:
            assert response.status_code == 200, name
            told = response.json().get("ignored_fields", [])
            assert told == ([name] if fate.startswith("unknown") else [])


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.url)
async def test_values_that_ask_for_nothing_are_let_through(
    client: httpx.AsyncClient, column: Column
) -> None:
    base = BASES[column.url]
    for name, refused in column.refused.items():
        for value in (None, *refused.neutral):
            response = await client.post(column.url, json={**base, name: value})
            assert response.status_code == 200, (name, value)
            assert "ignored_fields" not in response.json(), name


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: field_tables(), text), "utf-8")
