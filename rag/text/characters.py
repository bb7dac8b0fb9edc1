"""Unicode normalisation of text for search: one code point sequence for what looks the same."""

from __future__ import annotations

import re
import unicodedata

import regex

# The standard library's expressions decide quickly that a text has none of what follows.
_INTRICATE = re.compile(
    "[\xad\u0300-\u1fff\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\u2c00-\U0010ffff]"
)
_INVISIBLE = regex.compile(r"\p{Cf}+")
_MARKS = regex.compile(r"(?V1)[\p{M}--\p{ccc=0}]+")

_GROWTH = 3
_LIGATURES = re.compile("[\u3300-\u33ff\ufdf0-\ufdff]")
"""Signs for whole words and phrases, of up to 18 characters in NFKC."""


def searchable(text: str) -> str:
    """Text in NFKC, without invisible characters and loose accents.

    Dropped are format characters (soft hyphens, zero-width characters, direction marks) and the
    marks that are left after composition: rare accents, the vowel points of Arabic and Hebrew,
    viramas, tone marks. Vowel signs stay. A text made of signs for whole words, which would grow
    more than threefold, loses those.
    """
    if text.isascii():
        return text
    if not _INTRICATE.search(text):
        return unicodedata.normalize("NFKC", text)
    bare: str = _MARKS.sub("", _composed(_INVISIBLE.sub("", text)))
    return bare


def _composed(text: str) -> str:
    composed = unicodedata.normalize("NFKC", text)
    if len(composed) > _GROWTH * len(text):
        return unicodedata.normalize("NFKC", _LIGATURES.sub(" ", text))
    return composed
