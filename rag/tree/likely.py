"""A scorer of slates without a model: words in common, the embedder's likeness, and names.

The question rarely names what its second hop leads to; the passage of the first hop does. So a
child that is about something that the best leaves so far name is worth nearly as much as they are,
and an inner node whose text names it is worth a look. (Names are those of the passage graph,
`hoptrail.rag.entities`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from hoptrail.rag.analyser import words
from hoptrail.rag.entities import named, traces
from hoptrail.rag.tree.types import Grade, Graded, Item, Lead, Slate

WORDS = 0.4
"""0..1: how much words count; the rest is the likeness."""
HOP = 0.85
"""0..1: what a leaf has of the one that names it, whatever the question says; the rest is by how
much it is like the question itself."""
WAY = 0.7
"""0..1: what an inner node has of a leaf that names what its text names."""
_KEPT = 8192
"""Texts whose words and names are remembered: each question opens the upper nodes again."""


def likely(query: str, language: str = "english") -> Grade:
    """A scorer for one query; an item's score depends on itself and on the slate's leads alone.

    Args:
        query: as asked.
        language: of the analyser, by which words are the same.

    Raises:
        SettingsError: a language without an analyser.
    """
    asked = frozenset(words(language, query))
    known = frozenset(named(query))

    def own(item: Item) -> float:
        found = len(asked & _words(language, item.text)) / max(len(asked), 1)
        return WORDS * found + (1 - WORDS) * min(max(item.likeness, 0.0), 1.0)

    def score(item: Item, followed: Mapping[int, float]) -> float:
        alone = own(item)
        if not followed:
            return alone
        if item.ref.leaf:
            led = _best(followed, _abouts(item.text)) * (HOP + (1 - HOP) * alone)
        else:
            led = WAY * _best(followed, ((key, 1.0) for key in _named(item.text)))
        return max(alone, led)

    def grade(slates: Sequence[Slate]) -> tuple[Graded, ...]:
        found = []
        for slate in slates:
            followed = _followed(slate.leads, known)
            shown = enumerate(slate.shown)
            found.append(Graded(scores={place: score(item, followed) for place, item in shown}))
        return tuple(found)

    return grade


def _followed(leads: Iterable[Lead], known: frozenset[int]) -> dict[int, float]:
    """What the leads name and the question does not: the relevance of the best that does."""
    followed: dict[int, float] = {}
    for lead in leads:
        for key in _mentioned(lead.item.text) - known:
            followed[key] = max(followed.get(key, 0.0), lead.relevance)
    return followed


def _best(followed: Mapping[int, float], keys: Iterable[tuple[int, float]]) -> float:
    return max((followed.get(key, 0.0) * strength for key, strength in keys), default=0.0)


@lru_cache(maxsize=_KEPT)
def _words(language: str, text: str) -> frozenset[str]:
    return frozenset(words(language, text))


@lru_cache(maxsize=_KEPT)
def _named(text: str) -> frozenset[int]:
    return frozenset(named(text))


@lru_cache(maxsize=_KEPT)
def _mentioned(text: str) -> frozenset[int]:
    """Names in a leaf's text, its title left out."""
    return frozenset(named(text.partition("\n")[2]))


@lru_cache(maxsize=_KEPT)
def _abouts(text: str) -> tuple[tuple[int, float], ...]:
    """What a leaf is about, by title and beginning."""
    title, _, body = text.partition("\n")
    return traces(title, [body])[0].abouts
