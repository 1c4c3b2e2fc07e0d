"""What routes get beside their request: a path without its prefix, models by name, admissions."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from service.app import create_app
from service.http.dependencies import EXIT_STACK, exit_stack, route_path, unknown_model
from service.served_model import ServedModel
from service.settings import Settings


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/v1/score"}, "/v1/score"),
        ({"path": "/v1/score", "root_path": ""}, "/v1/score"),
        ({"path": "/lm/v1/score", "root_path": "/lm"}, "/v1/score"),
        ({"path": "/v1/score", "root_path": "/lm"}, "/v1/score"),  # the proxy took it off
    ],
)
def test_a_path_is_told_without_the_prefix_of_a_proxy(scope: dict[str, str], path: str) -> None:
    assert route_path(scope) == path


def test_an_unknown_model_is_named_with_the_nearest() -> None:
    near = unknown_model("en-smal", ["ru-small", "en-small"])
    assert (near.status_code, near.code, near.param) == (404, "model_not_found", "model")
    assert near.message == "model: 'en-smal' is not served here; did you mean 'en-small'?"
    for name in ("EN-Small", "models/pretrained/en-small", "models/EN_small/"):
        assert "did you mean 'en-small'?" in unknown_model(name, ["ru-small", "en-small"]).message
    assert "did you mean 'En-Small'?" in unknown_model("en-small", ["En-Small"]).message
    far = unknown_model("gpt", ["en-small"])
    assert far.message == "model: 'gpt' is not served here; GET /v1/models lists what is"
    assert len(unknown_model("x" * 10_000, ["y"]).message) < 200


def test_each_model_has_one_admission_under_the_settings(served: ServedModel) -> None:
    context = create_app(Settings(max_wait_s=3, max_queued_tokens=7), [served]).state.context
    first = context.admission("tiny")
    assert context.admission("tiny") is first
    assert context.admission("other") is not first


def test_the_exit_stack_is_the_scopes() -> None:
    stack = AsyncExitStack()
    assert exit_stack({EXIT_STACK: stack}) is stack
    with pytest.raises(KeyError):
        exit_stack({})
