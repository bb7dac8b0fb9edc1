"""Which leaves are shown again: each once, the better ones more often, no end of the scale left."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.rag.tree.search.anchors import sample_anchors


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(0, 15), st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_as_many_anchors_as_asked_each_once_and_the_same_for_the_same_seed(
    standings: list[float], count: int, seed: int
) -> None:
    found = sample_anchors(np.array(standings), count, np.random.default_rng(seed))
    assert len(found) == len(set(found.tolist())) == min(count, len(standings))
    assert set(found.tolist()) <= set(range(len(standings)))
    again = sample_anchors(np.array(standings), count, np.random.default_rng(seed))
    assert found.tolist() == again.tolist()


def test_one_draw_by_standing_has_the_odds_of_its_exponential() -> None:
    standings = np.array([0.0, 1.0, 2.0])
    random = np.random.default_rng(0)
    firsts = [int(sample_anchors(standings, 1, random)[0]) for _ in range(6000)]
    shares = np.bincount(firsts, minlength=3) / len(firsts)
    np.testing.assert_allclose(shares, np.exp(standings) / np.exp(standings).sum(), atol=0.02)


def test_three_of_ten_are_drawn_evenly_so_that_poor_leaves_are_among_them() -> None:
    # By standing alone the ten good ones would always be all.
    standings = np.concatenate((np.full(10, 50.0), np.zeros(90)))
    random = np.random.default_rng(0)
    draws = [sample_anchors(standings, 10, random) for _ in range(300)]
    good = np.array([(places < 10).sum() for places in draws])
    # 7 by standing, and 3 of the 93 that are left, 3 of which are good.
    assert good.min() >= 7
    np.testing.assert_allclose(good.mean(), 7 + 3 * 3 / 93, atol=0.1)
