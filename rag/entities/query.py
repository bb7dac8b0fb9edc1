"""The entities of a query, and entity linking of names that no passage has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.entities.extraction import mentioned_entities
from hoptrail.rag.entities.words import (
    CAPITAL,
    COMMON,
    DIGIT,
    LINK,
    SENTENCE,
    SHORT,
    Span,
    Words,
    name_spans,
    split_words,
)

_LONGEST = 10
_MOST_WORDS = 200
"""Words of a question that are read; a pasted page has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryEntities:
    """The entities of a question, by key."""

    phrases: Mapping[int, Span]
    """Every run of its words that may be a title: its key, and its first and last word."""
    mentions: frozenset[int]
    """Its maximal names."""

    def longest(self, known: Collection[int]) -> dict[int, int]:
        """Those phrases that are known and stand in no longer known one, with their words.

        A whole name counts in any case: a title that echoes the question must not hide it.
        """
        found = {key: self.phrases[key] for key in known if key in self.phrases}
        return {
            key: last - first + 1
            for key, (first, last) in found.items()
            if key in self.mentions
            or not any(
                other != key and start <= first and last <= end
                for other, (start, end) in found.items()
            )
        }

    def meaning(self, others: Mapping[int, int]) -> QueryEntities:
        """The same question when some of its names are, by key, taken for others."""
        taken = {other: self.phrases[key] for key, other in others.items() if key in self.phrases}
        return QueryEntities(
            phrases={**self.phrases, **taken}, mentions=self.mentions | taken.keys()
        )


def query_entities(question: str) -> QueryEntities:
    """The entities of a question; one without capitals has its longer phrases instead."""
    found = split_words(question)
    return QueryEntities(
        phrases=_phrases(found, min(len(found.keys), _MOST_WORDS)),
        mentions=frozenset(found.key(one) for one in name_spans(found)),
    )


@lru_cache(maxsize=4096)
def surface_form(text: str, key: int) -> str | None:
    """The form in which a name stands in a text; None if it does not."""
    found = split_words(text)
    spans = chain(name_spans(found), _runs(found, len(found.keys), CAPITAL | DIGIT))
    return next((found.surface(span) for span in spans if found.key(span) == key), None)


def _phrases(found: Words, count: int) -> dict[int, Span]:
    """The runs of words that may be titles, by key; of single words only the capitalised."""
    telling = [
        not kind & (COMMON | LINK | SHORT) or (kind & CAPITAL and ends != SENTENCE)
        for kind, ends in zip(found.kinds, found.breaks, strict=True)
    ]
    phrases: dict[int, Span] = {}
    for first, last in _runs(found, count, 0):
        kind = found.kinds[first]
        single = kind & (CAPITAL | DIGIT) and not kind & COMMON
        # "In which" is a title of something, but no question means it.
        if single if last == first else any(telling[first : last + 1]):
            phrases.setdefault(found.key((first, last)), (first, last))
    return phrases


def _runs(found: Words, count: int, ends: int) -> Iterator[Span]:
    """The runs of up to ten of the first words of a text, each within a sentence.

    `ends`: what both their ends must be.
    """
    for first in range(count):
        if ends and not found.kinds[first] & ends:
            continue
        for last in range(first, min(count, first + _LONGEST)):
            if last > first and found.breaks[last] == SENTENCE:
                break
            if not ends or found.kinds[last] & ends:
                yield first, last


_ALIKE = 0.75
"""Least share of letters in common, as difflib counts them."""
_SHORTLIST = 5
_MEANT = 0.5
"""Least cosine of the two names."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to their vectors, (len(texts), dimension), L2-normalised."""


def link_unknown_names(
    unknown: Mapping[int, str], texts: Sequence[str], embed: Embed
) -> dict[int, int]:
    """Entity linking by similarity: for each unknown name the likeliest name in the texts, by key.

    Letters choose who is compared, the embedder who is taken; names like nothing are left out.
    """
    known = {
        name.casefold(): key for text in texts for key, name in mentioned_entities(text).items()
    }
    linked = {}
    for key, name in unknown.items():
        shortlist = get_close_matches(name.casefold(), known, n=_SHORTLIST, cutoff=_ALIKE)
        if shortlist:
            vectors = embed([name.casefold(), *shortlist])
            cosines = vectors[1:] @ vectors[0]
            best = int(cosines.argmax())
            if cosines[best] >= _MEANT:
                linked[key] = known[shortlist[best]]
    return linked
