"""Fusion: hand-computed numbers, a slow dictionary twin, and what must hold for any two lists."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.retrieval.fusion import Fusion, MinMaxFusion, ReciprocalRankFusion, fuse_hits
from hoptrail.rag.types import Candidates, Hit, Passage, Via

FUSIONS: list[Fusion] = [
    ReciprocalRankFusion(),
    ReciprocalRankFusion(k=0),
    MinMaxFusion(),
    MinMaxFusion(lexical_weight=0.0),
    MinMaxFusion(lexical_weight=0.3, floor=None),
    MinMaxFusion(lexical_weight=0.5, floor=-2.0),
]
EQUAL_WEIGHTS: list[Fusion] = [
    ReciprocalRankFusion(),
    MinMaxFusion(lexical_weight=0.5),
    MinMaxFusion(lexical_weight=0.5, floor=None),
]
OWN_SCALE = MinMaxFusion(lexical_weight=0.5, floor=None)


def _list(scores: dict[int, float]) -> Candidates:
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return Candidates(
        rows=np.array([row for row, _ in ordered], dtype=np.int64),
        scores=np.array([score for _, score in ordered], dtype=np.float32),
    )


def _scores(candidates: Candidates) -> dict[int, float]:
    return dict(zip(candidates.rows.tolist(), candidates.scores.tolist(), strict=True))


lists = st.dictionaries(
    st.integers(0, 30) | st.integers(0, 2**60),
    st.floats(-100, 100, width=32) | st.sampled_from([0.0, 1.0, 2.0]),
    max_size=20,
).map(_list)


def _slow_shares(
    fusion: Fusion, scores: dict[int, float], depth: int | None, *, lexical: bool
) -> dict[int, float]:
    """The definitions, spelt out over dictionaries."""
    if isinstance(fusion, ReciprocalRankFusion):
        above = {row: sum(one > mine for one in scores.values()) for row, mine in scores.items()}
        return {row: 1 / (fusion.k + 1 + count) for row, count in above.items()}
    assert isinstance(fusion, MinMaxFusion)
    weight = fusion.lexical_weight if lexical else 1 - fusion.lexical_weight
    shares = {}
    for row, mine in scores.items():
        last, best = min(scores.values()), max(scores.values())
        bottom = last if fusion.floor is None else min(last, fusion.floor)
        zero = last if len(scores) == depth else bottom
        shares[row] = weight * (1.0 if best == bottom else (mine - zero) / (best - bottom))
    return shares


def _slow(
    fusion: Fusion, lexical: Candidates, dense: Candidates, depth: int | None
) -> dict[int, float]:
    one = _slow_shares(fusion, _scores(lexical), depth, lexical=True)
    two = _slow_shares(fusion, _scores(dense), depth, lexical=False)
    return {row: one.get(row, 0.0) + two.get(row, 0.0) for row in {*one, *two}}


def test_reciprocal_rank_by_hand() -> None:
    fused = ReciprocalRankFusion().fuse(_list({1: 9.0, 2: 5.0, 3: 1.0}), _list({3: 0.9, 4: 0.8}))
    assert fused.rows.tolist() == [3, 1, 2, 4]
    assert fused.scores.tolist() == pytest.approx(
        [1 / 63 + 1 / 61, 1 / 61, 1 / 62, 1 / 62], rel=1e-6
    )


def test_reciprocal_rank_gives_equal_scores_the_same_rank() -> None:
    fused = ReciprocalRankFusion().fuse(_list({1: 9.0, 2: 5.0, 3: 5.0, 4: 1.0}), _list({}))
    assert _scores(fused) == pytest.approx({1: 1 / 61, 2: 1 / 62, 3: 1 / 62, 4: 1 / 64}, rel=1e-6)


def test_min_max_by_hand() -> None:
    fused = MinMaxFusion(lexical_weight=0.25, floor=None).fuse(
        _list({1: 10.0, 2: 6.0, 3: 2.0}), _list({3: 0.9, 4: 0.7, 1: 0.5})
    )
    assert fused.rows.tolist() == [3, 4, 1, 2]
    assert fused.scores.tolist() == pytest.approx([0.75, 0.375, 0.25, 0.125], rel=1e-6)


def test_min_max_from_a_floor_by_hand() -> None:
    lexical, dense = _list({1: 10.0, 2: 6.0, 3: 2.0}), _list({3: 0.8, 4: 0.6})
    full = MinMaxFusion(lexical_weight=0.5).fuse(lexical, dense, depth=3)
    # Three were asked for: the lexical list is full and starts at 2, the dense one at 0.
    assert _scores(full) == pytest.approx({1: 0.4, 2: 0.2, 3: 0.0 + 0.5, 4: 0.375}, rel=1e-6)
    whole = MinMaxFusion(lexical_weight=0.5).fuse(lexical, dense)
    assert _scores(whole) == pytest.approx({1: 0.5, 2: 0.3, 3: 0.1 + 0.5, 4: 0.375}, rel=1e-6)


def test_a_full_list_of_nearly_equal_scores_hardly_decides() -> None:
    flat, steep = _list({1: 10.1, 2: 10.0}), _list({2: 0.8, 1: 0.4})
    assert MinMaxFusion(lexical_weight=0.5).fuse(flat, steep, depth=2).rows.tolist() == [2, 1]
    assert MinMaxFusion(lexical_weight=0.6, floor=None).fuse(
        flat, steep, depth=2
    ).rows.tolist() == [1, 2]


@given(lexical=lists, dense=lists, power=st.integers(-3, 6))
def test_min_max_from_zero_ignores_scale(
    lexical: Candidates, dense: Candidates, power: int
) -> None:
    scores = (lexical.scores * 2.0**power).astype(np.float32)
    larger = Candidates(rows=lexical.rows, scores=scores)
    one, two = MinMaxFusion().fuse(lexical, dense), MinMaxFusion().fuse(larger, dense)
    assert _scores(one) == pytest.approx(_scores(two), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("scores", [{7: 0.2}, {7: -3.0, 8: -3.0}, {7: 0.0, 8: 0.0}])
def test_a_constant_list_scales_to_one(scores: dict[int, float]) -> None:
    fused = OWN_SCALE.fuse(_list(scores), _list({1: 0.5, 2: 0.1}))
    assert _scores(fused) == {1: 0.5, 2: 0.0, **dict.fromkeys(scores, 0.5)}


@pytest.mark.parametrize("fusion", FUSIONS, ids=repr)
def test_two_empty_lists_are_an_empty_list(fusion: Fusion) -> None:
    fused = fusion.fuse(_list({}), _list({}))
    assert (len(fused.rows), len(fused.scores)) == (0, 0)
    assert (fused.rows.dtype, fused.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("fusion", FUSIONS, ids=repr)
@given(lexical=lists, dense=lists, full=st.booleans())
def test_a_fusion_equals_its_slow_twin(
    fusion: Fusion, lexical: Candidates, dense: Candidates, full: bool
) -> None:
    depth = max(len(lexical.rows), len(dense.rows)) if full else None
    assert _scores(fusion.fuse(lexical, dense, depth)) == pytest.approx(
        _slow(fusion, lexical, dense, depth), rel=1e-5, abs=1e-7
    )


@pytest.mark.parametrize("fusion", FUSIONS, ids=repr)
@given(lexical=lists, dense=lists)
def test_every_row_once_finite_and_best_first(
    fusion: Fusion, lexical: Candidates, dense: Candidates
) -> None:
    fused = fusion.fuse(lexical, dense)
    rows = fused.rows.tolist()
    assert sorted(rows) == sorted({*lexical.rows.tolist(), *dense.rows.tolist()})
    assert np.isfinite(fused.scores).all()
    assert (fused.scores >= 0).all()
    keys = list(zip((-fused.scores).tolist(), rows, strict=True))
    assert keys == sorted(keys)


@pytest.mark.parametrize("fusion", EQUAL_WEIGHTS, ids=repr)
@given(lexical=lists, dense=lists)
def test_swapping_the_lists_changes_nothing(
    fusion: Fusion, lexical: Candidates, dense: Candidates
) -> None:
    one, two = fusion.fuse(lexical, dense), fusion.fuse(dense, lexical)
    assert one.rows.tolist() == two.rows.tolist()
    assert one.scores.tolist() == two.scores.tolist()


@given(
    lexical=st.dictionaries(st.integers(0, 30), st.integers(-50, 50), max_size=20),
    dense=lists,
    power=st.integers(-3, 6),
    shift=st.integers(-64, 64),
)
def test_min_max_ignores_scale_and_shift(
    lexical: dict[int, int], dense: Candidates, power: int, shift: int
) -> None:
    # Integers and powers of two: the scaled scores are exact in float32.
    plain = _list({row: float(score) for row, score in lexical.items()})
    moved = _list({row: score * 2.0**power + shift for row, score in lexical.items()})
    one, two = OWN_SCALE.fuse(plain, dense), OWN_SCALE.fuse(moved, dense)
    assert _scores(one) == pytest.approx(_scores(two), rel=1e-6)


@given(lexical=lists, dense=lists, growth=st.floats(0.1, 3))
def test_reciprocal_rank_knows_only_the_order(
    lexical: Candidates, dense: Candidates, growth: float
) -> None:
    places = np.unique(lexical.scores, return_inverse=True)[1]
    other = Candidates(rows=lexical.rows, scores=(places * growth).astype(np.float32))
    one, two = (ReciprocalRankFusion().fuse(each, dense) for each in (lexical, other))
    assert one.rows.tolist() == two.rows.tolist()
    assert one.scores.tolist() == two.scores.tolist()


@pytest.mark.parametrize(
    "fusion", [MinMaxFusion(lexical_weight=1.0), ReciprocalRankFusion()], ids=repr
)
@given(lexical=lists)
def test_one_list_alone_keeps_its_order(fusion: Fusion, lexical: Candidates) -> None:
    fused = fusion.fuse(lexical, _list({}))
    scores = _scores(lexical)
    ordered = [scores[row] for row in fused.rows.tolist()]
    spread = max(ordered, default=0.0) - min(ordered, default=0.0)
    # Scores that differ by less than float32 can show after scaling count as equal.
    assert all(a >= b - spread * 1e-6 for a, b in pairwise(ordered))


@pytest.mark.parametrize("k", [-1, math.inf, math.nan])
def test_reciprocal_rank_refuses(k: float) -> None:
    with pytest.raises(SettingsError, match="needs k >= 0"):
        ReciprocalRankFusion(k=k)


@pytest.mark.parametrize("floor", [math.inf, math.nan])
def test_min_max_refuses_a_floor(floor: float) -> None:
    with pytest.raises(SettingsError, match="must be a finite number or None"):
        MinMaxFusion(floor=floor)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_min_max_refuses(weight: float) -> None:
    with pytest.raises(SettingsError, match=r"must lie in 0\.\.1"):
        MinMaxFusion(lexical_weight=weight)


def hit(name: str) -> Hit:
    passage = Passage(id=name, document_id=name, start=0, end=1, title=name, text="x")
    return Hit(passage=passage, score=1.0, source="hybrid")


def test_the_rankings_of_queries_are_fused_by_reciprocal_rank() -> None:
    """Worked out by hand; a passage that just misses the longest list, of three, would have 0."""
    fused = fuse_hits([[hit("a"), hit("b"), hit("c")], [hit("b"), hit("d")]])
    assert [one.passage.id for one in fused] == ["b", "a", "d", "c"]
    assert [one.score for one in fused] == pytest.approx(
        [1 / 61 + 1 / 62 - 1 / 64, 1 / 61 - 1 / 64, 1 / 62 - 1 / 64, 1 / 63 - 1 / 64], abs=1e-8
    )
    assert fuse_hits([]) == fuse_hits([[], []]) == ()


def test_a_fused_hit_keeps_what_its_best_place_says_of_it() -> None:
    via = Via(name="Heron", passage_id="p", title="Heron (ship)")
    found = replace(hit("b"), via=via)
    (one, _) = fuse_hits([[hit("a"), hit("b")], [found]])
    assert (one.passage.id, one.via) == ("b", via)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), max_size=4))
def test_fusing_queries_loses_and_invents_no_passage(names: list[list[str]]) -> None:
    fused = fuse_hits([[hit(name) for name in ranking] for ranking in names])
    assert sorted(one.passage.id for one in fused) == sorted({n for some in names for n in some})
    assert all(one.score > 0 for one in fused)
    assert all(a.score >= b.score for a, b in pairwise(fused))
