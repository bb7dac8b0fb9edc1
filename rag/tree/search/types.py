"""Records between a tree search and its driver: settings, slates, scores, the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.search.calibration import CALIBRATIONS, Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """Reference to an inner node or a leaf."""

    leaf: bool
    number: int
    """A leaf's row, or an inner node's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A child of an opened node, as shown to a scorer."""

    ref: Ref
    text: str
    """A leaf's title and text, a node's text."""
    count: int
    """Number of visible leaves below, at least 1; 1 for a leaf."""
    likeness: float
    """Cosine similarity of the query to the leaf, or to the mean of a node's leaves; -1..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An inner node with the children that the filter keeps, in order."""

    node: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A seed of the search: a last inner node above leaves of an ordinary search."""

    path: tuple[int, ...]
    """Numbers from the root to the node, both included."""
    rows: tuple[int, ...]
    """The leaves below it that were found, best first."""
    prior: float
    """0..1: its standing in the frontier until a leaf of it is scored."""
    likeness: float
    """As of `Item`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A lead: a leaf scored high so far, whose names may be searched for next."""

    item: Item
    relevance: float
    """0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """A slate: the items of one scoring call, children of one node and anchors scored before.

    A re-ask shows the same and asks for the children in `missing` alone.
    """

    node: int
    items: tuple[Item, ...]
    """The children, in order."""
    anchors: tuple[Item, ...] = ()
    missing: tuple[Ref, ...] = ()
    """Children that still lack a score; empty: all children and anchors are to be scored."""
    leads: tuple[Lead, ...] = ()
    """The best leaves so far, best first: not to be scored, but a scorer may use their names."""

    @property
    def leaves(self) -> bool:
        """Whether the children are leaves."""
        return self.items[0].ref.leaf

    @property
    def shown(self) -> tuple[Item, ...]:
        """Children, then anchors; scores refer to places in this tuple, from 0."""
        return self.items + self.anchors


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateScores:
    """The scores of one slate."""

    scores: Mapping[int, float]
    """By place in `Slate.shown`: 0..1; a place without a score is missing."""
    failed: bool = False
    """No answer could be used; `scores` is empty then."""


SlateScorer = Callable[[Sequence[Slate]], Sequence[SlateScores]]
"""A scorer that answers at once: all slates of one iteration to their scores, in order."""


Ended = Literal["iterations", "exhausted", "stable", "budget", "cancelled"]
"""Why a search ended: all iterations were made; no node is left to open; the best leaves were
stable; or the caller stopped it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearchSettings:
    """Settings of a tree search.

    Without seeds, failures and early stop it makes 1 + beam·(iterations − 1) calls of a scorer
    where the frontier never runs short, and one more for each slate with missing scores.
    """

    iterations: int = 20
    """At least 1."""
    beam: int = 2
    """Nodes opened in each iteration; at least 1."""
    alpha: float = 0.4
    """0..1: weight of the parent in a node's standing. LATTICE's 0.5 is as good for a simulated
    model; without one it finds 4 of 100 supporting passages less in the training sets."""
    prune_below: float = 0.0
    """0..1: below this relevance a node's parent does not count; 0: it always does."""
    leaf_anchors: int = 10
    """Leaves scored before that are shown again beside new ones; 0: none."""
    inner_anchors: int = 1
    """Siblings of the opened node that are shown again beside its inner children; 0: none."""
    calibration: Calibration = "ridge"
    stretched: bool = False
    """Whether relevance is divided by that of the best item, as in LATTICE's repository: for
    scorers with a scale of their own, such as a model. Scores of words and vectors have an absolute
    scale, on which small values would become large."""
    explore_every: int = 4
    """One in so many expansions opens the node most similar to the query; 0: none."""
    seeds: int = 10
    """Passages of an ordinary search whose nodes the search begins with; 0: none."""
    patience: int = 5
    """Expansions in which the best leaves stay the same before the search may end; 0: never."""
    stable: int = 10
    """Number of best leaves that must stay the same; at least 1."""
    seed: int = 0
    """Seed of the random draw of anchors."""

    def __post_init__(self) -> None:
        """Raises SettingsError for a value out of range."""
        for name in ("iterations", "beam", "stable"):
            self._at_least(name, 1)
        for name in ("leaf_anchors", "inner_anchors", "explore_every", "seeds", "patience", "seed"):
            self._at_least(name, 0)
        for name in ("alpha", "prune_below"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise SettingsError(f"Navigation needs {name} in 0..1, not {value!r}.")
        if self.calibration not in CALIBRATIONS:
            known = ", ".join(sorted(CALIBRATIONS))
            raise SettingsError(f"No calibration {self.calibration!r}: choose one of {known}.")

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value < least:
            raise SettingsError(f"Navigation needs {name} >= {least}, not {value!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScore:
    """The score of one item of a slate."""

    ref: Ref
    score: float | None
    """0..1 as the scorer gave it; None if it gave none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """An expansion: one node that was opened."""

    node: int
    standing: float
    """0..1: its path relevance when it was chosen."""
    reserve: bool
    """Whether it was chosen for its similarity to the query, not for its standing."""
    items: tuple[ItemScore, ...]
    anchors: tuple[ItemScore, ...]
    calls: int
    """Calls of the scorer: 2 if children were asked for again, else 1; 0 if stopped before."""
    failed: bool
    """Whether no child was scored; the node then returns to the frontier or is dropped."""


Step = tuple[Expansion, ...]
"""The expansions of one iteration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafResult:
    """A scored leaf."""

    row: int
    relevance: float
    """Path relevance, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearchResult:
    """The result of a tree search and its cost."""

    leaves: tuple[LeafResult, ...]
    """Best first; equal ones ordered by a hash of the row."""
    steps: tuple[Step, ...]
    ended: Ended
    calls: int
    """Calls of the scorer, repeated ones included."""
    re_asks: int
    looked: int
    """Number of leaves shown to the scorer."""
