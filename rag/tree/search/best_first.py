"""Best-first search of the tree by scores: a beam of nodes an iteration, without I/O.

    search = TreeSearch(settings, seeds)
    while numbers := search.beam():
        slates = search.slates(view.open(vector, numbers))
        while slates:
            slates = search.take(score(slates))
    found = search.found()

After LATTICE (arXiv 2510.13217, section 3): the children of an opened node and some anchors are
scored side by side, all scores of the query are fitted anew after each iteration, and what is
opened next follows from the fit. Ours: seeds of cheap retrieval, one expansion of four kept for
the node most similar to the query, an early stop, and replies that may lack scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from hoptrail.rag.tree.search.anchors import sample_anchors
from hoptrail.rag.tree.search.calibration import CALIBRATIONS, Calibrate
from hoptrail.rag.tree.search.path_relevance import PathRelevance
from hoptrail.rag.tree.search.types import (
    Ended,
    Expansion,
    Item,
    ItemScore,
    Lead,
    LeafResult,
    Opened,
    Ref,
    Seed,
    Slate,
    SlateScorer,
    SlateScores,
    Step,
    TreeSearchResult,
    TreeSearchSettings,
)
from hoptrail.rag.tree.types import ROOT
from hoptrail.rag.types import tie_break

LEADS = 5
"""Number of best leaves whose names a scorer may use."""
MOST_FAILURES = 3
"""A node is not opened again after so many slates without any score."""
CALM = 0.8
"""An early stop needs a frontier below this share of the last of the best leaves."""


@dataclass(slots=True, kw_only=True)
class _Opening:
    """A node being opened in this iteration."""

    node: int
    standing: float
    likeness: float
    reserve: bool
    slate: Slate | None = None
    scores: dict[int, float] = field(default_factory=dict)
    """By place in the slate."""
    calls: int = 0

    @property
    def missing(self) -> tuple[Ref, ...]:
        assert self.slate is not None
        items = enumerate(self.slate.items)
        return tuple(item.ref for place, item in items if place not in self.scores)

    @property
    def failed(self) -> bool:
        assert self.slate is not None
        return len(self.missing) == len(self.slate.items)

    def expansion(self) -> Expansion:
        """The expansion for the record of the search."""
        assert self.slate is not None
        item_scores = [
            ItemScore(ref=item.ref, score=self.scores.get(place))
            for place, item in enumerate(self.slate.shown)
        ]
        cut = len(self.slate.items)
        return Expansion(
            node=self.node,
            standing=self.standing,
            reserve=self.reserve,
            items=tuple(item_scores[:cut]),
            anchors=tuple(item_scores[cut:]),
            calls=self.calls,
            failed=self.failed,
        )


class TreeSearch:
    """One search of a tree; call `beam`, `slates`, `take` in this order, over and over.

    A child that was not scored is asked for once more; then it counts as unscored, not as
    worthless: an inner node is taken for the mean of its siblings, a leaf is not among the found.
    """

    def __init__(
        self,
        settings: TreeSearchSettings | None = None,
        seeds: Sequence[Seed] = (),
        *,
        calibrate: Calibrate | None = None,
    ) -> None:
        """Starts at the root and at the seeds.

        Args:
            settings: settings of the search; None: the defaults.
            seeds: further nodes to start with, best first, each node once.
            calibrate: replaces the calibration that the settings name.
        """
        self._settings = settings or TreeSearchSettings()
        self._standings = PathRelevance(
            calibrate or CALIBRATIONS[self._settings.calibration],
            alpha=self._settings.alpha,
            prune_below=self._settings.prune_below,
            stretched=self._settings.stretched,
            priors={seed.path[-1]: seed.prior for seed in seeds},
        )
        self._frontier: dict[int, float] = {ROOT: 0.0}
        """By node number: similarity to the query."""
        self._frontier |= {seed.path[-1]: seed.likeness for seed in seeds}
        self._random = np.random.default_rng(self._settings.seed)
        self._items: dict[Ref, Item] = {}
        """All scored items."""
        self._rows: list[Ref] = []
        """The scored leaves."""
        self._done: set[int] = set()
        """Nodes that do not come back to the frontier."""
        self._looked: set[int] = set()
        self._failures: dict[int, int] = {}
        self._openings: list[_Opening] = []
        self._asked: list[_Opening] = []
        self._steps: list[Step] = []
        self._chosen = self._slates = self._calls = self._re_asks = 0
        self._leaves: tuple[LeafResult, ...] = ()
        self._best: frozenset[int] = frozenset()
        self._calm = 0
        self._ended: Ended | None = None

    def beam(self) -> tuple[int, ...]:
        """The numbers of the nodes to open next; empty: the search is over."""
        assert not self._openings, "take the answers first"
        self._ended = self._ended or self._over()
        if self._ended is None:
            self._openings = self._choose()
        return tuple(opening.node for opening in self._openings)

    def slates(self, opened: Sequence[Opened]) -> tuple[Slate, ...]:
        """The slates of the opened nodes; empty, and no iteration, if none has visible children.

        A node without visible children leaves the frontier.
        """
        items = {found.node: found.items for found in opened}
        self._done |= {opening.node for opening in self._openings if not items.get(opening.node)}
        self._openings = [opening for opening in self._openings if items.get(opening.node)]
        leads = self._leads()
        for opening in self._openings:
            children = items[opening.node]
            anchors = self._anchors(opening.node, leaves=children[0].ref.leaf)
            opening.slate = Slate(node=opening.node, items=children, anchors=anchors, leads=leads)
        self._asked = list(self._openings)
        return tuple(opening.slate for opening in self._openings if opening.slate is not None)

    def take(self, scores: Sequence[SlateScores]) -> tuple[Slate, ...]:
        """Adds the scores of the slates that were returned last, in their order.

        Returns:
            Slates that lack scores, to be scored again; empty: the iteration is over.
        """
        again = []
        for opening, answer in zip(self._asked, scores, strict=True):
            if self._add_scores(opening, answer):
                again.append(opening)
        self._asked = again
        if not again:
            self._close()
        return tuple(_re_ask(opening) for opening in again)

    def stop(self, reason: Ended) -> None:
        """Ends the search; scores of an unfinished iteration count as far as they arrived."""
        self._openings = [opening for opening in self._openings if opening.slate is not None]
        if self._openings:
            self._close()
        self._ended = self._ended or reason

    def steps(self) -> tuple[Step, ...]:
        """The iterations so far."""
        return tuple(self._steps)

    def leaves(self) -> tuple[LeafResult, ...]:
        """All leaves scored in the iterations so far, best first."""
        return self._leaves

    def found(self) -> TreeSearchResult:
        """The result, once the search is over."""
        assert self._ended is not None, "the search goes on"
        return TreeSearchResult(
            leaves=self._leaves,
            steps=self.steps(),
            ended=self._ended,
            calls=self._calls,
            re_asks=self._re_asks,
            looked=len(self._looked),
        )

    def _over(self) -> Ended | None:
        if len(self._steps) >= self._settings.iterations:
            return "iterations"
        if not self._frontier:
            return "exhausted"
        return "stable" if self._settled() else None

    def _settled(self) -> bool:
        settings = self._settings
        if not settings.patience or self._calm < settings.patience:
            return False
        leaves = self._leaves
        if len(leaves) < settings.stable:
            return False
        ahead = max(self._standing(number) for number in self._frontier)
        return ahead < CALM * leaves[settings.stable - 1].relevance

    def _choose(self) -> list[_Opening]:
        openings: list[_Opening] = []
        while self._frontier and len(openings) < self._settings.beam:
            self._chosen += 1
            every = self._settings.explore_every
            reserve = every > 0 and self._chosen % every == 0
            rank = self._frontier.__getitem__ if reserve else self._standing
            node = min(
                self._frontier, key=lambda number: (-rank(number), number != ROOT, _tie(number))
            )
            standing, likeness = self._standing(node), self._frontier.pop(node)
            openings.append(
                _Opening(node=node, standing=standing, likeness=likeness, reserve=reserve)
            )
        return openings

    def _leads(self) -> tuple[Lead, ...]:
        best = self._leaves[:LEADS]
        items = (self._items[Ref(leaf=True, number=leaf.row)] for leaf in best)
        return tuple(
            Lead(item=item, relevance=leaf.relevance)
            for item, leaf in zip(items, best, strict=True)
        )

    def _anchors(self, node: int, *, leaves: bool) -> tuple[Item, ...]:
        if not leaves:
            refs = self._standings.siblings(node)[: self._settings.inner_anchors]
            return tuple(self._items[ref] for ref in refs)
        standings = np.array([self._standings.standing(ref) for ref in self._rows])
        places = sample_anchors(standings, self._settings.leaf_anchors, self._random)
        return tuple(self._items[self._rows[place]] for place in places)

    def _add_scores(self, opening: _Opening, answer: SlateScores) -> bool:
        """Adds the scores of one slate; returns whether to ask for missing ones again."""
        assert opening.slate is not None
        wanted = set(opening.missing) if opening.calls else None
        for place, score in answer.scores.items():
            assert 0 <= score <= 1, f"a score of {score!r}"
            if wanted is None or opening.slate.shown[place].ref in wanted:
                opening.scores[place] = score
        if opening.slate.leaves:
            self._looked |= {item.ref.number for item in opening.slate.items}
        opening.calls += 1
        self._calls += 1
        again = opening.calls == 1 and bool(opening.missing) and not opening.failed
        self._re_asks += again
        return again

    def _close(self) -> None:
        """Ends the iteration: fits relevance to the scores and adds children to the frontier."""
        # First all nodes are marked as done or returned, then children are added: a seed may be
        # opened beside its parent, whose children are then not all new.
        for opening in self._openings:
            if opening.failed:
                self._put_back(opening)
            else:
                self._done.add(opening.node)
        for opening in self._openings:
            if not opening.failed:
                self._expand(opening)
        self._standings.fit()
        self._leaves = self._ranked()
        self._steps.append(tuple(opening.expansion() for opening in self._openings))
        best = frozenset(leaf.row for leaf in self._leaves[: self._settings.stable])
        self._calm = self._calm + len(self._openings) if best == self._best else 0
        self._best = best
        self._openings, self._asked = [], []

    def _ranked(self) -> tuple[LeafResult, ...]:
        found = [
            LeafResult(row=ref.number, relevance=self._standings.standing(ref))
            for ref in self._rows
        ]
        return tuple(sorted(found, key=lambda leaf: (-leaf.relevance, _tie(leaf.row))))

    def _put_back(self, opening: _Opening) -> None:
        failures = self._failures[opening.node] = self._failures.get(opening.node, 0) + 1
        if failures < MOST_FAILURES:
            self._frontier[opening.node] = opening.likeness
        else:
            self._done.add(opening.node)

    def _expand(self, opening: _Opening) -> None:
        assert opening.slate is not None
        self._standings.opened(opening.node, opening.slate.items)
        for place, item in enumerate(opening.slate.shown):
            if place in opening.scores:
                self._standings.note(self._slates, item.ref, opening.scores[place])
        self._slates += 1
        for place, item in enumerate(opening.slate.items):
            if not item.ref.leaf and item.ref.number not in self._done:
                self._frontier[item.ref.number] = item.likeness
            if place in opening.scores:
                self._items[item.ref] = item
                self._rows += [item.ref] if item.ref.leaf else []

    def _standing(self, number: int) -> float:
        return self._standings.standing(Ref(leaf=False, number=number))


def run_search(
    search: TreeSearch, open_: Callable[[Sequence[int]], Sequence[Opened]], scorer: SlateScorer
) -> TreeSearchResult:
    """Runs a search to its end with a synchronous scorer."""
    while numbers := search.beam():
        slates = search.slates(open_(numbers))
        while slates:
            slates = search.take(scorer(slates))
    return search.found()


def _re_ask(opening: _Opening) -> Slate:
    slate = opening.slate
    assert slate is not None
    return replace(slate, missing=opening.missing)


@lru_cache(maxsize=65_536)
def _tie(number: int) -> str:
    return tie_break(str(number))
