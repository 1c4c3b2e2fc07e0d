"""Turns as ids: the template's own spelling, whatever was before and whatever comes after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chat_template import STANDARD_TEMPLATE, ChatTemplate
from models.tokenizer import Tokenizer
from service.text.conversation import Conversation
from service.text.history import begin

TURNS = [("system", "Have a chat."), ("user", "How are\nyou? "), ("assistant", "")]
texts = st.text("the cat\n é🙂", max_size=20)


@pytest.fixture(scope="module")
def conversation(tokenizer: Tokenizer) -> Conversation:
    return Conversation(ChatTemplate.of(tokenizer))


def test_turns_and_the_opening_are_the_templates(
    conversation: Conversation, tokenizer: Tokenizer
) -> None:
    template = conversation.template
    spelled = [id for turn in TURNS for id in template.turn(*turn)]
    before = begin(tokenizer, bos=True)
    closed = conversation.prompt(before, TURNS, opens=False)
    assert closed.ids == (tokenizer.bos_id, *spelled)
    opened = conversation.prompt(before, TURNS)
    assert opened.ids == (*closed.ids, template.opening)
    assert (opened.first, opened.source) == (1, list(opened.ids[1:]))
    assert opened.after.tokens() == opened.ids


@given(text=texts, said=texts)
def test_a_conversation_goes_on_behind_its_history_as_if_sent_whole(
    conversation: Conversation, tokenizer: Tokenizer, text: str, said: str
) -> None:
    begun = conversation.prompt(begin(tokenizer, bos=True), [("user", text)])
    later = conversation.prompt(conversation.close(begun.after, said), [("user", "the cat")])
    whole = conversation.prompt(
        begin(tokenizer, bos=True), [("user", text), ("assistant", said), ("user", "the cat")]
    )
    assert later.ids == whole.ids
    assert later.ids[: later.first] == conversation.close(begun.after, said).tokens()


@given(text=texts, more=texts)
def test_a_turn_left_open_is_whole_once_its_text_goes_on(
    conversation: Conversation, tokenizer: Tokenizer, text: str, more: str
) -> None:
    before = begin(tokenizer, bos=True)
    opened = conversation.prompt(before, [("user", "hi"), ("assistant", text)], continues=True)
    whole = conversation.prompt(before, [("user", "hi"), ("assistant", text + more)], opens=False)
    assert conversation.close(opened.after, more).tokens() == whole.ids


def test_a_system_prompt_that_was_not_taught_is_left_out(tokenizer: Tokenizer) -> None:
    declared = {**STANDARD_TEMPLATE, "system_prompts": ["Have a chat."]}
    conversation = Conversation(ChatTemplate.of(tokenizer, declared))
    before = begin(tokenizer, bos=True)
    user = ("user", "hi")
    plain = conversation.prompt(before, [user]).ids
    assert conversation.prompt(before, [("system", "You are a pirate."), user]).ids == plain
    assert conversation.prompt(before, [("system", "Have a chat."), user]).ids != plain
    # Nor is another role's text looked at, and "developer" is another name for "system".
    assert conversation.prompt(before, [("developer", "You are a pirate."), user]).ids == plain


@pytest.mark.parametrize("continues", [False, True])
def test_a_role_that_there_is_not_is_named_with_those_there_are(
    conversation: Conversation, tokenizer: Tokenizer, continues: bool
) -> None:
    with pytest.raises(ValueError, match="knows assistant, developer, system, user, not 'tool'"):
        conversation.prompt(begin(tokenizer, bos=True), [("tool", "x")], continues=continues)
