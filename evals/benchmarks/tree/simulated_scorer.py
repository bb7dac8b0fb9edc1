"""The search of a real tree by a simulated scorer: quality by iteration under each calibration.

A score is the truth, plus what the slate is off by, plus noise, cut to 0..1 and rounded to whole
percents as a model gives them. A node's slate is off by the same amount under every calibration,
and so is each of its scores: the calibrations differ by what they make of them and open next.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from hoptrail.evals.benchmarks.tree.calibration_fit import FITS
from hoptrail.evals.benchmarks.tree.ground_truth import Asked, LabelledTree, Truth, truth_of
from hoptrail.evals.metrics.ranking import first_occurrences, ndcg, recall
from hoptrail.rag.tree.search.best_first import TreeSearch
from hoptrail.rag.tree.search.calibration import Calibrate, Latent, Observations
from hoptrail.rag.tree.search.types import Slate, SlateScorer, SlateScores, TreeSearchSettings

K = 10
SPREADS = ((0.05, 0.08), (0.15, 0.08), (0.15, 0.15), (0.25, 0.08), (0.25, 0.15))
"""Standard deviations of a slate's bias and of a score's noise."""
PLAIN = TreeSearchSettings(seeds=0, patience=0, stretched=True)
"""No early stop: every run makes all iterations, and the curves are of the tree alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One calibration under one scorer on one set; means over the searches."""

    set: str
    fit: str
    bias: float
    noise: float
    searches: int
    """Questions times draws."""
    behind: float
    """Points of nDCG@10 after the last iteration that the first of the calibrations has more."""
    behind_error: float
    """Its standard error over the searches; 0: there is but one."""
    ndcg_10: tuple[float, ...]
    """By iteration, against the set's grades; 0..1."""
    recall_10: tuple[float, ...]
    calls: float
    """Slates scored in one search."""
    looked: float
    """Leaves scored in one search."""
    fit_ms: float
    """Mean of the last fit of a search, its largest."""
    nodes: float
    scores: float
    """Items and scores that it was over."""


@dataclass(slots=True, kw_only=True)
class Timed:
    """A calibration that notes how long its last fit took, and over what."""

    calibrate: Calibrate
    seconds: float = 0.0
    items: int = 0
    scores: int = 0

    def __call__(self, seen: Observations) -> Latent:
        """As the calibration."""
        started = time.perf_counter()
        found = self.calibrate(seen)
        self.seconds = time.perf_counter() - started
        self.items, self.scores = len(found.values), len(seen.scores)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    ndcg_10: Sequence[float]
    recall_10: Sequence[float]
    calls: int
    looked: int
    last: Timed


def simulation(
    world: LabelledTree,
    *,
    spreads: Sequence[tuple[float, float]] = SPREADS,
    fits: Sequence[str] = tuple(FITS),
    settings: TreeSearchSettings = PLAIN,
    draws: int = 1,
) -> list[Curve]:
    """Every calibration with every scorer, on all questions of a world.

    One draw of biases and noise leaves half a point to chance on 40 questions: what opens one other
    node early finds other leaves. Who compares calibrations asks for several.
    """
    truths = [truth_of(world, asked) for asked in world.questions]
    found = []
    for bias, noise in spreads:
        runs = {
            fit: [
                _run(world, asked, scorer(truth, asked, bias, noise, draw), fit, settings)
                for asked, truth in zip(world.questions, truths, strict=True)
                for draw in range(draws)
            ]
            for fit in fits
        }
        found += [
            _curve(world.name, fit, (bias, noise), some, beside=runs[fits[0]])
            for fit, some in runs.items()
        ]
    return found


def scorer(truth: Truth, asked: Asked, bias: float, noise: float, draw: int = 0) -> SlateScorer:
    """A simulated model; equal for equal questions, nodes and draws."""

    def one(slate: Slate) -> SlateScores:
        random = np.random.default_rng((asked.number, slate.node, draw))
        off = random.normal(0, bias)
        errors = random.normal(0, noise, len(slate.shown))
        true = np.array([truth.of(item.ref) for item in slate.shown])
        given = np.round(np.clip(true + off + errors, 0, 1), 2).tolist()
        return SlateScores(scores=dict(enumerate(given)))

    def grade(slates: Sequence[Slate]) -> list[SlateScores]:
        return [one(slate) for slate in slates]

    return grade


def _run(
    world: LabelledTree, asked: Asked, grade: SlateScorer, fit: str, settings: TreeSearchSettings
) -> _Run:
    """One search; a curve that ends early goes on level."""
    timed = Timed(calibrate=FITS[fit])
    search = TreeSearch(settings, calibrate=timed)
    gains: list[float] = []
    shares: list[float] = []
    while numbers := search.beam():
        slates = search.slates(world.view.open(asked.vector, numbers))
        while slates:
            slates = search.take(grade(slates))
        rows = [leaf.row for leaf in search.leaves()]
        ranking = first_occurrences(world.ranking(rows))
        gains.append(ndcg(ranking, asked.grades, K) or 0.0)
        shares.append(recall(ranking, asked.grades.keys(), K) or 0.0)
    gains += gains[-1:] * (settings.iterations - len(gains))
    shares += shares[-1:] * (settings.iterations - len(shares))
    found = search.found()
    return _Run(ndcg_10=gains, recall_10=shares, calls=found.calls, looked=found.looked, last=timed)


def _curve(
    name: str,
    fit: str,
    spread: tuple[float, float],
    runs: Sequence[_Run],
    *,
    beside: Sequence[_Run],
) -> Curve:
    behind = [
        100 * (other.ndcg_10[-1] - run.ndcg_10[-1]) for other, run in zip(beside, runs, strict=True)
    ]
    return Curve(
        set=name,
        fit=fit,
        bias=spread[0],
        noise=spread[1],
        searches=len(runs),
        behind=fmean(behind),
        behind_error=stdev(behind) / len(behind) ** 0.5 if len(behind) > 1 else 0.0,
        ndcg_10=tuple(map(fmean, zip(*(run.ndcg_10 for run in runs), strict=True))),
        recall_10=tuple(map(fmean, zip(*(run.recall_10 for run in runs), strict=True))),
        calls=fmean(run.calls for run in runs),
        looked=fmean(run.looked for run in runs),
        fit_ms=1e3 * fmean(run.last.seconds for run in runs),
        nodes=fmean(run.last.items for run in runs),
        scores=fmean(run.last.scores for run in runs),
    )
