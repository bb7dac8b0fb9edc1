"""Path relevance of the nodes and leaves that a search has met (LATTICE, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hoptrail.rag.tree.search.calibration import Calibrate, Observations
from hoptrail.rag.tree.search.types import Item, Ref
from hoptrail.rag.tree.types import NO_PARENT, ROOT

_LEAST_BEST = 0.1
"""A best item at or below this does not scale the others (slates of zeros)."""


class PathRelevance:
    """The scores of one query, the relevance fitted to them, and the path relevance.

    A node's standing is an exponential average along its path:
    alpha · standing of its parent + (1 − alpha) · relevance; the root's is 1. It moves with every
    fit, that of nodes scored long ago too.
    """

    def __init__(
        self,
        calibrate: Calibrate,
        *,
        alpha: float,
        prune_below: float,
        stretched: bool,
        priors: Mapping[int, float],
    ) -> None:
        """Starts without scores.

        Args:
            calibrate: fits relevance to scores.
            alpha: weight of the parent's standing, 0..1.
            prune_below: relevance below which the parent does not count, 0..1.
            stretched: whether relevance is divided by that of the best item.
            priors: by node number, the standing of nodes without a score yet, 0..1.
        """
        self._calibrate = calibrate
        self._alpha = alpha
        self._prune_below = prune_below
        self._stretched = stretched
        self._priors = priors
        self._parents: dict[Ref, int] = {}
        self._children: dict[int, tuple[Ref, ...]] = {}
        self._places: dict[Ref, int] = {}
        self._slates: list[int] = []
        self._items: list[int] = []
        self._scores: list[float] = []
        self._values: list[float] = []
        self._standing: dict[Ref, float] = {}

    def opened(self, node: int, items: Sequence[Item]) -> None:
        """Adds the children of a node; at least one of them was scored."""
        self._children[node] = tuple(item.ref for item in items)
        for item in items:
            self._parents[item.ref] = node

    def note(self, slate: int, ref: Ref, score: float) -> None:
        """Adds a score, 0..1; slates count from 0 without a gap."""
        self._slates.append(slate)
        self._items.append(self._places.setdefault(ref, len(self._places)))
        self._scores.append(score)

    def fit(self) -> None:
        """Fits the relevance of all items to all scores; new scores have no effect before."""
        self._standing.clear()
        if self._scores:
            seen = Observations(
                slates=np.array(self._slates),
                items=np.array(self._items),
                scores=np.array(self._scores),
            )
            values = self._calibrate(seen).values
            top = float(values.max())
            if self._stretched and top > _LEAST_BEST:
                values = values / top
            self._values = values.tolist()

    def relevance(self, ref: Ref) -> float | None:
        """Fitted relevance of a node or leaf, 0..1; None without a score."""
        place = self._places.get(ref)
        return None if place is None or place >= len(self._values) else self._values[place]

    def standing(self, ref: Ref) -> float:
        """Path relevance of a known node or leaf, 0..1."""
        known = self._standing.get(ref)
        if known is None:
            known = self._standing[ref] = self._computed(ref)
        return known

    def siblings(self, node: int) -> tuple[Ref, ...]:
        """The other scored children of the node's parent, best first."""
        own = Ref(leaf=False, number=node)
        others = self._children.get(self._parents.get(own, NO_PARENT), ())
        scored = [
            (value, ref)
            for ref in others
            if ref != own and (value := self.relevance(ref)) is not None
        ]
        return tuple(ref for _, ref in sorted(scored, key=lambda pair: -pair[0]))

    def _computed(self, ref: Ref) -> float:
        if not ref.leaf and ref.number == ROOT:
            return 1.0
        own = self.relevance(ref)
        if own is None and not ref.leaf and ref.number in self._priors:
            return self._seeded(ref.number)
        parent = self._parents[ref]
        if own is None:
            own = self._mean_below(parent)
        if own < self._prune_below:
            return own
        above = self.standing(Ref(leaf=False, number=parent))
        return self._alpha * above + (1 - self._alpha) * own

    def _seeded(self, node: int) -> float:
        """Standing of a seed: its prior, averaged with the best leaf once leaves are scored."""
        prior = self._priors[node]
        below = self._scored_below(node)
        return self._alpha * prior + (1 - self._alpha) * max(below) if below else prior

    def _mean_below(self, node: int) -> float:
        """Mean relevance of a node's scored children, assumed for a child without a score."""
        below = self._scored_below(node)
        return sum(below) / len(below)

    def _scored_below(self, node: int) -> list[float]:
        children = self._children.get(node, ())
        return [value for ref in children if (value := self.relevance(ref)) is not None]
