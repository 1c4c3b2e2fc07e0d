"""Ids of utterances where a written form has no room for every id."""

from __future__ import annotations


def file_name(utterance: str, written: set[str]) -> str:
    """The id of a list as the name of its file; ValueError where it cannot be one.

    Ids come from files, too, such as NeMo's audio paths: one with a slash would be written outside
    the folder. written: the ids that have a file already; this one is added.
    """
    if utterance in ("", ".", "..") or "/" in utterance or "\0" in utterance:
        raise ValueError(f"the id {utterance[:60]!r} cannot name a file: say --to jsonl")
    if utterance in written:
        raise ValueError(f"two lists have the id {utterance!r}, and would be one file")
    written.add(utterance)
    return utterance


def word_of_line(utterance: str) -> str:
    """The id of a list as the first word of a line; ValueError where it is not one word."""
    if len(utterance.split()) != 1 or utterance != utterance.strip():
        raise ValueError(f"the id {utterance[:60]!r} is not one word: say --to jsonl")
    return utterance
