"""autogen: an agent that talks, one whose words come in a stream, and an answer of a type."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.messages import ModelClientStreamingChunkEvent, TextMessage
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core.models import ModelFamily, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel

QUESTION = "Hello, how are you?"


class Weather(BaseModel):
    degrees: int
    is_raining: bool


def client(**options: Any) -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(
        model=os.environ["MODEL"],
        base_url=os.environ["BASE_URL"],
        api_key=os.environ["API_KEY"],
        max_retries=0,
        seed=7,
        model_info={
            "vision": False,
            "function_calling": False,
            "json_output": True,
            "structured_output": True,
            "family": ModelFamily.UNKNOWN,
        },
        **options,
    )


async def talk() -> None:
    model = client(max_tokens=16)
    agent = AssistantAgent("kind", model_client=model, system_message="Be kind.")
    answer = (await agent.run(task=QUESTION)).messages[-1]
    assert isinstance(answer, TextMessage)
    assert answer.content
    assert answer.models_usage is not None
    assert 0 < answer.models_usage.completion_tokens <= 16

    streaming = AssistantAgent(
        "kind", model_client=model, system_message="Be kind.", model_client_stream=True
    )
    parts = [event async for event in streaming.run_stream(task=QUESTION)]
    said = [part.content for part in parts if isinstance(part, ModelClientStreamingChunkEvent)]
    assert len(said) > 2
    assert "".join(said) == answer.content

    others = [AssistantAgent(name, model_client=model) for name in ("one", "two")]
    team = RoundRobinGroupChat(others, termination_condition=MaxMessageTermination(4))
    assert len((await team.run(task=QUESTION)).messages) == 4
    await model.close()


async def answer_of_a_type() -> None:
    model = client(max_tokens=200)
    asked = [UserMessage(content="What is the weather like?", source="user")]
    typed = await model.create(asked, json_output=Weather)
    assert isinstance(typed.content, str)
    assert Weather.model_validate_json(typed.content)
    await model.close()


asyncio.run(talk())
asyncio.run(answer_of_a_type())
print("ok")
