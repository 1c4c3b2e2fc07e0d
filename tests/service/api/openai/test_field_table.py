"""The table of fields in docs/api.md is that of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.openai.field_table import field_table
from service.api.openai.known_fields import REFUSED_CHAT, REFUSED_COMPLETION, WITHOUT_EFFECT
from service.api.openai.requests import ChatCompletionRequest, CompletionRequest

PAGE = Path(__file__).parents[4] / "docs" / "api.md"
COMMAND = "python -m tests.service.api.openai.test_field_table"
_TABLE = re.compile(r"(?<=<!-- fields -->\n).*?(?=<!-- end of fields -->)", re.DOTALL)


def test_the_page_has_the_current_table() -> None:
    found = _TABLE.search(PAGE.read_text("utf-8"))
    assert found is not None
    assert found[0] == field_table(), f"write the table anew: {COMMAND}"


def test_no_field_is_both_served_and_refused() -> None:
    for form, refused in (
        (CompletionRequest, REFUSED_COMPLETION),
        (ChatCompletionRequest, REFUSED_CHAT),
    ):
        assert form.model_fields.keys() & refused.keys() == set()
        assert form.model_fields.keys() & WITHOUT_EFFECT.keys() == set()
        assert refused.keys() & WITHOUT_EFFECT.keys() == set()


@pytest.mark.parametrize("url", ["/v1/completions", "/v1/chat/completions"])
async def test_the_table_tells_the_truth(client: httpx.AsyncClient, url: str) -> None:
    """A value that asks for something, of every field that is not served."""
    body: dict[str, Any] = {"max_tokens": 1}
    if url == "/v1/completions":
        column, base = 3, {**body, "prompt": "a"}
    else:
        column, base = 4, {**body, "messages": [{"role": "user", "content": "a"}]}
    for row in field_table().splitlines()[2:]:
        cells = [cell.strip() for cell in row.split("|")]
        name, fate = cells[1].strip("`"), cells[column]
        if fate == "served":
            continue
        response = await client.post(url, json={**base, name: {"ask": "for something"}})
        if fate.startswith("refused"):
            assert response.status_code == 400, name
            assert response.json()["error"]["param"] == name
        else:
            assert response.status_code == 200, name
            told = response.json().get("ignored_fields", [])
            assert told == ([name] if fate.startswith("unknown") else [])


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: field_table(), text), "utf-8")
