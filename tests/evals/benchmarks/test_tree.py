"""The measurements of the tree: its parts by hand-computed numbers, the whole on a few records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import write_set

from hoptrail.evals.benchmarks.graph.recall import quality
from hoptrail.evals.benchmarks.tree import __main__ as lattice
from hoptrail.evals.benchmarks.tree.calibration_fit import (
    ANCHORS,
    FITS,
    FRESH,
    SLATES,
    calibration_scores,
    graded_ndcg,
    gradient,
    loss,
    loss_slope,
    spearman,
    synthetic_scores,
)
from hoptrail.evals.benchmarks.tree.ground_truth import (
    LIKE,
    SUPPORT,
    LabelledTree,
    labelled_tree,
    true_relevance,
)
from hoptrail.evals.benchmarks.tree.incremental import TREES, LeafSubset, incremental_trees
from hoptrail.evals.benchmarks.tree.local_search import FUSED, FUSIONS, local_search_scores
from hoptrail.evals.benchmarks.tree.long_document import long_document
from hoptrail.evals.benchmarks.tree.scaling import SyntheticLeaves, scale
from hoptrail.evals.benchmarks.tree.simulated_scorer import PLAIN, SPREADS, scorer, simulation
from hoptrail.evals.regression import graph_search as floors_graph
from hoptrail.evals.regression import tree_search as floors_tree
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.search.calibration import Observations, weights
from hoptrail.rag.tree.search.types import Slate
from hoptrail.rag.tree.types import ROOT


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


def test_two_hundred_gradient_steps_lower_the_loss() -> None:
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
    seen, truth = synthetic_scores(0.15, 0.1, ANCHORS, 0)
    assert (len(truth), len(seen.scores)) == (SLATES * FRESH, 566)
    assert seen.scores.min() >= 0
    assert seen.scores.max() <= 1
    assert np.array_equal(np.unique(seen.items), np.arange(len(truth)))
    again, _ = synthetic_scores(0.15, 0.1, ANCHORS, 0)
    assert np.array_equal(again.scores, seen.scores)


def test_offsets_are_worth_having() -> None:
    """Bias .15, noise .10, 10 anchors: ridge at least .03 of nDCG@10 above the mean."""
    found = {one.fit: one for one in calibration_scores(4, [(0.15, 0.10)])}
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


TOPICS = ("harbour", "violin", "glacier", "enzyme", "senate", "orchard", "satellite", "cathedral")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 records of eight topics, and a question about every fourth."""
    made = tmp_path_factory.mktemp("data") / "topics"
    records = {
        f"r{at}": (f"Record {at}", f"The {TOPICS[at % 8]} has mark{at} and sign{at} beside it.")
        for at in range(64)
    }
    questions = [
        {
            "id": f"q{at}",
            "question": f"Which {TOPICS[at % 8]} has mark{at} or sign{at}?",
            "answers": [f"mark{at}"],
            "supporting_ids": [f"r{at}"],
            "grades": {f"r{at}": 2, f"r{(at + 8) % 64}": 1, f"r{(at + 1) % 64}": 0},
        }
        for at in range(0, 64, 4)
    ]
    return write_set(made, questions, records)


@pytest.fixture(scope="module")
def cache(folder: Path) -> StoreCache:
    return StoreCache(folder=folder.parent / "cache", embedder=HashEmbedder())


@pytest.fixture(scope="module")
def world(folder: Path, cache: StoreCache) -> Iterator[tuple[LabelledTree, Retriever]]:
    with labelled_tree(folder, cache, most=8) as (made, store):
        yield made, Retriever(store, cache.embedder)


def test_a_world_has_its_tree_and_its_questions(world: tuple[LabelledTree, Retriever]) -> None:
    here, _ = world
    assert tree_faults(here.tree, here.leaves.numbers.tolist(), here.leaves.vectors) == []
    assert len(here.leaves.numbers) == len(here.records) == len(here.rows) == 64
    assert [one.number for one in here.questions] == list(range(8))
    assert all(len(one.grades) == 2 for one in here.questions)
    assert here.ranking(here.leaves.numbers[[3, 1]].tolist()) == [here.records[3], here.records[1]]


def test_the_truth_is_the_sets_and_a_node_has_its_best_leafs(
    world: tuple[LabelledTree, Retriever],
) -> None:
    here, _ = world
    asked = here.questions[2]
    truth = true_relevance(here, asked)
    values = dict(zip(here.records, truth.leaves.values(), strict=True))
    assert sorted(truth.leaves) == here.leaves.numbers.tolist()
    for record, value in values.items():
        grade = asked.grades.get(record)
        wanted = None if grade is None else LIKE + (SUPPORT - LIKE) * grade / 2
        assert 0 <= value <= LIKE if wanted is None else value == pytest.approx(wanted)
    for node in here.tree.nodes.values():
        below = [row for one in here.tree.walk(node.number) for row in one.rows]
        assert truth.nodes[node.number] == max(truth.leaves[row] for row in below)


def test_a_simulated_scorer_is_off_in_the_same_way_whenever_it_is_asked(
    world: tuple[LabelledTree, Retriever],
) -> None:
    here, _ = world
    asked = here.questions[0]
    truth = true_relevance(here, asked)
    (opened,) = here.view.open(asked.vector, [ROOT])
    slate = Slate(node=ROOT, items=opened.items)
    (exact,) = scorer(truth, asked, 0, 0)([slate])
    for place, item in enumerate(slate.items):
        assert exact.scores[place] == pytest.approx(truth.of(item.ref), abs=0.005)
    first, again = scorer(truth, asked, 0.25, 0.15)([slate, slate])
    assert first == again != exact
    for score in first.scores.values():
        assert 0 <= score <= 1
        assert score == round(score, 2)


def test_a_scorer_that_is_right_finds_everything(world: tuple[LabelledTree, Retriever]) -> None:
    here, _ = world
    curves = simulation(here, spreads=[(0.0, 0.0)])
    assert [one.fit for one in curves] == list(FITS)
    for one in curves:
        assert (one.set, one.searches) == ("topics", 8)
        assert len(one.ndcg_10) == len(one.recall_10) == PLAIN.iterations
        assert one.recall_10[-1] == 1
        assert one.ndcg_10[-1] == pytest.approx(1)
        assert one.looked <= 64
        assert one.calls <= 1 + PLAIN.beam * (PLAIN.iterations - 1)
        assert one.nodes <= one.scores


def test_search_without_a_model_beside_hybrid(
    world: tuple[LabelledTree, Retriever], folder: Path, cache: StoreCache
) -> None:
    here, searcher = world
    found = {one.system: one for one in local_search_scores(here, searcher, fusions=True)}
    assert list(found)[:4] == ["hybrid", "tree, unseeded", "tree", FUSED]
    assert len(found) == 4 + len(FUSIONS)
    beside = quality(folder, "whole", cache, 8)
    (hybrid,) = [one for one in beside if one.system == "hybrid"]
    # Grades count here and supports there.
    assert found["hybrid"].recall_2 <= hybrid.recall_2
    assert found["hybrid"].looked == 0
    for one in found.values():
        assert 0 <= one.recall_2 <= one.recall_5 <= one.recall_10 <= 100
    assert 0 < found["tree"].looked <= 64
    assert found["tree"].recall_10 > 50


def test_a_tree_that_grew_has_the_same_leaves(world: tuple[LabelledTree, Retriever]) -> None:
    here, searcher = world
    found = list(incremental_trees(here, searcher, 2))
    assert [(one.tree, one.seed) for one in found] == [
        ("fresh", 0),
        ("grown", 0),
        ("fresh", 1),
        ("grown", 1),
    ]
    assert [one.inserted for one in found] == [0, 19, 0, 19]
    for one in found:
        assert (one.leaves, one.faults) == (64, 0)
        assert one.simulated_recall_10 > 50
        assert one.local_recall_10 > 50
        assert one.depth >= 2


def test_some_of_the_leaves_are_leaves(world: tuple[LabelledTree, Retriever]) -> None:
    here, _ = world
    rows = here.leaves.numbers[::3]
    some = LeafSubset(whole=here.leaves, numbers=rows, generation=7)
    assert np.array_equal(some.documents(rows), here.leaves.documents(rows))
    assert np.array_equal(some.vectors(rows), here.leaves.vectors(rows))
    assert some.texts(rows) == here.leaves.texts(rows)


@pytest.mark.parametrize("per_document", [1, 5])
def test_planting_at_a_size(per_document: int) -> None:
    found = scale(600, per_document=per_document, method="bottom-up")
    assert found.leaves == 600
    assert found.nodes >= 600 / 14
    assert 2 <= found.depth <= 8
    assert found.mean_fanout <= 14
    assert found.peak_mb > found.vectors_mb
    assert found.siblings > 0.2


def test_made_leaves_are_the_same_whenever_they_are_made() -> None:
    first, again = SyntheticLeaves(50, per_document=4), SyntheticLeaves(50, per_document=4)
    rows = first.rows()
    assert np.array_equal(first.vectors(rows), again.vectors(rows))
    assert first.texts([7, 9]) == again.texts([7, 9])
    assert np.linalg.norm(first.vectors(rows), axis=1) == pytest.approx(1, abs=1e-5)
    assert first.documents([0, 3, 4, 9]).tolist() == [0, 0, 4, 8]


def test_one_document(folder: Path, cache: StoreCache) -> None:
    found = long_document(folder, cache, 8)
    assert (found.passages, found.questions) == (64, 8)
    assert 0 < found.looked <= 64
    for share in (found.hybrid_words, found.tree_words, found.fused_words):
        assert 50 < share <= 100


def lines_of(
    folder: Path, cache: StoreCache, capsys: pytest.CaptureFixture[str], *more: str
) -> list[str]:
    places = ["--embedder", "hash", "--store-cache", str(cache.folder)]
    assert lattice.main([str(folder.parent), "--sets", "topics", *places, *more]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("what", "lines", "column"),
    [
        (["--local", "--questions", "4"], 4, "recall_10"),
        (["--growth", "--questions", "4"], 6, "local_recall_10"),
        (["--medical", "--questions", "4"], 1, "tree_words"),
        (["--scale", "300"], 1, "peak_mb"),
        (["--fits", "--seeds", "1"], 24, "spearman"),
    ],
)
def test_the_command_line(
    what: list[str],
    lines: int,
    column: str,
    folder: Path,
    cache: StoreCache,
    capsys: pytest.CaptureFixture[str],
) -> None:
    header, *rows = lines_of(folder, cache, capsys, *what)
    assert column in header.split()
    assert len(rows) == lines
    assert all(len(row) == len(header) for row in rows)
    told = [json.loads(line) for line in lines_of(folder, cache, capsys, *what, "--json")]
    assert len(told) == lines
    assert column in told[0]


def test_draws_differ_and_calibrations_are_compared_search_by_search(
    world: tuple[LabelledTree, Retriever],
) -> None:
    here, _ = world
    ridge, again, last = simulation(
        here, spreads=[(0.3, 0.2)], fits=("ridge", "gradient", "last"), draws=3
    )
    assert ridge.searches == last.searches == 24
    assert (ridge.behind, ridge.behind_error) == (0, 0)
    for one in (again, last):
        lead = 100 * (ridge.ndcg_10[-1] - one.ndcg_10[-1])
        assert one.behind == pytest.approx(lead)
    assert last.behind > 0 < last.behind_error
    (first,) = simulation(here, spreads=[(0.3, 0.2)], fits=("ridge",))
    assert first.ndcg_10 != ridge.ndcg_10


def test_the_curves_on_the_command_line(
    folder: Path, cache: StoreCache, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = lines_of(folder, cache, capsys, "--simulation", "--questions", "1")
    assert len(rows) == len(SPREADS) * len(FITS)
    assert {"ndcg_10@3", "ndcg_10@20", "recall_10@20", "fit_ms"} <= set(header.split())


def test_a_set_that_is_missing_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(tmp_path), "--local", "--sets", "none", "--embedder", "hash"]
    assert lattice.main([*asked, "--store-cache", str(tmp_path / "cache")]) == 2
    assert "none" in capsys.readouterr().err


def test_the_floors_of_the_tree(
    folder: Path, cache: StoreCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert floors_tree.tree_thresholds(folder.parent, ["topics"], cache, log=print) == []
    monkeypatch.setattr(floors_tree, "SETS", ("topics",))
    monkeypatch.setattr(floors_tree, "_SEEDS", 2)
    said: list[str] = []
    found = floors_tree.tree_thresholds(folder.parent, ["topics", "other"], cache, log=said.append)
    assert [one.set for one in found] == ["topics"] * 3 + ["made-up slates"] * 3
    assert all(one.reached for one in found[4:]), found
    hybrid = next(line for line in said if "hybrid" in line)
    assert f"vs {hybrid.split('@10 ')[1].split(',')[0]}" in found[0].what
    assert len(said) == 4 + 2 * TREES + len(FITS)


def test_the_thresholds_of_tree_search_are_unchanged() -> None:
    assert (floors_tree.FUSED_LOSS, floors_tree.GROWN_LOSS) == (0.5, 2.0)
    assert (floors_tree.CALIBRATED_LEAD, floors_tree.FASTER) == (3.0, 5.0)
    assert set(floors_tree.SETS) == set(floors_graph.GRAPH_RECALL_AT_5)
