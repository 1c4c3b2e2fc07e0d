"""Ids that name a file or begin a line, and those that cannot; the writers' tests have the rest."""

from __future__ import annotations

import pytest

from service.asr.formats.ids import file_name, word_of_line


@pytest.mark.parametrize("id", ["u1", "a b", "é", "..u", "a.b"])
def test_a_file_has_the_name_of_its_list(id: str) -> None:
    written: set[str] = set()
    assert file_name(id, written) == id
    with pytest.raises(ValueError, match="two lists have the id"):
        file_name(id, written)


@pytest.mark.parametrize("id", ["", ".", "..", "/", "a/../b", "a\0"])
def test_what_leads_out_of_the_folder_is_no_name(id: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        file_name(id, set())


@pytest.mark.parametrize("id", ["", " ", "a b", "a\tb", "a\n", "\u00a0a"])
def test_one_word_begins_a_line(id: str) -> None:
    assert word_of_line("sp-1_u.é") == "sp-1_u.é"
    with pytest.raises(ValueError, match="is not one word"):
        word_of_line(id)
