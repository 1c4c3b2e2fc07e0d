"""The API's description: complete, in the contract's form, and readable with no internet."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest

from tests.service.conftest import Serve

COMPUTING = {"400", "401", "404", "413", "429", "503"}


async def operations(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    document = (await client.get("/openapi.json")).json()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_operation_is_described(client: httpx.AsyncClient) -> None:
    described = await operations(client)
    assert {"POST /v1/score", "POST /v1/next-token", "GET /v1/models", "GET /metrics"} <= set(
        described
    )
    for name, operation in described.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert re.fullmatch(r"[a-z_]+", operation["operationId"]), name
        assert "422" not in operation["responses"], name
    ids = [operation["operationId"] for operation in described.values()]
    assert len(ids) == len(set(ids))


async def test_every_computing_operation_declares_its_errors_and_has_an_example(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for name, operation in (await operations(client)).items():
        if "requestBody" not in operation:
            continue
        assert set(operation["responses"]) >= COMPUTING, name
        for status in COMPUTING:
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
            assert set(content["example"]["error"]) == {"message", "type", "param", "code"}
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert schemas[body["$ref"].rpartition("/")[2]]["examples"], name
    assert "HTTPValidationError" not in schemas


async def test_examples_are_answered(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        if "requestBody" in methods.get("post", {}):
            body = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
            schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
            for example in schema["examples"]:
                response = await client.post(path, json=example)
                assert response.status_code == 200, (path, response.text)


async def test_optional_fields_take_null_in_the_schema(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schema = document["components"]["schemas"]["ScoreRequest"]
    for name, field in schema["properties"].items():
        takes_null = {"type": "null"} in field.get("anyOf", [])
        assert takes_null is (name not in schema.get("required", ())), name


async def test_the_reference_needs_no_internet(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 3
    for address in addresses:
        assert address.startswith("docs/")  # relative: right under any prefix
        asset = await client.get(f"/{address}")
        assert asset.status_code == 200
        assert len(asset.content) > 500
    assert not re.search(r"https?://", page.text)


async def test_the_reference_runs_its_own_scripts_and_no_others(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    for name in ("x-frame-options", "cross-origin-opener-policy", "referrer-policy"):
        assert name in page.headers


async def test_no_answer_is_taken_for_what_it_is_not(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/v1/models", "/nope"):
        assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs/nothing.js", "/docs/../settings.py", "/redoc"])
async def test_nothing_else_is_handed_out(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_a_key_is_declared(serve: Serve) -> None:
    async with serve(api_keys="k") as client:
        headers = {"authorization": "Bearer k"}
        document = (await client.get("/openapi.json", headers=headers)).json()
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    assert document["security"] == [{"api_key": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []


async def test_no_key_is_declared_where_none_is_set(client: httpx.AsyncClient) -> None:
    assert "security" not in (await client.get("/openapi.json")).json()
