"""Further index terms of what is not a plain word: codes, identifiers, numbers, single letters.

A word is indexed as it always was (`analyzer`); these terms come beside it, so that two spellings
of one thing share one: ERR-4012 and ERR4012, maxRetryCount and max_retry_count, 1,250,000 and
1250000. Chinese, Japanese, Korean and the scripts of South-East Asia that have no spaces become
overlapping pairs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_AMPERSAND = re.compile(r"[^\W\d_]+(?:&[^\W\d_]+)+")
_PREFIXED_NAME = re.compile(r"[A-Z]['’][A-Z]\w+")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th|s)", re.IGNORECASE)
_HYPHENS = re.compile(r"[-‐‑–_'’]")
_RUN = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
_FAMILY_NAME = re.compile(r"(?:Ma?c|De|Di|Du|Fitz|La|Le|Van|Von)[A-Z][a-z]+")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A word, number or code between spaces."""

    text: str
    """Without the punctuation around it."""
    followed: bool
    """Whether punctuation follows it directly."""


def pieces(chunk: str) -> Iterator[Piece]:
    """The words, numbers and codes of a text without spaces, in order."""
    for match in _PIECE.finditer(chunk):
        text = _POSSESSIVE.sub("", match[0]).strip("_")
        if text and len(text) <= LONGEST_FORM:
            yield Piece(text=text, followed=match.end() < len(chunk))


def joined_form(text: str) -> str:
    """One spelling of a code, number or abbreviation for all of its spellings; empty for a word."""
    if _SIGNED.fullmatch(text):
        return text
    text = text.rstrip("+#")
    if _THOUSANDS.fullmatch(text):
        return text.replace(",", "") if "," in text else text.replace(".", "")
    if _NUMBER.fullmatch(text):
        return text.replace(",", ".")
    if _INITIALS.fullmatch(text) or _AMPERSAND.fullmatch(text) or _PREFIXED_NAME.fullmatch(text):
        return re.sub(r"[.&'’]", "", text)
    groups = _HYPHENS.split(text)
    if len(groups) > 1 and ("_" in text or _is_code(text, groups)):
        return "".join(groups).replace(",", ".")
    return text.replace(",", ".") if _mixed(text) and not text.isalnum() else ""


def parts(text: str) -> list[str]:
    """The words and numbers inside a code or identifier; none for a plain word or number."""
    found: list[str] = []
    for group in _HYPHENS.split(text):
        if _mixed(group) and not _ORDINAL.fullmatch(group):
            found += _RUN.findall(group)
        elif _CAMEL.search(group) and not _FAMILY_NAME.fullmatch(group):
            found.append(group)
    humps = [hump for one in found for hump in (_HUMP.findall(one) or [one])]
    return [one for one in humps if len(one) > 1]


def character_pairs(run: str) -> list[str]:
    """The overlapping pairs of characters of a run; of a single character, itself."""
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def _is_code(text: str, groups: list[str]) -> bool:
    """Whether hyphens join a code: letters and digits, or a number of three groups or more."""
    return _mixed(text) or (len(groups) > 2 and all(one.isdecimal() for one in groups))


def _mixed(text: str) -> bool:
    """Whether there are both letters and digits."""
    return any(map(str.isdecimal, text)) and any(map(str.isalpha, text))
