"""Token counts: parity with tiktoken, and where they add up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from support.texts import PROSE, TEXTS

from hoptrail.rag.text import tokens
from hoptrail.rag.text.tokens import count_tokens, seam


def tiktoken_count(text: str) -> int:
    import tiktoken

    count_tokens("")  # so that the encoding is loaded from the bundled folder
    encoding = tiktoken.get_encoding("cl100k_base")
    return len(encoding.encode(text, disallowed_special=()))


@settings(deadline=None)
@given(TEXTS)
def test_counts_equal_tiktoken(text: str) -> None:
    assert count_tokens(text) == tiktoken_count(text)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_counts_add_up_at_a_seam(left: str, right: str) -> None:
    left, right = "x" + left.rstrip(), right.lstrip() + "x"
    left = left.rstrip()
    for gap in (" ", "\n", "\r\n", " \n\n", "\n \t\n", "\t", "", "\n  ", "\u00a0\n"):
        text = left + gap + right
        at = seam(text, len(left), len(left) + len(gap))
        if at is None:
            assert gap in {"\t", "", "\n  "}
        else:
            assert count_tokens(text[:at]) + count_tokens(text[at:]) == count_tokens(text)


def test_long_texts_are_counted_exactly_in_blocks() -> None:
    text = "\n\n".join(f"{PROSE} Number {n}.   Then  two spaces." for n in range(300))
    assert len(text) > 4 * tokens._BLOCK
    assert count_tokens(text) == tiktoken_count(text)


@pytest.mark.parametrize("unit", ["a", " ", "\n", "^", "中", "\r\n", "?! "])
def test_a_million_equal_characters_are_counted(unit: str) -> None:
    text = unit * (10**6 // len(unit))
    assert 0 < count_tokens(text) <= len(text.encode())
