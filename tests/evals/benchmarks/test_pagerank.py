"""PageRank by forward push against a power iteration over dense matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.store import indexed, new_store

from hoptrail.evals.benchmarks.graph.ablation import DualLevelQuery, dual_level
from hoptrail.evals.benchmarks.graph.pagerank import PageRankSettings, pagerank
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.graph_index.reader import AboutLinks, MentionLinks, PassageLinks
from hoptrail.rag.types import Candidates

EXACT = PageRankSettings(titled=2.0, rounds=200, reads=1000, least=0.0)


@dataclass
class Listed:
    """A graph from lists: for each row its title's key or None, and the keys it mentions."""

    titles: Sequence[int | None]
    mentions: Sequence[frozenset[int]]
    asked: list[int] = field(default_factory=list)

    def outgoing(self, rows: Sequence[int]) -> tuple[PassageLinks, ...]:
        self.asked += rows
        return tuple(
            PassageLinks(
                abouts=whole([] if self.titles[row] is None else [self.titles[row]]),
                strengths=np.ones(int(self.titles[row] is not None), dtype=np.float32),
                mentions=whole(sorted(self.mentions[row])),
                candidates=whole(sorted(self.mentions[row])),
            )
            for row in rows
        )

    def about(self, keys: Sequence[int]) -> AboutLinks:
        found = [
            (key, row) for key in sorted(keys) for row, own in enumerate(self.titles) if own == key
        ]
        return AboutLinks(
            keys=whole([key for key, _ in found]),
            rows=whole([row for _, row in found]),
            strengths=np.ones(len(found), dtype=np.float32),
        )

    def mentioning(self, keys: Sequence[int], limit: int) -> MentionLinks:
        found = [
            (key, row)
            for key in sorted(keys)
            if self.counts([key])[0] <= limit
            for row, some in enumerate(self.mentions)
            if key in some
        ]
        return MentionLinks(
            keys=whole([key for key, _ in found]), rows=whole([row for _, row in found])
        )

    def counts(self, keys: Sequence[int]) -> NDArray[np.int64]:
        return whole([sum(key in some for some in self.mentions) for key in keys])

    def names(self, rows: Sequence[int]) -> NDArray[np.int64]:
        return whole([len(self.mentions[row]) for row in rows])


def whole(numbers: Sequence[int | None]) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def seeds(shares: Sequence[float]) -> Candidates:
    rows = [row for row, share in enumerate(shares) if share > 0]
    return Candidates(
        rows=whole(rows), scores=np.array([shares[row] for row in rows], dtype=np.float32)
    )


def dense(graph: Listed, shares: Sequence[float], walk: PageRankSettings) -> NDArray[np.float64]:
    """x = (1 - d) s + d x P until nothing moves, with full matrices."""
    rows, keys = len(graph.titles), 12
    has = np.zeros((rows, keys))
    for row in range(rows):
        for key in graph.mentions[row]:
            has[row, key] = 1.0
        if (title := graph.titles[row]) is not None:
            has[row, title] = walk.titled
    holders = (has > 0).sum(axis=0)
    usable = (holders > 1) & (holders <= walk.common)
    rarity = np.where(usable, np.log(1 + walk.common / np.maximum(1, holders)), 0.0)
    out = has * rarity
    back = np.where(usable, has, 0.0).T
    back /= np.maximum(back.sum(axis=1, keepdims=True), 1e-300)
    step = np.zeros((rows, rows))
    for row in range(rows):
        if out[row].sum() > 0:
            step[row] = out[row] / out[row].sum() @ back
        else:
            step[row, row] = 1.0
    start = np.array(shares) / np.sum(shares)
    found = start.copy()
    for _ in range(400):
        found = (1 - walk.damping) * start + walk.damping * found @ step
    return found


def spread(found: Candidates, rows: int) -> NDArray[np.float64]:
    every = np.zeros(rows)
    every[found.rows] = found.scores
    return every


GRAPHS = st.integers(1, 10).flatmap(
    lambda rows: st.tuples(
        st.lists(st.none() | st.integers(0, 11), min_size=rows, max_size=rows),
        st.lists(st.frozensets(st.integers(0, 11), max_size=5), min_size=rows, max_size=rows),
        st.lists(st.floats(0, 1, width=16), min_size=rows, max_size=rows).filter(any),
        st.sampled_from([0.0, 0.2, 0.5, 0.85]),
        st.sampled_from([2, 3, 100]),
    )
)


@settings(max_examples=40, deadline=None)
@given(GRAPHS)
def test_pagerank_equals_the_power_iteration_over_dense_matrices(case: tuple) -> None:  # type: ignore[type-arg]
    titles, mentions, shares, damping, common = case
    graph = Listed(titles, mentions)
    walk = PageRankSettings(damping=damping, common=common, rounds=200, reads=1000, least=0.0)
    found = pagerank(seeds(shares), graph, walk)
    assert spread(found, len(titles)) == pytest.approx(dense(graph, shares, walk), abs=1e-5)
    assert found.scores.sum() == pytest.approx(1, abs=1e-5)
    assert (np.diff(found.scores) <= 0).all()
    assert len(set(found.rows.tolist())) == len(found.rows)


@settings(max_examples=25, deadline=None)
@given(GRAPHS, st.integers(0, 4))
def test_what_is_not_followed_bounds_the_error(case: tuple, rounds: int) -> None:  # type: ignore[type-arg]
    titles, mentions, shares, damping, common = case
    graph = Listed(titles, mentions)
    walk = PageRankSettings(damping=damping, common=common, rounds=rounds, reads=1000, least=0.0)
    found = spread(pagerank(seeds(shares), graph, walk), len(titles))
    error = np.abs(found - dense(graph, shares, walk)).sum()
    assert error <= 2 * damping**rounds + 1e-5


def test_the_scores_of_two_passages_by_hand() -> None:
    """Two passages that share one name: x0 = (1 - d) / (1 - d²) · (1 - d / 2) and so on."""
    graph = Listed([None, None], [frozenset({3}), frozenset({3})])
    found = spread(pagerank(seeds([1, 0]), graph, EXACT), 2)
    # Each step leads to either with one half: x1 = d / 2, x0 = 1 - d / 2.
    assert found == pytest.approx([0.75, 0.25], abs=1e-6)


def test_a_name_leads_to_what_it_is_the_title_of_above_all() -> None:
    graph = Listed([None, 1, None], [frozenset({1}), frozenset(), frozenset({1})])
    found = spread(pagerank(seeds([1, 0, 0]), graph, EXACT), 3)
    assert found[1] == pytest.approx(2 * found[2])
    assert found[0] > found[1]


def test_a_name_that_all_have_leads_nowhere() -> None:
    graph = Listed([None] * 9, [frozenset({1})] * 9)
    found = pagerank(seeds([1, 1] + [0] * 7), graph, PageRankSettings(common=8))
    assert found.rows.tolist() == [0, 1]
    assert found.scores.tolist() == [0.5, 0.5]


def test_reads_are_bounded() -> None:
    """A chain and a crowd: however large the neighbourhood, few passages are asked."""
    random = np.random.default_rng(0)
    mentions = [frozenset(random.integers(0, 300, size=6).tolist()) for _ in range(600)]
    graph = Listed([None] * 600, mentions)
    pagerank(seeds([0.5, 0.3, 0.2] + [0] * 597), graph, PageRankSettings(rounds=4, reads=7))
    assert 7 < len(graph.asked) <= 3 + 3 * 7 + 7


def test_without_seeds_there_is_nothing() -> None:
    graph = Listed([None], [frozenset()])
    assert len(pagerank(seeds([0]), graph).rows) == 0
    zero = Candidates(rows=whole([0]), scores=np.zeros(1, dtype=np.float32))
    assert len(pagerank(zero, graph).rows) == 0
    assert graph.asked == []


@pytest.mark.parametrize(
    "wrong",
    [{"damping": 1.0}, {"damping": -0.1}, {"common": 1}, {"reads": 0}, {"titled": 0.0}],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=r"damping|PageRank"):
        PageRankSettings(**wrong)  # type: ignore[arg-type]


def test_pagerank_over_the_links_of_a_store(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        store.commit(
            [
                indexed("a", ["Nansen sailed on the Fram."], title="Fridtjof Nansen"),
                indexed("b", ["She was built by Colin Archer."], title="Fram"),
                indexed("c", ["A town of boats."], title="Larvik"),
                indexed("d", ["Born in Larvik, he drew ships."], title="Colin Archer"),
                indexed("e", ["Nothing is linked to this."], title=""),
            ]
        )
        rows = {one.id: row for row, one in enumerate(store.resolve(np.arange(5))) if one}
        place = {name: rows[store.passages_of(name)[0].id] for name in "abcde"}
        with store.snapshot().graph() as graph:
            start = Candidates(rows=whole([place["a"]]), scores=np.ones(1, dtype=np.float32))
            found = pagerank(start, graph, PageRankSettings(rounds=4))
    assert found.rows.tolist() == [place[name] for name in "abdc"]
    assert found.scores.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("question", "entities", "relations"),
    [
        (
            "Who built the ship that Fridtjof Nansen took to the North Pole?",
            ("Fridtjof Nansen", "North Pole"),
            "Who built the ship that took to the ?",
        ),
        ("When did Lothair II's mother die?", ("Lothair II",), "When did 's mother die?"),
        ("Was Oslo larger than Oslo is?", ("Oslo",), "Was larger than is?"),
        ("who built the ship?", (), "who built the ship?"),
        ("Fram", ("Fram",), ""),
        ("", (), ""),
    ],
)
def test_the_two_levels_of_a_question(
    question: str, entities: tuple[str, ...], relations: str
) -> None:
    assert dual_level(question) == DualLevelQuery(entities=entities, relations=relations)
