"""Texts for the tests of sentences and token counts: prose, and odd pieces put together."""

from __future__ import annotations

from hypothesis import strategies as st

PROSE = (
    "Dr. Marlow sailed from Hull on 3 March 1911. The voyage, e.g. its cost, was noted by "
    'Capt. J. S. Veil! "Was it worth it?" he asked. (It was.) The U.S. fleet arrived later. '
    "Prices rose by 3.5 per cent. Mr. Onn left..."
)
# ruff: noqa: RUF005
FRAGMENTS = st.sampled_from(
    [" ", "  ", "\n", "\r\n", "\r", "\n\n", "\t", "\f", "\u00a0", "\u3000", "\u2028", "\u2029"]
    + ["A word.", "Is it?", "No!", "e.g. this", "Dr. X.", "3.14", "word", "中文句子。", "…", '."']
    + ["é", "e\u0301", "👩‍👩‍👧", "\x1c", "\u200b", "a" * 50, "<|endoftext|>", "(So.)", "it's"]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(FRAGMENTS, max_size=60).map("".join))
