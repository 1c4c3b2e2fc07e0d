"""litellm: completions, chat, streams, embeddings."""

from __future__ import annotations

import os
from typing import Any

import litellm

base: dict[str, Any] = {
    "api_base": os.environ["BASE_URL"],
    "api_key": os.environ["API_KEY"],
    "seed": 7,
    "max_tokens": 16,
    "num_retries": 0,
}
model = os.environ["MODEL"]
messages = [{"role": "user", "content": "Hello, how are you?"}]

whole = litellm.completion(model=f"openai/{model}", messages=messages, **base)
assert whole.choices[0].message.content
assert whole.usage.completion_tokens <= 16
stream = litellm.completion(model=f"openai/{model}", messages=messages, stream=True, **base)
parts = [chunk.choices[0].delta.content or "" for chunk in stream]
assert "".join(parts) == whole.choices[0].message.content
text = litellm.text_completion(
    model=f"text-completion-openai/{model}", prompt="It was a dark and", **base
)
assert text.choices[0].text
base.pop("seed")
base.pop("max_tokens")
vectors = litellm.embedding(model=f"openai/{model}", input=["the cat sat"], **base)
assert abs(sum(x * x for x in vectors.data[0]["embedding"]) - 1) < 1e-4
print("ok")
