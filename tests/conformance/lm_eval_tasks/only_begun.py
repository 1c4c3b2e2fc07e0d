"""Of the questions those that have something before the gap."""

from __future__ import annotations

from typing import Any


def only_begun(questions: Any) -> Any:
    return questions.filter(lambda question: bool(question["before"]))
