"""Names, numbers and dates in a text, found by their surface form alone (regular expressions).

Verification asks whether those of a claim stand in its quotes; the local player follows the names
that evidence mentions and the question does not.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import regex

from hoptrail.rag.entities.words import COMMON_WORDS

_ABBREVIATION = r"(?:St|Mt|Dr|Mr|Mrs|Ms|Sr|Fr|Col|Capt|Gen|Lt|Sgt|\p{Lu})\."
_WORD = rf"(?:{_ABBREVIATION}|\p{{Lu}}(?:\w|['’\-.](?=\p{{L}}))*)"
_LINK = r"(?:of|the|de|del|della|di|da|du|des|van|von|der|den|la|le|el|al|ibn|bin|&)"
# Whole words only: "iPhone" mentions no Phone, and COVID19 no COVID.
_NAME = regex.compile(rf"(?<!\w){_WORD}(?:\s+(?:{_LINK}\s+){{0,2}}(?:{_WORD}|\d+\b)|,\s+Jr\b\.?)*")
_OPENING = re.compile(r"(?:^|[.!?:;]|\n)[\s(\[\"'“‘«—–-]*\Z")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")

# Words that are capitalised at the head of sentences and questions without being names.
_COMMON = COMMON_WORDS | {"list", "name", "give", "tell", "find", "born"}


@lru_cache(maxsize=2048)
def casefolded(text: str) -> str:
    """Lower case, without accents, white space collapsed: how names are compared."""
    if not text.isascii():
        text = _BEYOND_ASCII.sub(_without_accents, unicodedata.normalize("NFKD", text))
    return " ".join(text.casefold().split())


def _without_accents(run: re.Match[str]) -> str:
    return "".join(c for c in run[0] if not unicodedata.combining(c))


def surface_words(text: str) -> list[str]:
    """The folded words of a text, punctuation aside."""
    return re.findall(r"\w+", casefolded(text))


@lru_cache(maxsize=8192)
def proper_names(text: str) -> tuple[str, ...]:
    """The names a text mentions, in order, each once: runs of capitalised words.

    A common word that is capitalised because it begins a sentence is no name and is cut from the
    head of one; joining words ("of", "van") stay inside.
    """
    found: dict[str, str] = {}
    for match in _NAME.finditer(unicodedata.normalize("NFKC", text)):
        name = _trim(match.group())
        if len(name) > 1 and any(c.isalpha() for c in name):
            found.setdefault(casefolded(name), name)
    return tuple(found.values())


def only_opens_sentences(name: str, text: str) -> bool:
    """Whether a single word occurs only where any word has a capital, such as sentence starts."""
    if " " in name:
        return False
    found = re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    return all(_OPENING.search(text, 0, match.start()) for match in found)


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text, thousands separators removed, in order, each once."""
    return tuple(dict.fromkeys(_plain(match) for match in _NUMBER.findall(text)))


def _plain(number: str) -> str:
    """1,204 as 1204, and 3.50 as it is."""
    return re.sub(r"[,.](?=\d{3}(?:\D|$))", "", number)


def _trim(name: str) -> str:
    """A run of capitalised words without the common words that head or end it."""
    parts = name.split()
    while parts and casefolded(parts[0]).strip(".,'’") in _COMMON:
        parts.pop(0)
    while parts and (casefolded(parts[-1]).strip(".,") in _COMMON or not parts[-1][0].isalnum()):
        parts.pop()
    return re.sub(r"['’]s$", "", " ".join(parts)).rstrip(".,")
