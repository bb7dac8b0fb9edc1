"""The names that link passages, found without a model: what the passage graph is made of.

Pure functions of the text: no index, no I/O. An entity is the signed 64-bit key of its normalised
name (see `spans`), so the graph needs no table of names; `named` finds them again in a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hoptrail.rag.spans import Words, combine, names, sequences, signed, words

VERSION = 1
"""Raised whenever the traces of one and the same text change: stores then build them anew."""

_MOST_CANDIDATES = 512
_BRACKETS = re.compile(r"\s*\([^)]*\)\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What a passage is about, mentions, and may point to; entities as signed 64-bit keys."""

    abouts: tuple[tuple[int, float], ...]
    """Entities the passage is about, each once, with a strength in (0, 1]."""

    mentions: tuple[int, ...]
    """The names it mentions, each once, in the order of the text."""

    candidates: tuple[int, ...]
    """Whatever in it may be another passage's title, each once; maximal names come first."""


def entity(name: str) -> int:
    """The key of a name, whatever its case, accents and punctuation; 0 if it has no words."""
    return combine(words(name).keys)


def traces(title: str, texts: Sequence[str]) -> list[Traces]:
    """The traces of one document's passages, in order."""
    abouts = tuple(_titled(title).items())
    return [_trace(abouts, words(text)) for text in texts]


def named(text: str) -> dict[int, str]:
    """The names that a text mentions: their keys, and each as it stands where it comes first."""
    found = words(text)
    surfaces: dict[int, str] = {}
    for span in names(found):
        surfaces.setdefault(found.key(span), found.surface(span))
    return surfaces


def _trace(abouts: tuple[tuple[int, float], ...], found: Words) -> Traces:
    mentions = dict.fromkeys(found.key(span) for span in names(found))
    candidates = dict.fromkeys(mentions)
    for key in sequences(found):
        if len(candidates) >= _MOST_CANDIDATES:
            break
        candidates[signed(key)] = None
    return Traces(abouts=abouts, mentions=tuple(mentions), candidates=tuple(candidates))


def _titled(title: str) -> dict[int, float]:
    """The names that a title is, and how surely: without its brackets, with and without "the"."""
    strengths: dict[int, float] = {}
    for name, strength in ((title, 1.0), (_BRACKETS.sub("", title), 0.95)):
        key = entity(name)
        if key:
            strengths.setdefault(key, strength)
    for name in (title, _BRACKETS.sub("", title)):
        bare = name.strip()
        other = bare[4:] if bare.casefold().startswith("the ") else f"the {bare}"
        if bare and (key := entity(other)):
            strengths.setdefault(key, 0.9)
    return strengths
