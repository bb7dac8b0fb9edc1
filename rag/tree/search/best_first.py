"""Which leaves that were scored before are shown again, so that slates can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

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

_BY_STANDING = 0.7
"""The share drawn by standing; the rest is drawn evenly, so that the scale has a lower end too."""


def sample_anchors(
    standings: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draws `count` places of `standings`, each once; all of them where there are no more.

    First with odds exp(standing), without replacement (LATTICE, section 3.3), by the Gumbel trick
    (the largest of standing + Gumbel noise are such a draw); then evenly from the rest.
    """
    if len(standings) <= count:
        return np.arange(len(standings))
    by_standing = round(_BY_STANDING * count)
    order = np.argsort(-(standings + random.gumbel(size=len(standings))), kind="stable")
    rest = random.permutation(order[by_standing:])
    return np.concatenate((order[:by_standing], rest[: count - by_standing]))


LEADS = 5
"""Best leaves that a scorer may read on from."""
MOST_FAILURES = 3
"""A node whose slate got no score so often is not opened again."""
CALM = 0.8
"""An early stop needs a frontier below this share of the last of the best leaves."""


@dataclass(slots=True, kw_only=True)
class _Trial:
    """A node that is being opened."""

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

    def noted(self) -> Expansion:
        """As the record of the search keeps it."""
        assert self.slate is not None
        marks = [
            ItemScore(ref=item.ref, score=self.scores.get(place))
            for place, item in enumerate(self.slate.shown)
        ]
        cut = len(self.slate.items)
        return Expansion(
            node=self.node,
            standing=self.standing,
            reserve=self.reserve,
            items=tuple(marks[:cut]),
            anchors=tuple(marks[cut:]),
            calls=self.calls,
            failed=self.failed,
        )


class TreeSearch:
    """One search; `beam`, `slates`, `take` in this order, over and over.

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
        """The root is where it starts, beside the `seeds`, best first, each node once.

        `calibrate`: instead of the one that the settings name.
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
        """Likeness to the query by node number."""
        self._frontier |= {seed.path[-1]: seed.likeness for seed in seeds}
        self._random = np.random.default_rng(self._settings.seed)
        self._items: dict[Ref, Item] = {}
        """All that was scored."""
        self._rows: list[Ref] = []
        """The leaves among them."""
        self._done: set[int] = set()
        """Nodes that do not come back to the frontier."""
        self._looked: set[int] = set()
        self._failures: dict[int, int] = {}
        self._trials: list[_Trial] = []
        self._asked: list[_Trial] = []
        self._steps: list[Step] = []
        self._chosen = self._slates = self._calls = self._re_asks = 0
        self._leaves: tuple[LeafResult, ...] = ()
        self._best: frozenset[int] = frozenset()
        self._calm = 0
        self._ended: Ended | None = None

    def beam(self) -> tuple[int, ...]:
        """The numbers of the nodes to open next; empty: the search is over."""
        assert not self._trials, "take the answers first"
        self._ended = self._ended or self._over()
        if self._ended is None:
            self._trials = self._choose()
        return tuple(trial.node for trial in self._trials)

    def slates(self, opened: Sequence[Opened]) -> tuple[Slate, ...]:
        """What to have scored of the opened nodes.

        One without children, or that is not among them, has nothing visible below and leaves the
        frontier. Where that is all of them the tuple is empty and no iteration was made.
        """
        items = {found.node: found.items for found in opened}
        self._done |= {trial.node for trial in self._trials if not items.get(trial.node)}
        self._trials = [trial for trial in self._trials if items.get(trial.node)]
        leads = self._leads()
        for trial in self._trials:
            children = items[trial.node]
            anchors = self._anchors(trial.node, leaves=children[0].ref.leaf)
            trial.slate = Slate(node=trial.node, items=children, anchors=anchors, leads=leads)
        self._asked = list(self._trials)
        return tuple(trial.slate for trial in self._trials if trial.slate is not None)

    def take(self, graded: Sequence[SlateScores]) -> tuple[Slate, ...]:
        """Takes the answers, in the order of the slates that were given last.

        Returns slates that lack scores, to be asked again; empty: the iteration is over.
        """
        again = []
        for trial, answer in zip(self._asked, graded, strict=True):
            if self._heard(trial, answer):
                again.append(trial)
        self._asked = again
        if not again:
            self._close()
        return tuple(_re_ask(trial) for trial in again)

    def stop(self, reason: Ended) -> None:
        """Ends the search; scores of an iteration that is not over count as far as they came."""
        self._trials = [trial for trial in self._trials if trial.slate is not None]
        if self._trials:
            self._close()
        self._ended = self._ended or reason

    def steps(self) -> tuple[Step, ...]:
        """The iterations so far."""
        return tuple(self._steps)

    def leaves(self) -> tuple[LeafResult, ...]:
        """All leaves scored in the iterations so far, best first."""
        return self._leaves

    def found(self) -> TreeSearchResult:
        """What came of it, once it is over."""
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

    def _choose(self) -> list[_Trial]:
        trials: list[_Trial] = []
        while self._frontier and len(trials) < self._settings.beam:
            self._chosen += 1
            every = self._settings.explore_every
            reserve = every > 0 and self._chosen % every == 0
            rank = self._frontier.__getitem__ if reserve else self._standing
            node = min(
                self._frontier, key=lambda number: (-rank(number), number != ROOT, _tie(number))
            )
            standing, likeness = self._standing(node), self._frontier.pop(node)
            trials.append(_Trial(node=node, standing=standing, likeness=likeness, reserve=reserve))
        return trials

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

    def _heard(self, trial: _Trial, answer: SlateScores) -> bool:
        """Notes one answer; returns whether to ask again for what it lacks."""
        assert trial.slate is not None
        wanted = set(trial.missing) if trial.calls else None
        for place, score in answer.scores.items():
            assert 0 <= score <= 1, f"a score of {score!r}"
            if wanted is None or trial.slate.shown[place].ref in wanted:
                trial.scores[place] = score
        if trial.slate.leaves:
            self._looked |= {item.ref.number for item in trial.slate.items}
        trial.calls += 1
        self._calls += 1
        again = trial.calls == 1 and bool(trial.missing) and not trial.failed
        self._re_asks += again
        return again

    def _close(self) -> None:
        """Ends the iteration: scores are noted and fitted, the frontier grows."""
        # What becomes of each is settled before any grows: a seed may stand beside its parent,
        # whose children are then not all new.
        for trial in self._trials:
            if trial.failed:
                self._return(trial)
            else:
                self._done.add(trial.node)
        for trial in self._trials:
            if not trial.failed:
                self._grow(trial)
        self._standings.fit()
        self._leaves = self._ranked()
        self._steps.append(tuple(trial.noted() for trial in self._trials))
        best = frozenset(leaf.row for leaf in self._leaves[: self._settings.stable])
        self._calm = self._calm + len(self._trials) if best == self._best else 0
        self._best = best
        self._trials, self._asked = [], []

    def _ranked(self) -> tuple[LeafResult, ...]:
        found = [
            LeafResult(row=ref.number, relevance=self._standings.standing(ref))
            for ref in self._rows
        ]
        return tuple(sorted(found, key=lambda leaf: (-leaf.relevance, _tie(leaf.row))))

    def _return(self, trial: _Trial) -> None:
        failures = self._failures[trial.node] = self._failures.get(trial.node, 0) + 1
        if failures < MOST_FAILURES:
            self._frontier[trial.node] = trial.likeness
        else:
            self._done.add(trial.node)

    def _grow(self, trial: _Trial) -> None:
        assert trial.slate is not None
        self._standings.opened(trial.node, trial.slate.items)
        for place, item in enumerate(trial.slate.shown):
            if place in trial.scores:
                self._standings.note(self._slates, item.ref, trial.scores[place])
        self._slates += 1
        for place, item in enumerate(trial.slate.items):
            if not item.ref.leaf and item.ref.number not in self._done:
                self._frontier[item.ref.number] = item.likeness
            if place in trial.scores:
                self._items[item.ref] = item
                self._rows += [item.ref] if item.ref.leaf else []

    def _standing(self, number: int) -> float:
        return self._standings.standing(Ref(leaf=False, number=number))


def run_search(
    search: TreeSearch, open_: Callable[[Sequence[int]], Sequence[Opened]], grade: SlateScorer
) -> TreeSearchResult:
    """Drives a search to its end with a scorer that answers at once."""
    while numbers := search.beam():
        slates = search.slates(open_(numbers))
        while slates:
            slates = search.take(grade(slates))
    return search.found()


def _re_ask(trial: _Trial) -> Slate:
    slate = trial.slate
    assert slate is not None
    return replace(slate, missing=trial.missing)


@lru_cache(maxsize=65_536)
def _tie(number: int) -> str:
    return tie_break(str(number))
