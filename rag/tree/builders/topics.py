"""Topic grouping of document descriptors by a model, completed by rules where it left gaps.

A model leaves descriptors out, names them twice, makes up others, makes more groups than it may or
one that holds nearly everything. What it named twice stays where it was named first; what it left
out is asked about once more if it is much, and else goes where its documents are nearest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.builders.requests import Topic, TopicsRequest
from hoptrail.rag.types import Vectors

LEVELS = 5
"""Descriptors of a document, from the most general to the most specific."""

_LISTED = 300
_LISTED_CHARACTERS = 10_000
"""Maximum characters of the descriptors of one request."""
_LEFT_OUT = 0.05
"""The share of the descriptors that may be missing without another request."""
_PAGES = 40
"""Maximum number of requests about missing descriptors."""
_EXAMPLES = 3
_SMALLEST = 2
"""Minimum number of leaves of a topic."""

Descriptors = tuple[str, ...]
"""Five descriptors; empty for a document without a description."""

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The descriptors of one level over the leaves of a branch."""

    places: dict[str, list[int]]
    """By folded descriptor, those of most leaves first: the leaves that have it, by place."""
    shown: dict[str, str]
    """By folded descriptor: as it was written."""

    def ask(self, keys: Sequence[str], most: int, known: tuple[Topic, ...] = ()) -> TopicsRequest:
        """The request to group descriptors into topics."""
        return TopicsRequest(
            descriptors=tuple((self.shown[key], len(self.places[key])) for key in keys),
            most=most,
            known=known,
        )

    def pages(self, keys: Iterable[str]) -> Iterator[list[str]]:
        """Divides descriptors into pages, one for each request."""
        page: list[str] = []
        room = _LISTED_CHARACTERS
        for key in keys:
            room -= len(key)
            if page and (len(page) == _LISTED or room < 0):
                yield page
                page, room = [], _LISTED_CHARACTERS - len(key)
            page.append(key)
        if page:
            yield page


def listing(described: Sequence[Descriptors], most: int) -> Listing | None:
    """The descriptors by which a branch is grouped: general ones, but more than `most`.

    Where these would be too many for one question, a more general level that has but a few.

    Args:
        described: the descriptors of each leaf.
        most: children of a node.

    Returns:
        None: no level tells the leaves apart.
    """
    few: Listing | None = None
    for level in range(LEVELS):
        found = _level(described, level)
        if len(found.places) > most:
            fits = next(found.pages(found.places)) == list(found.places)
            return found if fits or few is None else few
        if len(found.places) > 1:
            few = found
    return None


@dataclass(slots=True, kw_only=True)
class Grouping:
    """The topics of a branch and the descriptors of each."""

    listing: Listing
    topics: list[Topic]
    homes: dict[str, int] = field(default_factory=dict)
    """By folded descriptor: the place of its topic."""

    def asks(self) -> tuple[TopicsRequest, ...]:
        """Requests for descriptors that the model left out or was not shown."""
        missing = [key for key in self.listing.places if key not in self.homes]
        pages = list(self.listing.pages(missing))
        if len(missing) <= _LEFT_OUT * len(self.listing.places) or len(pages) > _PAGES:
            return ()
        known = tuple(replace(one, descriptors=one.descriptors[:_EXAMPLES]) for one in self.topics)
        return tuple(self.listing.ask(page, len(known), known) for page in pages)

    def add(self, topics: Iterable[Topic]) -> None:
        """Adds the assignment of missing descriptors; unknown topics are ignored."""
        numbers = {_folded(one.name): at for at, one in enumerate(self.topics)}
        for topic in topics:
            at = numbers.get(_folded(topic.name))
            if at is not None:
                self._assign(topic.descriptors, at)

    def parts(self, vectors: Vectors) -> list[tuple[Topic, Places]]:
        """Every leaf with one topic; topics of fewer than two leaves are dissolved.

        Args:
            vectors: of the leaves of the branch, (leaves, dimension) float32, L2-normalised.
        """
        home = np.full(len(vectors), -1, dtype=np.int64)
        for key, at in self.homes.items():
            home[self.listing.places[key]] = at
        sizes = np.bincount(home[home >= 0], minlength=len(self.topics))
        alive = np.flatnonzero(sizes >= _SMALLEST)
        if not len(alive):
            return []
        lost = np.flatnonzero(~np.isin(home, alive))
        if len(lost):
            means = np.array([vectors[home == at].sum(axis=0) for at in alive])
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.float32(1e-12))
            home[lost] = alive[np.argmax(vectors[lost] @ means.T, axis=1)]
        return [(self.topics[at], np.flatnonzero(home == at)) for at in alive.tolist()]

    def _assign(self, descriptors: Iterable[str], at: int) -> None:
        for key in map(_folded, descriptors):
            if key in self.listing.places:
                self.homes.setdefault(key, at)


def grouping(found: Listing, topics: Iterable[Topic], most: int) -> Grouping:
    """The topics in a model's reply: equal names merged, the largest kept."""
    merged: dict[str, Topic] = {}
    for topic in topics:
        name = _folded(topic.name)
        first = merged.setdefault(name, replace(topic, descriptors=()))
        merged[name] = replace(first, descriptors=first.descriptors + topic.descriptors)
    whole = Grouping(listing=found, topics=list(merged.values()))
    for at, topic in enumerate(whole.topics):
        whole._assign(topic.descriptors, at)
    weights = [0] * len(whole.topics)
    for key, at in whole.homes.items():
        weights[at] += len(found.places[key])
    largest = sorted(range(len(weights)), key=lambda at: -weights[at])[:most]
    kept = sorted(at for at in largest if weights[at])
    return Grouping(
        listing=found,
        topics=[whole.topics[at] for at in kept],
        homes={key: kept.index(at) for key, at in whole.homes.items() if at in kept},
    )


def _level(described: Sequence[Descriptors], level: int) -> Listing:
    places: dict[str, list[int]] = {}
    shown: dict[str, str] = {}
    for place, descriptors in enumerate(described):
        if descriptors:
            key = _folded(descriptors[level])
            places.setdefault(key, []).append(place)
            shown.setdefault(key, " ".join(descriptors[level].split()))
    order = sorted(places, key=lambda key: (-len(places[key]), key))
    return Listing(places={key: places[key] for key in order}, shown=shown)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;:")
