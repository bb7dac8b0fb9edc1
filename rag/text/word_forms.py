"""Further index terms of what is not a plain word: codes, identifiers, numbers, single letters.

A word is indexed as it always was (`analyzer`); these terms come beside it, so that two spellings
of one thing share one: ERR-4012 and ERR4012, maxRetryCount and max_retry_count, 1,250,000 and
1250000. Chinese, Japanese, Korean and the scripts of South-East Asia that have no spaces become
overlapping pairs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST_FORM = 64
"""Characters; a longer code has no further terms."""

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u1100-\u11ff\uac00-\ud7ff"  # Hangul
    "\u3041-\u3096\u309d\u309e\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    f"{_HAN}"
)
UNSPACED = re.compile(f"[{_UNSPACED}]+")
"""A run of characters of scripts that are indexed as pairs of characters."""
IDEOGRAPH = re.compile(f"[{_HAN}]")
"""A character that is often a word by itself."""

_PIECE = re.compile(r"(?!(?<=['’])[sS]\b)\w+(?:[.,'’&‐‑–-]\w+)*(?:[+#]+(?!\w))?")
_SIGNED = re.compile(r"[^\W\d_]\w{0,15}[+#]{1,3}")
_POSSESSIVE = re.compile(r"['’][sS]\Z")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3}){2,}")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)+")
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[^\W\d_]+(?:&[^\W\d_]+)+|[A-Z]['’][A-Z]\w+")
"""U.S, AT&T, O'Neill."""
_MARKED = re.compile(r"[.,&'’]")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th|s)", re.IGNORECASE)
_HYPHENS = re.compile(r"[-‐‑–_'’]")
_PART = re.compile(r"\d+(?:\.\d+)*|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
_FAMILY_NAME = re.compile(r"(?:Ma?c|De|Di|Du|Fitz|La|Le|Van|Von)[A-Z][a-z]+")
_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")


class Piece(NamedTuple):
    """A word, number or code between spaces."""

    text: str
    """Without the punctuation around it."""
    followed: bool
    """Whether punctuation follows it directly."""

    @property
    def is_letter(self) -> bool:
        """Whether it is a single letter."""
        return len(self.text) == 1 and self.text.isalpha()


def is_plain(text: str) -> bool:
    """Whether a text without spaces is a number, or a word of small letters but for the first."""
    return text.isdecimal() or (text.isalpha() and text[1:].islower())


def pieces(chunk: str) -> Iterator[Piece]:
    """The words, numbers and codes of a text without spaces, in order, but for the plain ones."""
    for match in _PIECE.finditer(chunk):
        text = match[0]
        if "'" in text or "’" in text:
            text = _POSSESSIVE.sub("", text)
        text = text.strip("_")
        if text and len(text) <= LONGEST_FORM and not is_plain(text):
            yield Piece(text, match.end() < len(chunk))


def joined_form(text: str) -> str:
    """One spelling of a code, number or abbreviation for all of its spellings; empty for a word."""
    if text.isalnum():
        return ""
    if text[-1] in "+#":
        if _SIGNED.fullmatch(text):
            return text
        text = text.rstrip("+#")
    return (_MARKED.search(text) and _unmarked(text)) or _joined_code(text)


def parts(text: str) -> list[str]:
    """The words and numbers inside a code or identifier; none for a plain word or number."""
    groups = [text] if text.isalnum() else _HYPHENS.split(text)
    found = [one for group in groups if _is_composed(group) for one in _PART.findall(group)]
    return [one for one in found if len(one) > 1]


def character_pairs(run: str) -> list[str]:
    """The overlapping pairs of characters of a run; of a single character, itself."""
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def _unmarked(text: str) -> str:
    """A number or an abbreviation without its punctuation; empty for what is neither."""
    if _THOUSANDS.fullmatch(text):
        return text.replace(",", "") if "," in text else text.replace(".", "")
    if _NUMBER.fullmatch(text):
        return text.replace(",", ".")
    return re.sub(r"[.&'’]", "", text) if _ABBREVIATION.fullmatch(text) else ""


def _joined_code(text: str) -> str:
    groups = _HYPHENS.split(text)
    is_mixed = _mixed(text)
    if len(groups) > 1 and ("_" in text or is_mixed or _is_long_number(groups)):
        return "".join(groups).replace(",", ".")
    return text.replace(",", ".") if is_mixed and not text.isalnum() else ""


def _is_composed(group: str) -> bool:
    """Whether a text without hyphens has parts of more than a character: MP3player, maxRetry."""
    if len(group) < 3 or is_plain(group):
        return False
    if _mixed(group) and not _ORDINAL.fullmatch(group):
        return True
    return bool(_CAMEL.search(group)) and not _FAMILY_NAME.fullmatch(group)


def _is_long_number(groups: list[str]) -> bool:
    """Whether hyphens join a number of three groups or more."""
    return len(groups) > 2 and all(one.isdecimal() for one in groups)


def _mixed(text: str) -> bool:
    """Whether there are both letters and digits."""
    return not text.isalpha() and bool(_DIGIT.search(text) and _LETTER.search(text))
