"""One request, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

Json = dict[str, Any]


async def answer_to(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> Json:
    """The answer, which must be a 200."""
    response = await client.post(url, json=body)
    assert response.status_code == 200, response.text
    answered: Json = response.json()
    return answered


async def refusal_of(client: httpx.AsyncClient, url: str, body: Mapping[str, Any]) -> Json:
    """The error of a 400, which must have the form of all errors and name its field."""
    response = await client.post(url, json=body)
    assert response.status_code == 400, response.text
    error: Json = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if error["param"] is not None:
        assert error["message"].startswith(error["param"])
    return error
