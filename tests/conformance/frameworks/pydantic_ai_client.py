"""pydantic-ai: an agent that talks, and one whose answers have a type."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
model = OpenAIChatModel(os.environ["MODEL"], provider=provider)
settings: Any = {"seed": 7, "max_tokens": 24}

agent = Agent(model, system_prompt="Be kind.", model_settings=settings)
first = agent.run_sync("Hello, how are you?")
assert first.output
second = agent.run_sync("And then?", message_history=first.all_messages())
assert second.output


class Weather(BaseModel):
    degrees: int
    is_raining: bool


typed = Agent(
    model, output_type=NativeOutput(Weather), model_settings={"seed": 7, "max_tokens": 200}
)
answer = typed.run_sync("What is the weather like?").output
assert isinstance(answer, Weather)
print("ok")
