"""A conversation as a prompt: turns behind a history, and the opening of the next one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from models.chat_template import ChatTemplate
from service.text.history import History, Prompt


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in the template of a model."""

    template: ChatTemplate

    def prompt(self, before: History, turns: Iterable[tuple[str, str]]) -> Prompt:
        """Each (role, text) behind `before`, and the opening of the assistant's turn.

        Raises ValueError, naming the roles that there are, for another one.
        """
        ids = list(before.tokens())
        first = len(ids)
        for role, text in turns:
            if role not in self.template.role_ids:
                known = ", ".join(sorted(self.template.role_ids))
                raise ValueError(f"role: this model knows {known}, not {role!r}")
            ids += self.template.turn(role, text)
        ids.append(self.template.opening)
        after = History(tokenizer=before.tokenizer, start=before.start, ids=tuple(ids))
        return Prompt(before=before, ids=after.ids, first=first, source=ids[first:], after=after)

    def close(self, before: History, text: str) -> History:
        """After the assistant said `text`."""
        return before.with_text(text).with_control(self.template.end_id)
