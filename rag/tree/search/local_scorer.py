"""Local scorer of a tree search, without a model: shared words, similarity, names followed.

What a word counts follows from the slates at hand alone, so equal slates get equal scores in
whatever order, process or replay they come. The question rarely names what its second hop leads
to; the passage of the first hop does. So names in the best leaves are followed: those of the
passage graph (`rag.entities`), read out of the texts of a slate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import regex

from hoptrail.rag.entities.extraction import extract_entities, mentioned_entities
from hoptrail.rag.text.analyzer import index_terms
from hoptrail.rag.tree.search.types import Item, Lead, Ref, Slate, SlateScorer, SlateScores

HOP = 0.85
"""0..1: the share of a lead's relevance that a leaf gets that is about a name in it; the rest
depends on the leaf's own score. Chosen on the training sets, as `WAY` is."""
WAY = 0.7
"""0..1: the share of a lead's relevance that an inner node gets whose text has a name of it."""
_KEPT = 8192
"""Texts whose names are cached: other questions open the same nodes."""


class NameFollower:
    """Follows names in the best leaves of a slate to what is about them."""

    def __init__(self, query: str, leads: Iterable[Lead]) -> None:
        """Collects the names of the leads, but for those of the query, which it finds by itself."""
        known = _named(query)
        self._followed: dict[int, float] = {}
        for lead in leads:
            for key in _mentioned(lead.item.text) - known:
                self._followed[key] = max(self._followed.get(key, 0.0), lead.relevance)

    def lifted(self, item: Item, score: float) -> float:
        """The raised score of an item, 0..1; never less than its own `score`."""
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
    return frozenset(mentioned_entities(text))


@lru_cache(maxsize=_KEPT)
def _mentioned(text: str) -> frozenset[int]:
    """Keys of the names in a leaf's text without its title."""
    return frozenset(mentioned_entities(text.partition("\n")[2]))


@lru_cache(maxsize=_KEPT)
def _abouts(text: str) -> tuple[tuple[int, float], ...]:
    """Keys of the names that a leaf is about, by title and first sentence; strengths 0..1."""
    title, _, body = text.partition("\n")
    return extract_entities(title, [body])[0].abouts


LEAF_WORDS = 0.4
"""0..1: weight of word overlap in a leaf's score; its similarity has the rest."""
INNER_WORDS = 0.6
"""The same for an inner node: the mean of many leaves resembles none, its text names them."""
NAMED = 3.0
"""Weight of a word that the query spells as a name or number; others have 1."""

_TOKEN = regex.compile(r"\w[\w'’-]*")


def local_scorer(query: str, language: str = "english") -> SlateScorer:
    """The local scorer of one query.

    An item's score is the weighted mean of its likeness and of the share of the query's words
    that it has, a word weighing more the fewer of the items shown have it. Chosen on the training
    sets of MuSiQue, 2Wiki and HotpotQA: with equal weights for all words the search from 10 seeds
    finds 2 to 4 of 100 supporting passages less.

    Args:
        query: as asked.
        language: of the analyser, which tells which words are the same.

    Raises:
        SettingsError: a language without an analyser.
    """
    asked = _asked(query, language)

    def grade(slates: Sequence[Slate]) -> tuple[SlateScores, ...]:
        shown = {item.ref: item for slate in slates for item in slate.shown}
        common = {ref: _common(item, asked, language) for ref, item in shown.items()}
        weights = _weights(asked, common)
        scores = {ref: _score(item, common[ref], weights) for ref, item in shown.items()}
        follower = NameFollower(
            query, dict.fromkeys(lead for slate in slates for lead in slate.leads)
        )
        scores = {ref: follower.lifted(shown[ref], score) for ref, score in scores.items()}
        return tuple(
            SlateScores(scores={place: scores[item.ref] for place, item in enumerate(slate.shown)})
            for slate in slates
        )

    return grade


def _asked(query: str, language: str) -> dict[str, float]:
    """By index term of a query: its weight."""
    counts = dict.fromkeys(index_terms(language, query), 1.0)
    for found in _TOKEN.finditer(query):
        token = found.group()
        # The first word of a question has a capital whatever it is.
        if token[0].isdigit() or (token[0].isupper() and found.start() > 0):
            counts |= dict.fromkeys(index_terms(language, token), NAMED)
    return counts


def _common(item: Item, asked: Mapping[str, float], language: str) -> frozenset[str]:
    return frozenset(index_terms(language, item.text)).intersection(asked)


def _weights(asked: Mapping[str, float], common: Mapping[Ref, frozenset[str]]) -> dict[str, float]:
    """By word: query weight times rarity, in which a word of all siblings still counts."""
    having = Counter(word for found in common.values() for word in found)
    return {
        word: count * math.log(1 + len(common) / (1 + having[word]))
        for word, count in asked.items()
    }


def _score(item: Item, common: frozenset[str], weights: Mapping[str, float]) -> float:
    whole = sum(weights.values())
    # In the order of the query: a sum over a set would differ in its last digits by process.
    found = sum(weight for word, weight in weights.items() if word in common)
    share = LEAF_WORDS if item.ref.leaf else INNER_WORDS
    similarity = min(max(item.likeness, 0.0), 1.0)
    return min(1.0, share * (found / whole if whole else 0.0) + (1 - share) * similarity)
