"""The contract as clients' generators read it: a change of it is to be seen in review."""

from __future__ import annotations

import json
from pathlib import Path

from service.app import create_app
from service.settings import Settings

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi.json"
COMMAND = "python -m tests.service.http.test_openapi"


def current() -> str:
    """The document of a server without keys. The project's version is no part of the contract."""
    document = create_app(Settings(api_keys=())).openapi()
    document = {**document, "info": {**document["info"], "version": "0"}}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_document_is_the_reviewed_one() -> None:
    is_same = SNAPSHOT.read_text("utf-8") == current()
    assert is_same, f"the API changed; write docs/openapi.json anew: {COMMAND}"


if __name__ == "__main__":
    SNAPSHOT.write_text(current(), "utf-8")
