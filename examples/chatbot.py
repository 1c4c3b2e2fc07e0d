"""A chatbot's backend with OpenAI's client: the whole history is sent at every turn.

    pip install openai
    python examples/chatbot.py

Beside it: chatbot_state.py, the same on state tokens.
"""

from __future__ import annotations

import sys

from openai import OpenAI


class Chatbot:
    """One conversation; the server knows nothing of it."""

    def __init__(self, url: str) -> None:
        self.client = OpenAI(base_url=f"{url}/v1", api_key="none")
        self.messages: list[dict[str, str]] = []

    def reply(self, text: str) -> str:
        """Answer a turn, printing the answer while it comes."""
        self.messages.append({"role": "user", "content": text})
        stream = self.client.chat.completions.create(
            model="default", messages=self.messages, max_completion_tokens=60, stream=True
        )
        answer = ""
        for chunk in stream:
            answer += (piece := chunk.choices[0].delta.content or "")
            print(piece, end="", flush=True)
        print()
        self.messages.append({"role": "assistant", "content": answer})
        return answer


if __name__ == "__main__":
    bot = Chatbot(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
    for line in sys.stdin:
        bot.reply(line.strip())
