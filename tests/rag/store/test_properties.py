"""Histories of puts, replacements and deletions, drawn by hypothesis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.store import ids, indexed, new_store, vector

from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.indexes.vector_file import exact_scores, near_best
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import IndexedDocument

WORDS = ["ship", "sea", "ice", "wind", "rope", "sail", "storm", "north", "anchor"]
SLOW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])

bodies = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join), min_size=0, max_size=4
)
names = st.sampled_from([f"d{number}" for number in range(6)])
turns = st.lists(
    st.tuples(st.dictionaries(names, bodies, max_size=3), st.sets(names, max_size=2)),
    min_size=1,
    max_size=6,
)

QUERIES = ["ship", "ice wind", "north storm anchor rope", "sail ice ship wind sea storm rope"]


def played(store: Store, history: list) -> dict[str, IndexedDocument]:
    """Commits a history; what must be there in the end."""
    held: dict[str, IndexedDocument] = {}
    for puts, deletes in history:
        items = [
            indexed(name, parts, title=name, meta={"even": int(name[1:]) % 2 == 0})
            for name, parts in puts.items()
        ]
        gone = deletes - puts.keys()
        store.commit(items, gone)
        held = {name: item for name, item in held.items() if name not in gone}
        held.update((item.document.id, item) for item in items)
    return held


def answers(store: Store) -> list[tuple[list[str], list[float]]]:
    """Passage ids and scores of a set of queries, filtered and not, long and short."""
    found = []
    for where in ({}, {"even": True}):
        for k in (1, 3, 50):
            some = [store.lexical(query, k, where) for query in QUERIES]
            some += [store.dense(vector(seed), k, where) for seed in range(2)]
            found += [(ids(store, one), one.scores.tolist()) for one in some]
    return found


@pytest.mark.parametrize("by_words", ["tantivy", "rank-bm25"])
@SLOW
@given(history=turns, order=st.randoms(use_true_random=False))
def test_a_compacted_store_ranks_like_a_fresh_one(
    tmp_path_factory: pytest.TempPathFactory, by_words: str, history: list, order: object
) -> None:
    root = tmp_path_factory.mktemp("property")
    with new_store(root / "edited", lexical=by_words) as edited:
        held = played(edited, history)
        edited.compact()
        fresh_order = list(held.values())
        order.shuffle(fresh_order)  # type: ignore[attr-defined]
        with new_store(root / "fresh", lexical=by_words) as fresh:
            for item in fresh_order:
                fresh.commit([item])
            assert answers(edited) == answers(fresh)
        assert {name: edited.document(name) for name in edited.documents()} == {
            name: item.document for name, item in held.items()
        }
    assert fsck(root / "edited").problems == ()


@SLOW
@given(own=turns, foreign=turns)
def test_a_tenant_ranks_as_if_it_were_alone(
    tmp_path_factory: pytest.TempPathFactory, own: list, foreign: list
) -> None:
    root = tmp_path_factory.mktemp("tenants")
    with (
        new_store(root / "shared", tenant="own") as shared,
        new_store(root / "shared", tenant="foreign") as other,
        new_store(root / "alone", tenant="own") as alone,
    ):
        for one, another in zip(own, foreign, strict=False):
            played(shared, [one])
            played(other, [another])
        played(shared, own[len(foreign) :])
        played(alone, own)
        assert answers(shared) == answers(alone)


@SLOW
@given(history=turns)
def test_the_catalogue_holds_what_was_committed_and_fsck_is_clean(
    tmp_path_factory: pytest.TempPathFactory, history: list
) -> None:
    root: Path = tmp_path_factory.mktemp("history")
    with new_store(root) as store:
        held = played(store, history)
        count = sum(len(item.passages) for item in held.values())
        assert store.stats().passages == count
        assert len(store.dense(vector(0), 99).rows) == count
        for name, item in held.items():
            assert store.passages_of(name) == tuple(item.passages)
            for passage in item.passages:
                assert store.slice(name, passage.start, passage.end) == passage.text
    assert fsck(root).clean


@settings(max_examples=30, deadline=None)
@given(
    rows=st.permutations(range(40)),
    spread=st.sampled_from([0.0, 1e-7, 1e-3, 1.0]),
    k=st.integers(1, 40),
)
def test_a_score_does_not_depend_on_where_its_row_lies(
    rows: list[int], spread: float, k: int
) -> None:
    random = np.random.default_rng(1)
    noise = random.normal(size=(40, 24)) * spread + random.normal(size=24)
    vectors = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)
    query = vectors[0]
    alone = [exact_scores(vectors, np.array([row]), query)[0] for row in range(40)]
    moved = vectors[rows]
    near = near_best(moved @ query, k)
    assert exact_scores(moved, near, query).tolist() == [alone[rows[at]] for at in near]
    limit = sorted(alone, reverse=True)[k - 1]
    assert {rows[at] for at in near} >= {row for row in range(40) if alone[row] >= limit}
