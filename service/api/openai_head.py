"""What an OpenAI answer and all of its chunks begin with."""

from __future__ import annotations

import secrets
import time
from typing import Any

from service.api.openai_schemas import GenerationRequest
from service.serving import ServedModel


def answer_head(
    model: ServedModel, body: GenerationRequest, id_prefix: str, *, seed: int, bos: bool
) -> dict[str, Any]:
    """`seed` and `system_fingerprint`, sent again to a server that answers with the same
    fingerprint, give the same text. `bos`: whether the server began the prompts with
    begin-of-sequence."""
    info = model.engine.info
    digest = model.digest.rpartition(":")[2][:12]
    return {
        "id": id_prefix + secrets.token_hex(12),
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": f"fp_{digest}_{info.device}_{info.precision}",
        "seed": seed,
        "bos": bos,
    }
