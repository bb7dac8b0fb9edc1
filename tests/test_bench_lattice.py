"""The measurements of the tree: its parts by hand-computed numbers, the whole on a few records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.evals.bench.lattice_fits import (
    ANCHORS,
    FITS,
    FRESH,
    SLATES,
    fits,
    graded_ndcg,
    observed,
    spearman,
)
from hoptrail.evals.bench.lattice_gradient import gradient, loss, loss_slope
from hoptrail.rag.tree.calibrate import Observations, weights


def scores_of(slates: list[int], items: list[int], scores: list[float]) -> Observations:
    return Observations(slates=np.array(slates), items=np.array(items), scores=np.array(scores))


SMALL = scores_of([0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 3, 1, 3], [0.9, 0.4, 0.1, 0.6, 0.5, 0.7, 1.0])


@given(st.integers(0, 1000))
def test_the_slope_is_that_of_the_loss(seed: int) -> None:
    state = np.random.default_rng(seed).normal(size=4 + 3 + 1)
    counts = weights(SMALL.scores)
    slope = loss_slope(state, SMALL, counts / counts.sum())
    for at in range(len(state)):
        step = np.zeros(len(state))
        step[at] = 1e-6
        numeric = (loss(state + step, SMALL) - loss(state - step, SMALL)) / 2e-6
        assert slope[at] == pytest.approx(numeric, abs=1e-5, rel=1e-4)


def test_the_loss_by_hand() -> None:
    """One score: weight 1, prediction a·τ·θ + b against τ·s."""
    seen = scores_of([0], [0], [0.6])
    assert loss(np.array([0.2, 0.5, 2.0]), seen) == pytest.approx((2.0 * 5 * 0.2 + 0.5 - 3.0) ** 2)


def test_two_hundred_steps_go_down() -> None:
    random = np.random.default_rng(0)
    start = np.concatenate((random.normal(0, 0.01, 4), np.zeros(3), [1.0]))
    found = gradient(SMALL)
    assert found.values.max() == 1.0
    assert found.values.min() >= 0
    assert found.offsets.shape == (3,)
    few, many = gradient(SMALL, steps=1), gradient(SMALL, steps=2000)
    apart = np.abs(found.values - many.values).max()
    assert apart < np.abs(few.values - many.values).max()
    assert loss(start, SMALL) > 1


def test_slates_of_nothing_but_zeros_turn_no_sign() -> None:
    found = gradient(scores_of([0, 0, 1, 1], [0, 1, 1, 2], [0.0] * 4))
    assert found.values.min() >= 0
    assert found.values.max() < 0.1


def test_generous_slates_are_seen_through() -> None:
    """Items 1 and 2 are equal in one slate; the other slate, shown 0 again, is .4 more generous."""
    seen = scores_of([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 3], [0.2, 0.4, 0.4, 0.6, 0.8, 0.8])
    for name in ("ridge", "gradient"):
        values = FITS[name](seen).values
        assert values[3] == pytest.approx(values[1], abs=0.1), name
    assert FITS["mean"](seen).values[3] == pytest.approx(0.8)


def test_the_history_is_that_of_the_longest_search() -> None:
    seen, truth = observed(0.15, 0.1, ANCHORS, 0)
    assert (len(truth), len(seen.scores)) == (SLATES * FRESH, 566)
    assert seen.scores.min() >= 0
    assert seen.scores.max() <= 1
    assert np.array_equal(np.unique(seen.items), np.arange(len(truth)))
    again, _ = observed(0.15, 0.1, ANCHORS, 0)
    assert np.array_equal(again.scores, seen.scores)


def test_offsets_are_worth_having() -> None:
    """Acceptance check 2: bias .15, noise .10, 10 anchors: ridge at least .03 above the mean."""
    found = {one.fit: one for one in fits(4, [(0.15, 0.10)])}
    assert found.keys() == FITS.keys()
    assert found["ridge"].ndcg_10 >= found["mean"].ndcg_10 + 0.03
    assert found["ridge"].ndcg_10 >= found["gradient"].ndcg_10 - 0.01
    assert found["ridge"].spearman > found["mean"].spearman > found["last"].spearman


def test_measures_by_hand() -> None:
    truth = np.array([1.0, 0.5, 0.0])
    ideal = 1 + 0.5 / np.log2(3)
    assert graded_ndcg(np.array([3.0, 2.0, 1.0]), truth) == pytest.approx(1)
    worst = 0.5 / np.log2(3) + 1 / np.log2(4)
    assert graded_ndcg(np.array([1.0, 2.0, 3.0]), truth) == pytest.approx(worst / ideal)
    assert spearman(np.array([3.0, 2.0, 1.0]), truth) == pytest.approx(1)
    assert spearman(np.array([0.0, 1.0, 2.0]), truth) == pytest.approx(-1)
    # Ranks 1, 2.5, 2.5 against 3, 2, 1.
    assert spearman(np.array([0.0, 1.0, 1.0]), truth) == pytest.approx(-np.sqrt(0.75))
