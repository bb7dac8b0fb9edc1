"""Groups under a cap: they part what they are given, and near ones come together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import bunched

from hoptrail.rag.tree.builders import clustering as cluster
from hoptrail.rag.tree.builders.clustering import Places, bisect, capped_clusters, packed_clusters
from hoptrail.rag.types import Vectors


def unit(count: int, seed: int, kinds: int = 0) -> Vectors:
    """Random unit vectors; of only so many kinds, if told."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(kinds or count, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[random.integers(kinds, size=count)] if kinds else vectors


def is_parted(groups: list[Places], count: int) -> bool:
    together = np.concatenate([*groups, np.empty(0, dtype=np.int64)])
    return sorted(together.tolist()) == list(range(count)) and all(map(len, groups))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_groups_part_the_places_and_keep_to_the_cap(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 150))
    cap = data.draw(st.integers(2, 20))
    weights = np.array(
        data.draw(st.lists(st.integers(1, cap), min_size=count, max_size=count)), dtype=np.int64
    )
    vectors = unit(count, data.draw(st.integers(0, 9)), data.draw(st.sampled_from([0, 1, 3])))
    groups = capped_clusters(vectors.__getitem__, count, cap, weights=weights)
    assert is_parted(groups, count)
    assert all(weights[group].sum() <= cap for group in groups)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 300),
    cap=st.integers(2, 20),
    seed=st.integers(0, 9),
    kinds=st.sampled_from([0, 1, 3]),
)
def test_no_leaf_stands_alone_and_full_groups_are_as_few_as_can_be(
    count: int, cap: int, seed: int, kinds: int
) -> None:
    vectors = unit(count, seed, kinds)
    groups = capped_clusters(vectors.__getitem__, count, cap, seed=seed)
    assert is_parted(groups, count)
    alone = sum(len(group) == 1 for group in groups)
    assert alone <= (count % 2 if cap == 2 else count == 1)
    full = packed_clusters(vectors.__getitem__, count, cap, seed=seed)
    assert is_parted(full, count)
    assert len(full) == math.ceil(count / cap)
    assert max(map(len, full), default=0) <= cap


def test_the_same_seed_gives_the_same_groups_and_another_seed_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_SMALL", 50)
    vectors = unit(400, 1)
    first, again, other = (
        [group.tolist() for group in capped_clusters(vectors.__getitem__, 400, 7, seed=seed)]
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_topics_that_lie_apart_are_groups() -> None:
    leaves = bunched(80, topics=8, spread=0.05)
    groups = capped_clusters(leaves.vectors, 80, 13)
    assert sorted(map(len, groups)) == [10] * 8
    assert all(len(set((group % 8).tolist())) == 1 for group in groups)


def test_groups_are_closer_than_runs_of_what_is_cut_blindly() -> None:
    vectors = bunched(1500, topics=200, spread=0.6).points

    def closeness(groups: list[Places]) -> float:
        sums = [float(np.linalg.norm(vectors[group].sum(axis=0))) for group in groups]
        return sum(sums) / len(vectors)

    near = closeness(capped_clusters(vectors.__getitem__, 1500, 14))
    assert near > closeness(packed_clusters(vectors.__getitem__, 1500, 14)) > 0.6
    assert near > 0.75


def test_a_large_set_is_cut_by_a_sample_and_only_parts_are_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "RESIDENT", 400)
    monkeypatch.setattr(cluster, "SAMPLE", 200)
    monkeypatch.setattr(cluster, "BLOCK", 100)
    monkeypatch.setattr(cluster, "_SMALL", 150)
    monkeypatch.setattr(cluster, "_PARTS", 6)
    vectors = bunched(3000, topics=60).points
    asked: list[int] = []

    def source(places: Places) -> Vectors:
        asked.append(len(places))
        return vectors[places]

    groups = capped_clusters(source, 3000, 14)
    assert is_parted(groups, 3000)
    assert max(asked) <= 400
    assert is_parted(packed_clusters(source, 3000, 14), 3000)
    assert max(asked) <= 400


def test_what_is_like_nothing_else_in_a_large_set_does_not_stand_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_SMALL", 100)
    leaves = bunched(600, topics=3, spread=0.1, dimension=32)
    points = leaves.points.copy()
    points[::75] = np.eye(32, dtype=np.float32)[:8]
    groups = capped_clusters(points.__getitem__, 600, 14)
    assert is_parted(groups, 600)
    assert min(map(len, groups)) > 1


def test_copies_of_one_text_do_not_stop_a_large_set() -> None:
    vectors = unit(4000, 0, kinds=1)
    groups = capped_clusters(vectors.__getitem__, 4000, 14)
    assert is_parted(groups, 4000)
    assert len(groups) < 600


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 60), seed=st.integers(0, 9), kinds=st.sampled_from([0, 1, 2]))
def test_neither_half_is_smaller_than_a_third(count: int, seed: int, kinds: int) -> None:
    one, two = bisect(unit(count, seed, kinds), seed)
    assert is_parted([one, two], count)
    assert min(len(one), len(two)) >= max(1, count // 3)


def test_halves_keep_two_topics_apart() -> None:
    one, two = bisect(bunched(20, topics=2, spread=0.1).points)
    assert {len(set((half % 2).tolist())) for half in (one, two)} == {1}


@pytest.mark.parametrize(("count", "most"), [(15, 2), (100, 10), (176, 14)])
def test_few_groups_are_enough(count: int, most: int) -> None:
    vectors = unit(count, 5)
    assert len(capped_clusters(vectors.__getitem__, count, 14)) <= most


def test_average_linkage_is_that_of_its_definition() -> None:
    """Against the mean of all pairs, taken anew for each step."""
    vectors = unit(40, 2)
    groups = [[place] for place in range(40)]
    while True:
        able = [
            (float(np.mean(vectors[one] @ vectors[two].T)), at, to)
            for at, one in enumerate(groups)
            for to, two in enumerate(groups)
            if at < to and len(one) + len(two) <= 5
        ]
        if not able:
            break
        _, at, to = max(able)
        groups[at] += groups.pop(to)
    found = cluster._linked(vectors, np.ones(40, dtype=np.int64), 5, np.random.default_rng(0))
    assert {frozenset(group.tolist()) for group in found} == set(map(frozenset, groups))
