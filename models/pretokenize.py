"""Cutting text into bounded chunks whose segmentations never depend on one another.

The canonical segmentation of a text is the concatenation of the segmentations of its chunks. A
chunk is at most ``MAX_WORD`` + 1 characters long and its end is known from at most one character
that follows it, so a segmentation becomes final as text grows and a conversation can be cut at
any place without changing a token.

The rules, in the order in which they are tried:

- ``"\\n"`` is a chunk;
- an optional single space and 1 to ``MAX_WORD`` characters that are neither space, newline nor
  U+2581 are a chunk (a longer word is cut every ``MAX_WORD`` characters);
- any other space is a chunk (one followed by a space, a newline, U+2581 or the end);
- U+2581, SentencePiece's own sign for a space, is a chunk, so that it can be told from a space.

Every non-empty line starts with one dummy space that is not in the text, so that the first word
of a line has the same chunk (``" The"``) as it has inside one.
"""

import re

MAX_WORD = 32
SPACE_SIGN = "\u2581"

_CHUNK = re.compile(rf"\n| ?[^ \n{SPACE_SIGN}]{{1,{MAX_WORD}}}| |{SPACE_SIGN}")
_LINE_BREAK = re.compile(r"\n(?=[^\n])")


def line_start_after(text: str, *, continuation: bool = False) -> bool:
    """Whether the character that follows `text` starts a line.

    `continuation` says that `text` itself continues a line.
    """
    return text.endswith("\n") if text else not continuation


def chunks(text: str, *, continuation: bool = False) -> list[str]:
    """The chunks of `text`, dummy spaces included; without them they concatenate to `text`."""
    prefixed = _LINE_BREAK.sub("\n ", text)
    if text and not continuation and not text.startswith("\n"):
        prefixed = " " + prefixed
    return _CHUNK.findall(prefixed)


def split_pending(text: str) -> tuple[str, str]:
    """Cut `text` into (final, pending): no later text can change the chunks of `final`.

    `pending` is the shortest such tail: the last, unfinished chunk without its dummy space, at
    most ``MAX_WORD`` characters. For every `later`, with ``line = line_start_after(final, ...)``,
    the chunks of ``text + later`` are those of `final` followed by those of ``pending + later``
    with ``continuation=not line``.
    """
    word_start = 1 + max(text.rfind(" "), text.rfind("\n"), text.rfind(SPACE_SIGN))
    word_length = len(text) - word_start
    # A full piece of a long word is finished: what follows it starts a chunk of its own.
    pending_start = len(text) - word_length % MAX_WORD
    if pending_start == word_start and text[:word_start].endswith(" "):
        pending_start -= 1
    return text[:pending_start], text[pending_start:]
