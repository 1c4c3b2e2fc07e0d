"""What tuning finds and rescoring takes: a JSON file.

    {"form": 1, "rescore": {"lm_weight", "length_bonus", "weights", "mixture"},
     "text_form": "as-is", "model": {"name", "digest"}, "report": {...}}

`rescore` are fields of `POST /v1/rescore` as they stand; the rest says where they are from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from service.asr.formats.json_values import finite
from service.asr.hypotheses import LM
from service.asr.text_forms import TextForm

FORM = 1
_UNTUNED = 5.0  # of a language model beside unscaled acoustic scores
_FIELDS = {"lm_weight", "length_bonus", "weights", "mixture"}


@dataclass(frozen=True, slots=True)
class Mixture:
    """A linear mixture, word by word: share * P_model + (1 - share) * P_with."""

    with_: str
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RescoringSettings:
    """How a hypothesis' scores make its total; see `service.text.rescoring`.

    weights: of the scores that the lists bring, by name, and of `ngram`. mixture: in place of the
    model alone, where `lm_weight` weighs the mixture. ValueError for a factor that is not finite.
    """

    lm_weight: float = 0.5
    length_bonus: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    mixture: Mixture | None = None
    text_form: TextForm = "as-is"
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        factors = {"lm_weight": self.lm_weight, "length_bonus": self.length_bonus}
        factors |= {f"the weight of {name!r}": own for name, own in self.weights.items()}
        for name, value in factors.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} is no finite number: {value}")

    def request_fields(self) -> dict[str, Any]:
        """Fields of `POST /v1/rescore`."""
        fields: dict[str, Any] = {
            "lm_weight": self.lm_weight,
            "length_bonus": self.length_bonus,
            "weights": dict(self.weights),
        }
        if self.mixture is not None:
            fields["mixture"] = {"with": self.mixture.with_, "share": self.mixture.share}
        return fields

    def save(self, path: Path) -> None:
        entry = {
            "form": FORM,
            "rescore": self.request_fields(),
            "text_form": self.text_form,
            **self.about,
        }
        path.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")


def untuned_settings(names: Collection[str]) -> RescoringSettings:
    """Weights to begin with for lists that bring scores of these names.

    With `lm` the recogniser's score is acoustic and unscaled, and the others go with the language
    models' scale; without it the score is a composite. ValueError for other scores alone.
    """
    if LM in names:
        weights = dict.fromkeys(sorted(names), _UNTUNED)
        return RescoringSettings(lm_weight=_UNTUNED, length_bonus=-1.0, weights=weights)
    if names:
        raise ValueError(f"no weight is given for the score {min(names)!r} (0 leaves it out)")
    return RescoringSettings()


def load_settings(path: Path) -> RescoringSettings:
    """Raises ValueError, which names the file and the fault; OSError."""
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(entry: Any) -> RescoringSettings:
    fields = entry.get("rescore") if isinstance(entry, dict) else None
    if not isinstance(fields, dict) or entry.get("form") != FORM:
        raise ValueError(f"is no settings file of form {FORM}: run `lstm-serve tune` to make one")
    if unknown := sorted(set(fields) - _FIELDS):
        raise ValueError(f"rescore has the unknown field {unknown[0]!r}")
    weights = fields.get("weights", {})
    if not isinstance(weights, dict):
        raise ValueError("rescore.weights is no JSON object")
    text_form = entry.get("text_form", "as-is")
    if text_form not in get_args(TextForm):
        raise ValueError(f"text_form is {text_form!r}, not one of {', '.join(get_args(TextForm))}")
    return RescoringSettings(
        lm_weight=_real(fields.get("lm_weight", 0.5), "lm_weight"),
        length_bonus=_real(fields.get("length_bonus", 0.0), "length_bonus"),
        weights={name: _real(own, f"weights.{name}") for name, own in weights.items()},
        mixture=_mixture(fields.get("mixture")),
        text_form=cast(TextForm, text_form),
        about={k: v for k, v in entry.items() if k not in ("form", "rescore", "text_form")},
    )


def _mixture(entry: Any) -> Mixture | None:
    if entry is None:
        return None
    if not isinstance(entry, dict) or set(entry) != {"with", "share"}:
        raise ValueError("rescore.mixture needs 'with' and 'share'")
    share = _real(entry["share"], "mixture.share")
    if not 0 <= share <= 1:
        raise ValueError(f"mixture.share is in 0..1, not {share}")
    return Mixture(str(entry["with"]), share)


def _real(value: Any, name: str) -> float:
    if (real := finite(value)) is None:
        raise ValueError(f"rescore.{name} is no finite number: {value!r:.40}")
    return real
