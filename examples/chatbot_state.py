"""The same chatbot on state tokens: a turn sends the new message and 11 KB, however long the talk.

    pip install openai
    python examples/chatbot_state.py

The state is all there is of the conversation: put it into a cookie, a database row, another
process. Whoever has it goes on from there, on any replica with the same LSTM_SERVE_STATE_KEY.
"""

from __future__ import annotations

import sys

from openai import OpenAI


class Chatbot:
    """One conversation, in `state`: None before the first turn."""

    def __init__(self, url: str, state: str | None = None) -> None:
        self.client = OpenAI(base_url=f"{url}/v1", api_key="none")
        self.state = state

    def reply(self, text: str) -> str:
        """Answer a turn and move the state behind it."""
        answer = self.client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": text}],
            max_completion_tokens=60,
            extra_body={"state": self.state, "return_state": True},
        )
        choice = answer.choices[0]
        self.state = (choice.model_extra or {})["state"]
        return choice.message.content or ""


if __name__ == "__main__":
    bot = Chatbot(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
    for line in sys.stdin:
        print(bot.reply(line.strip()))
