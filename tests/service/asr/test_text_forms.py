"""The form in which a model is asked about a hypothesis."""

from __future__ import annotations

import pytest

from service.asr.text_forms import render


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("as-is", "I'm here, i think."),
        ("asr", "i'm here i think"),
        ("cased", "I'm here I think."),
    ],
)
def test_forms_of_text(form: str, expected: str) -> None:
    assert render("I'm here, i think.", form) == expected  # type: ignore[arg-type]
    assert render("", form) == ""  # type: ignore[arg-type]


def test_every_lone_i_is_a_capital_and_no_other() -> None:
    assert render("i said i'll if i", "cased") == "I said I'll if I."
    assert render("...", "cased") == ""
