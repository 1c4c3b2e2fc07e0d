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

    def prompt(
        self,
        before: History,
        turns: Iterable[tuple[str, str]],
        *,
        opens: bool = True,
        continues: bool = False,
    ) -> Prompt:
        """Each (role, text) behind `before`, and the opening of the assistant's turn.

        System prompts that the model was not taught are left out: they would only lead it astray.
        opens: whether that opening comes; continues: in its place the last turn stays open, for its
        text to go on. Raises ValueError, naming the roles that there are, for another one.
        """
        ids = list(before.tokens())
        first, rest = len(ids), list(turns)
        unfinished = rest.pop() if continues else None
        for role, text in rest:
            if self.template.follows(self._known(role), text):
                ids += self.template.turn(role, text)
        if unfinished is not None:
            ids.append(self.template.role_ids[self._known(unfinished[0])])
        elif opens:
            ids.append(self.template.opening)
        after = History(tokenizer=before.tokenizer, start=before.start, ids=tuple(ids))
        if unfinished is not None:
            after = after.with_text(unfinished[1])
        ids = list(after.tokens())
        return Prompt(before=before, ids=tuple(ids), first=first, source=ids[first:], after=after)

    def _known(self, role: str) -> str:
        if role not in self.template.role_ids:
            known = ", ".join(sorted(self.template.role_ids))
            raise ValueError(f"role: this model knows {known}, not {role!r}")
        return role

    def close(self, before: History, text: str) -> History:
        """After the assistant said `text`."""
        return before.with_text(text).with_control(self.template.end_id)
