"""How tokens are written in the OpenAI forms: as the text they stand for, in the place they stand.

SentencePiece's own names ("▁the") belong to the native endpoints.
"""

from __future__ import annotations

from models.tokenizer import Tokenizer


def token_name(tokenizer: Tokenizer, token_id: int, *, line_start: bool) -> str:
    r"""The token's text; at a line's start without the dummy space, which is not in the text.

    A control token is named by its piece. A byte is written as OpenAI writes it, ``bytes:\xe2``,
    unless it is an ASCII character that has no piece of its own, such as a newline.
    """
    if tokenizer.is_control(token_id):
        return tokenizer.piece(token_id)
    data = tokenizer.token_bytes(token_id)
    if tokenizer.is_byte(token_id):
        if data.isascii() and data != b" " and tokenizer.piece_to_id(data.decode()) is None:
            return data.decode()
        return f"bytes:\\x{data[0]:02x}"
    name = data.decode()
    return name[1:] if line_start and name.startswith(" ") else name


def token_bytes_in_place(
    tokenizer: Tokenizer, token_id: int, *, line_start: bool
) -> list[int] | None:
    """The token's share of the text's UTF-8 bytes; None for a control token, which has none."""
    if tokenizer.is_control(token_id):
        return None
    data = tokenizer.token_bytes(token_id)
    return list(data[1:] if line_start and data.startswith(b" ") else data)


def id_name(token_id: int) -> str:
    """A name no other token can have, in vLLM's form (`return_tokens_as_token_ids`)."""
    return f"token_id:{token_id}"
