"""A conversation spelled in token ids: (role + content + end-of-turn)*.

The one place that knows the form; training writes it, evaluation measures it, the service asks for
the turn that comes next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.sentencepiece_model import ASSISTANT, END, SYSTEM, USER
from models.tokenizer import Tokenizer

# As a checkpoint declares it (`models.declarations.DeclaredTemplate`).
STANDARD_TEMPLATE: Mapping[str, Any] = {
    "roles": {"system": SYSTEM, "user": USER, "assistant": ASSISTANT},
    "end_of_turn": END,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """Control tokens: one that opens the turns of each role, and one that ends every turn.

    system_prompts: those that the model was taught; None where nobody noted them.
    """

    tokenizer: Tokenizer
    role_ids: Mapping[str, int]
    end_id: int
    system_prompts: frozenset[str] | None = None

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, declared: Mapping[str, Any] = STANDARD_TEMPLATE
    ) -> ChatTemplate:
        """The template that a checkpoint declares; KeyError where the tokenizer lacks a piece."""
        control_ids = tokenizer.control_ids
        role_ids = {role: control_ids[piece] for role, piece in declared["roles"].items()}
        if "system" in role_ids:
            role_ids.setdefault("developer", role_ids["system"])
        taught = declared.get("system_prompts")
        return cls(
            tokenizer=tokenizer,
            role_ids=role_ids,
            end_id=control_ids[declared["end_of_turn"]],
            system_prompts=None if taught is None else frozenset(taught),
        )

    def follows(self, role: str, content: str) -> bool:
        """Whether a turn means anything to the model: not so a system prompt it never met."""
        if self.system_prompts is None or role not in ("system", "developer"):
            return True
        return content.strip() in self.system_prompts

    def turn(self, role: str, content: str) -> list[int]:
        """Ids of a whole turn: the role's token, the content, the end of the turn."""
        return [self.role_ids[role], *self.tokenizer.encode(content), self.end_id]

    @property
    def opening(self) -> int:
        """The token after which the assistant speaks."""
        return self.role_ids["assistant"]

    @property
    def stop_ids(self) -> tuple[int, int]:
        """Tokens at which a turn, or the conversation, is over."""
        return (self.end_id, self.tokenizer.eos_id)
