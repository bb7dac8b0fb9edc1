"""Benchmark of tree search by a simulated scorer: nDCG and recall by iteration and calibration.

    python -m hoptrail.evals.benchmarks.tree DATA --simulation [--questions N] [--draws N]

A score is the true relevance, plus the bias of its slate, plus noise, clipped to 0..1 and rounded
to whole percents, as a model gives them. Bias and noise of a node's slate are the same under every
calibration: the calibrations differ in the relevance they estimate and so in the nodes they open.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from hoptrail.evals.benchmarks.tree.calibration_fit import FITS
from hoptrail.evals.benchmarks.tree.ground_truth import (
    LabelledQuestion,
    LabelledTree,
    TrueRelevance,
    true_relevance,
)
from hoptrail.evals.metrics.ranking import first_occurrences, ndcg, recall
from hoptrail.rag.tree.search.best_first import TreeSearch
from hoptrail.rag.tree.search.calibration import Calibrate, Latent, Observations
from hoptrail.rag.tree.search.types import Slate, SlateScorer, SlateScores, TreeSearchSettings

K = 10
SPREADS = ((0.05, 0.08), (0.15, 0.08), (0.15, 0.15), (0.25, 0.08), (0.25, 0.15))
"""Standard deviations of a slate's bias and of a score's noise, on scores 0..1."""
PLAIN = TreeSearchSettings(seeds=0, patience=0, stretched=True)
"""Settings without seeds and early stop: every search makes all iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSearchScore:
    """Quality of one calibration under one scorer on one data set; means over the searches."""

    set: str
    fit: str
    bias: float
    noise: float
    searches: int
    """Questions times draws."""
    behind: float
    """Points of nDCG@10 after the last iteration by which the first calibration is better."""
    behind_error: float
    """Standard error of `behind` over the searches; 0: there is one search."""
    ndcg_10: tuple[float, ...]
    """nDCG@10 by iteration, against the grades of the data set; 0..1."""
    recall_10: tuple[float, ...]
    calls: float
    """Slates scored in one search."""
    looked: float
    """Leaves scored in one search."""
    fit_ms: float
    """Mean milliseconds of the last, largest fit of a search."""
    nodes: float
    scores: float
    """Scores of that last fit; `nodes` are its items."""


@dataclass(slots=True, kw_only=True)
class TimedCalibration:
    """Calibration that records time and size of its last fit."""

    calibrate: Calibrate
    seconds: float = 0.0
    items: int = 0
    scores: int = 0

    def __call__(self, seen: Observations) -> Latent:
        """Fits, and records time and size."""
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
    last: TimedCalibration


def simulation(
    labelled: LabelledTree,
    *,
    spreads: Sequence[tuple[float, float]] = SPREADS,
    fits: Sequence[str] = tuple(FITS),
    settings: TreeSearchSettings = PLAIN,
    draws: int = 1,
) -> list[SimulatedSearchScore]:
    """Quality of every calibration with every scorer, on all questions of a tree.

    One draw of biases and noise leaves half a point to chance on 40 questions, since one other node
    opened early leads to other leaves. Compare calibrations over several draws.

    Args:
        labelled: the tree of a data set.
        spreads: standard deviations of bias and noise, one scorer each.
        fits: names of `FITS`; `behind` is relative to the first.
        settings: of the tree search.
        draws: of biases and noise, for each question.
    """
    truths = [true_relevance(labelled, asked) for asked in labelled.questions]
    found = []
    for bias, noise in spreads:
        runs = {
            fit: [
                _run(labelled, asked, scorer(truth, asked, bias, noise, draw), fit, settings)
                for asked, truth in zip(labelled.questions, truths, strict=True)
                for draw in range(draws)
            ]
            for fit in fits
        }
        found += [
            _curve(labelled.name, fit, (bias, noise), some, beside=runs[fits[0]])
            for fit, some in runs.items()
        ]
    return found


def scorer(
    truth: TrueRelevance, asked: LabelledQuestion, bias: float, noise: float, draw: int = 0
) -> SlateScorer:
    """Simulated scorer; gives equal scores for equal questions, nodes and draws."""

    def one(slate: Slate) -> SlateScores:
        random = np.random.default_rng((asked.number, slate.node, draw))
        slate_bias = random.normal(0, bias)
        errors = random.normal(0, noise, len(slate.shown))
        true = np.array([truth.of(item.ref) for item in slate.shown])
        given = np.round(np.clip(true + slate_bias + errors, 0, 1), 2).tolist()
        return SlateScores(scores=dict(enumerate(given)))

    def grade(slates: Sequence[Slate]) -> list[SlateScores]:
        return [one(slate) for slate in slates]

    return grade


def _run(
    labelled: LabelledTree,
    asked: LabelledQuestion,
    grade: SlateScorer,
    fit: str,
    settings: TreeSearchSettings,
) -> _Run:
    """One search; the curves of one that ends early are continued at their last value."""
    timed = TimedCalibration(calibrate=FITS[fit])
    search = TreeSearch(settings, calibrate=timed)
    gains: list[float] = []
    shares: list[float] = []
    while numbers := search.beam():
        slates = search.slates(labelled.view.open(asked.vector, numbers))
        while slates:
            slates = search.take(grade(slates))
        rows = [leaf.row for leaf in search.leaves()]
        ranking = first_occurrences(labelled.ranking(rows))
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
) -> SimulatedSearchScore:
    behind = [
        100 * (other.ndcg_10[-1] - run.ndcg_10[-1]) for other, run in zip(beside, runs, strict=True)
    ]
    return SimulatedSearchScore(
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
