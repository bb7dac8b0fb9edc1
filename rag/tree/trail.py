"""Where the best leaves lead: to what is about something that they name and the question does not.

The question rarely names what its second hop leads to; the passage of the first hop does. Names are
those of the passage graph (`hoptrail.rag.entities`), read out of the texts of a slate, so that
nothing but the slate is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from hoptrail.rag.entities.extraction import named, traces
from hoptrail.rag.tree.types import Item, Lead

HOP = 0.85
"""0..1: what a leaf has of the one that names it, whatever the question says; the rest is by how
much it is like the question itself. Chosen on the training sets, as `WAY` is."""
WAY = 0.7
"""0..1: what an inner node has of a leaf that names what its text names."""
_KEPT = 8192
"""Texts whose names are remembered: other questions open the same nodes."""


class Trail:
    """What the leads of one slate lead to."""

    def __init__(self, query: str, leads: Iterable[Lead]) -> None:
        """Names of the query lead nowhere: what they are of is found by the query itself."""
        known = _named(query)
        self._followed: dict[int, float] = {}
        for lead in leads:
            for key in _mentioned(lead.item.text) - known:
                self._followed[key] = max(self._followed.get(key, 0.0), lead.relevance)

    def lifted(self, item: Item, score: float) -> float:
        """What an item is worth, 0..1, whose score is `score` by itself; never less than that."""
        if not self._followed:
            return score
        if item.ref.leaf:
            return max(score, self._best(_abouts(item.text)) * (HOP + (1 - HOP) * score))
        return max(score, WAY * self._best((key, 1.0) for key in _named(item.text)))

    def _best(self, keys: Iterable[tuple[int, float]]) -> float:
        found = (self._followed.get(key, 0.0) * strength for key, strength in keys)
        return max(found, default=0.0)


@lru_cache(maxsize=_KEPT)
def _named(text: str) -> frozenset[int]:
    return frozenset(named(text))


@lru_cache(maxsize=_KEPT)
def _mentioned(text: str) -> frozenset[int]:
    """Names in a leaf's text, its title left out."""
    return frozenset(named(text.partition("\n")[2]))


@lru_cache(maxsize=_KEPT)
def _abouts(text: str) -> tuple[tuple[int, float], ...]:
    """What a leaf is about, by title and beginning, and how surely, 0..1."""
    title, _, body = text.partition("\n")
    return traces(title, [body])[0].abouts
