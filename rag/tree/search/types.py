"""What passes between a search of the tree and its driver: settings, slates, scores, the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.search.calibration import CALIBRATIONS, Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """An inner node or a leaf."""

    leaf: bool
    number: int
    """A row for a leaf, else a node's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A child of an opened node, as a scorer sees it."""

    ref: Ref
    text: str
    """A leaf's title and text, a node's text."""
    count: int
    """Leaves below that the filter keeps, at least 1; 1 for a leaf."""
    likeness: float
    """Cosine of the query to the leaf, or to the mean of a node's leaves; -1..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An inner node with the children that the filter keeps, in order."""

    node: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A last inner node that cheap retrieval points to, with the way to it."""

    path: tuple[int, ...]
    """Numbers from the root to the node, both included."""
    rows: tuple[int, ...]
    """The leaves below it that were found, best first."""
    prior: float
    """0..1: what its standing in the frontier is until something of it was scored."""
    likeness: float
    """As of `Item`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A leaf that stands high so far: what it names may be what is looked for next."""

    item: Item
    relevance: float
    """0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """What one call of a scorer shows: children of one node, and anchors that were scored before.

    A re-ask shows the same and asks for the children in `missing` alone.
    """

    node: int
    items: tuple[Item, ...]
    """The children, in order."""
    anchors: tuple[Item, ...] = ()
    missing: tuple[Ref, ...] = ()
    """Empty: all children and anchors are to be scored."""
    leads: tuple[Lead, ...] = ()
    """The best leaves so far, best first: not to be scored, but a scorer may read on from them."""

    @property
    def leaves(self) -> bool:
        """Whether the children are leaves."""
        return self.items[0].ref.leaf

    @property
    def shown(self) -> tuple[Item, ...]:
        """Children, then anchors: a scorer names them by their place here, from 0."""
        return self.items + self.anchors


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateScores:
    """A scorer's answer to one slate."""

    scores: Mapping[int, float]
    """By place in `Slate.shown`: 0..1. A place that is not there was not scored."""
    failed: bool = False
    """No answer could be used; `scores` is empty then."""


SlateScorer = Callable[[Sequence[Slate]], Sequence[SlateScores]]
"""A scorer without a model or of a simulation: all slates of one iteration at once."""


Ended = Literal["iterations", "exhausted", "stable", "budget", "cancelled"]
"""Why a search is over: all iterations were made; nothing is left to open; the best leaves are not
going to change; or whoever drives it stopped it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearchSettings:
    """How far a search goes and what it prefers.

    Without seeds, failures and early stop it makes 1 + beam·(iterations − 1) calls of a scorer
    where the frontier never runs short, and one more for each slate with missing scores.
    """

    iterations: int = 20
    """At least 1."""
    beam: int = 2
    """Nodes opened side by side in an iteration; at least 1."""
    alpha: float = 0.4
    """0..1: how much of a node's standing is its parent's. LATTICE's 0.5 is as good for a simulated
    model; without one it finds 4 of 100 supporting passages less in the training sets."""
    prune_below: float = 0.0
    """0..1: a node worth less does not profit from its parent; 0: all do."""
    leaf_anchors: int = 10
    """Leaves scored before that are shown again beside new ones; 0: none."""
    inner_anchors: int = 1
    """Siblings of the opened node that are shown again beside its inner children; 0: none."""
    calibration: Calibration = "ridge"
    stretched: bool = False
    """The best item counts as 1 and the others beside it, as in LATTICE's repository: for scorers
    whose scale is their own, as a model's is. Where scores mean something by themselves, as those
    of words and vectors do, it makes little things big."""
    explore_every: int = 4
    """One of so many expansions opens what is most like the query; 0: none."""
    seeds: int = 10
    """Passages of cheap retrieval that point to where to begin; 0: none."""
    patience: int = 5
    """Expansions in which the best leaves stay the same before the search may end; 0: never."""
    stable: int = 10
    """How many best leaves those are; at least 1."""
    seed: int = 0
    """Decides which leaves are anchors."""

    def __post_init__(self) -> None:
        """Refuses what no search can be made with."""
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
    """What one item of a slate was given."""

    ref: Ref
    score: float | None
    """0..1 as the scorer gave it; None: it gave none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """One node that was opened."""

    node: int
    standing: float
    """0..1: what it had when it was chosen."""
    reserve: bool
    """Chosen for its likeness to the query, not for its standing."""
    items: tuple[ItemScore, ...]
    anchors: tuple[ItemScore, ...]
    calls: int
    """2 where children were asked for again, else 1; 0: the search was stopped before."""
    failed: bool
    """No child was scored; the node went back to the frontier, or out."""


Step = tuple[Expansion, ...]
"""One iteration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafResult:
    """A leaf that was scored."""

    row: int
    relevance: float
    """0..1: its own and that of the way to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearchResult:
    """What a search found and what it took."""

    leaves: tuple[LeafResult, ...]
    """Best first; equal ones by a hash of the row."""
    steps: tuple[Step, ...]
    ended: Ended
    calls: int
    """Answers taken from the scorer, re-asks included."""
    re_asks: int
    looked: int
    """Leaves that the scorer was shown."""
