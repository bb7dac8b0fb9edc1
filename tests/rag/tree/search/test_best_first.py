"""The search of a tree: what it opens, asks and finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.search import best_first
from hoptrail.rag.tree.search.best_first import LEADS, MOST_FAILURES, TreeSearch, run_search
from hoptrail.rag.tree.search.calibration import mean
from hoptrail.rag.tree.search.types import (
    Item,
    Opened,
    Ref,
    Seed,
    Slate,
    SlateScorer,
    SlateScores,
    TreeSearchSettings,
)
from hoptrail.rag.tree.types import ROOT


class World:
    """A tree of a shape alone, whose leaves have a true relevance.

    Runs of `fanout` leaves stand below one node, runs of such nodes below the next, and so on.
    """

    def __init__(
        self, leaves: int, fanout: int, seed: int = 0, truth: Mapping[int, float] | None = None
    ) -> None:
        beta = np.random.default_rng(seed).beta(0.6, 3, leaves)
        self.truth = dict(enumerate(beta.tolist())) if truth is None else truth
        self.below: dict[int, tuple[Ref, ...]] = {}
        self.parent: dict[Ref, int] = {}
        self.worth: dict[Ref, float] = {}
        """Of the best leaf below."""
        self.count: dict[Ref, int] = {}
        layer = [self._leaf(row) for row in range(leaves)]
        while len(layer) > fanout:
            runs = [layer[at : at + fanout] for at in range(0, len(layer), fanout)]
            layer = [self._hung(len(self.below) + 1, run) for run in runs]
        self._hung(ROOT, layer)

    def _leaf(self, row: int) -> Ref:
        ref = Ref(leaf=True, number=row)
        self.worth[ref], self.count[ref] = self.truth.get(row, 0.0), 1
        return ref

    def _hung(self, node: int, children: Sequence[Ref]) -> Ref:
        ref = Ref(leaf=False, number=node)
        self.below[node] = tuple(children)
        self.parent |= dict.fromkeys(children, node)
        self.worth[ref] = max(self.worth[child] for child in children)
        self.count[ref] = sum(self.count[child] for child in children)
        return ref

    def path(self, node: int) -> tuple[int, ...]:
        found = [node]
        while found[-1] != ROOT:
            found.append(self.parent[Ref(leaf=False, number=found[-1])])
        return tuple(reversed(found))

    def home(self, row: int) -> int:
        return self.parent[Ref(leaf=True, number=row)]

    def depth(self) -> int:
        """Edges from the root to a leaf."""
        return len(self.path(self.home(0)))

    def item(self, ref: Ref) -> Item:
        return Item(ref=ref, text=str(ref), count=self.count[ref], likeness=self.worth[ref] / 2)

    def open(self, numbers: Sequence[int]) -> tuple[Opened, ...]:
        return tuple(
            Opened(node=number, items=tuple(map(self.item, self.below[number])))
            for number in numbers
        )

    def seed(self, row: int, prior: float = 1.0) -> Seed:
        path = self.path(self.home(row))
        return Seed(path=path, rows=(row,), prior=prior, likeness=0.0)


def perfect(world: World) -> SlateScorer:
    return scoring(lambda _, item: world.worth[item.ref])


def scoring(score: Callable[[Slate, Item], float | None]) -> SlateScorer:
    """None: no score."""

    def answer(slate: Slate) -> SlateScores:
        given = {place: score(slate, item) for place, item in enumerate(slate.shown)}
        return SlateScores(
            scores={place: value for place, value in given.items() if value is not None}
        )

    return lambda slates: [answer(slate) for slate in slates]


def noisy(world: World, *, bias: float = 0.15, noise: float = 0.1, seed: int = 0) -> SlateScorer:
    """Truth + one bias a slate + noise, clipped, in hundredths: as a model scores."""
    random = np.random.default_rng(seed)

    def grade(slates: Sequence[Slate]) -> list[SlateScores]:
        found = []
        for slate in slates:
            true = np.array([world.worth[item.ref] for item in slate.shown])
            off = random.normal(0, bias) + random.normal(0, noise, len(true))
            scores = np.clip(true + off, 0, 1).round(2)
            found.append(SlateScores(scores=dict(enumerate(scores.tolist()))))
        return found

    return grade


def refusing(world: World, nodes: Collection[int]) -> SlateScorer:
    """Perfect but for some nodes, whose slates fail."""
    grade = perfect(world)

    def answer(slates: Sequence[Slate]) -> list[SlateScores]:
        given = zip(slates, grade(slates), strict=True)
        return [SlateScores(scores={}, failed=True) if s.node in nodes else g for s, g in given]

    return answer


PLAIN = TreeSearchSettings(patience=0, explore_every=0, alpha=0.5)
SMALL = World(216, 6)
"""Three layers of nodes below which 6 leaves stand each: 1, 6, 36."""


def opened(search: TreeSearch) -> list[int]:
    return [expansion.node for step in search.steps() for expansion in step]


@pytest.mark.parametrize("gold", [0, 4321, 9999])
def test_a_perfect_scorer_finds_the_gold_leaf_of_ten_thousand_within_depth_expansions(
    gold: int,
) -> None:
    """Acceptance check 1 of LATTICE."""
    world = World(10_000, 14, truth={gold: 1.0})
    found = run_search(
        TreeSearch(replace(PLAIN, beam=1, iterations=world.depth())), world.open, perfect(world)
    )
    assert found.leaves[0].row == gold
    assert found.calls == world.depth() == 4


@pytest.mark.parametrize("seed", range(3))
def test_by_default_a_perfect_scorer_finds_the_best_leaf_in_as_many_iterations_as_layers(
    seed: int,
) -> None:
    world = World(10_000, 14, seed)
    best = max(world.truth, key=world.truth.__getitem__)
    found = run_search(
        TreeSearch(TreeSearchSettings(iterations=world.depth())), world.open, perfect(world)
    )
    assert best in {leaf.row for leaf in found.leaves[:3]}


@given(
    beam=st.integers(1, 5),
    iterations=st.integers(1, 10),
    explore=st.integers(0, 4),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=25)
def test_calls_are_one_and_a_beam_for_each_further_iteration(
    beam: int, iterations: int, explore: int, seed: int
) -> None:
    """Where the frontier never runs short, nothing is seeded, and answers are whole."""
    changed = replace(PLAIN, beam=beam, iterations=iterations, explore_every=explore, seed=seed)
    found = run_search(TreeSearch(changed), BROAD.open, noisy(BROAD, seed=seed))
    assert found.calls == 1 + beam * (iterations - 1)
    assert (found.re_asks, found.ended, len(found.steps)) == (0, "iterations", iterations)


BROAD = World(1200, 6)


@given(share=st.floats(0.2, 1), broken=st.floats(0, 0.5), barren=st.floats(0, 0.5), data=st.data())
@settings(deadline=None, max_examples=40)
def test_whatever_is_answered_it_ends_within_its_calls_and_finds_only_what_was_scored(
    share: float, broken: float, barren: float, data: st.DataObject
) -> None:
    settings_ = TreeSearchSettings(
        beam=data.draw(st.integers(1, 4)),
        iterations=data.draw(st.integers(1, 15)),
        explore_every=data.draw(st.integers(0, 3)),
        patience=data.draw(st.integers(0, 5)),
    )
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    seeds = [SMALL.seed(row) for row in data.draw(st.sampled_from([(), (0,), (7, 100)]))]
    scored: dict[int, int] = {}

    def grade(slates: Sequence[Slate]) -> list[SlateScores]:
        answers = []
        for slate in slates:
            fails = random.random() < broken
            places = [] if fails else np.flatnonzero(random.random(len(slate.shown)) < share)
            scores = {int(place): float(random.integers(0, 101)) / 100 for place in places}
            answers.append(SlateScores(scores=scores, failed=fails))
            for place in scores:
                if place < len(slate.items) and slate.leaves:
                    scored.setdefault(slate.items[place].ref.number, place)
        return answers

    def open_(numbers: Sequence[int]) -> list[Opened]:
        return [found for found in SMALL.open(numbers) if random.random() >= barren]

    found = run_search(TreeSearch(settings_, seeds), open_, grade)
    rows = [leaf.row for leaf in found.leaves]
    assert len(rows) == len(set(rows)) <= found.looked
    assert set(rows) <= set(scored)
    assert all(0 <= leaf.relevance <= 1 for leaf in found.leaves)
    assert found.calls <= settings_.beam * settings_.iterations + found.re_asks
    assert found.calls == sum(expansion.calls for step in found.steps for expansion in step)
    assert len(found.steps) <= settings_.iterations
    taken = [expansion.node for step in found.steps for expansion in step if not expansion.failed]
    assert len(taken) == len(set(taken))


def test_equal_answers_make_equal_searches() -> None:
    def run(seed: int) -> object:
        search = TreeSearch(TreeSearchSettings(seed=seed), [BROAD.seed(5)])
        return run_search(search, BROAD.open, noisy(BROAD, seed=1))

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_a_node_stands_for_its_parent_and_itself_by_alpha() -> None:
    world = World(36, 6, truth={0: 0.8})
    search = TreeSearch(replace(PLAIN, alpha=0.25, beam=1, iterations=2), calibrate=mean)
    found = run_search(search, world.open, perfect(world))
    node = 0.25 * 1 + 0.75 * 0.8
    assert found.steps[1][0].standing == pytest.approx(node)
    assert found.leaves[0].relevance == pytest.approx(0.25 * node + 0.75 * 0.8)
    assert found.leaves[-1].relevance == pytest.approx(0.25 * node)


@pytest.mark.parametrize(("best", "counted"), [(0.8, 1.0), (0.09, 0.09), (0.0, 0.0)])
def test_stretched_the_best_item_counts_as_one_unless_nothing_is_worth_much(
    best: float, counted: float
) -> None:
    world = World(36, 6, truth={0: best})
    settings = replace(PLAIN, alpha=0.0, beam=1, iterations=2, stretched=True)
    found = run_search(TreeSearch(settings, calibrate=mean), world.open, perfect(world))
    assert found.leaves[0].relevance == pytest.approx(counted)
    assert found.leaves[-1].relevance == 0.0


def test_what_is_worth_less_than_the_threshold_does_not_profit_from_its_parent() -> None:
    world = World(36, 6, truth={0: 0.8, 1: 0.3})
    search = TreeSearch(replace(PLAIN, beam=1, iterations=2, prune_below=0.5), calibrate=mean)
    found = run_search(search, world.open, perfect(world))
    assert [leaf.relevance for leaf in found.leaves[:3]] == pytest.approx([0.85, 0.3, 0.0])


def test_leaves_of_equal_standing_stand_in_no_order_of_their_rows() -> None:
    world = World(12, 12, truth={})
    found = run_search(TreeSearch(PLAIN), world.open, scoring(lambda *_: 0.5))
    rows = [leaf.row for leaf in found.leaves]
    assert sorted(rows) == list(range(12))
    assert rows not in (sorted(rows), sorted(rows, reverse=True))


def test_leaf_slates_show_leaves_scored_before_and_inner_ones_the_best_sibling() -> None:
    slates: list[Slate] = []
    grade = noisy(SMALL)

    def watched(asked: Sequence[Slate]) -> Sequence[SlateScores]:
        slates.extend(asked)
        return grade(asked)

    search = TreeSearch(replace(PLAIN, leaf_anchors=4))
    run_search(search, SMALL.open, watched)
    first, *inner = [slate for slate in slates if not slate.leaves]
    assert first.anchors == ()
    for slate in inner:
        (anchor,) = slate.anchors
        assert anchor.ref.number in SMALL.path(slate.node)[:1] or (
            SMALL.parent[anchor.ref] == SMALL.parent[Ref(leaf=False, number=slate.node)]
        )
        assert anchor.ref.number != slate.node
    before: set[Ref] = set()
    last = [slate for slate in slates if slate.leaves]
    for slate in last:
        refs = {item.ref for item in slate.anchors}
        assert len(refs) == len(slate.anchors) <= 4
        assert refs <= before
        before |= {item.ref for item in slate.items}
    assert [len(slate.anchors) for slate in last[2:]] == [4] * (len(last) - 2)


def test_slates_carry_the_best_leaves_of_the_iterations_before() -> None:
    search = TreeSearch(replace(PLAIN, iterations=5))
    grade = noisy(SMALL)
    while numbers := search.beam():
        best = search.leaves()[:LEADS]
        slates = search.slates(SMALL.open(numbers))
        for slate in slates:
            leads = [(lead.item.ref.number, lead.relevance) for lead in slate.leads]
            assert leads == [(leaf.row, leaf.relevance) for leaf in best]
        search.take(grade(slates))
    assert len(best) == LEADS


def test_one_expansion_of_four_goes_to_what_is_most_like_the_query() -> None:
    # Scores say the first branch, the embedder says the last.
    world = World(216, 6, truth={215: 1.0})
    grade = scoring(lambda _, item: 0.9 if item.ref.number < 215 else 0.0)
    search = TreeSearch(TreeSearchSettings(beam=1, patience=0, iterations=16, explore_every=4))
    found = run_search(search, world.open, grade)
    reserve = [step[0].node for step in found.steps if step[0].reserve]
    assert [step[0].reserve for step in found.steps] == [False, False, False, True] * 4
    assert reserve[:2] == list(world.path(world.home(215)))[1:3]
    assert 215 in {leaf.row for leaf in found.leaves}


def test_missing_children_are_asked_for_once_more_beside_the_same_items() -> None:
    search = TreeSearch(PLAIN)
    (slate,) = search.slates(SMALL.open(search.beam()))
    (again,) = search.take([SlateScores(scores={0: 0.2, 1: 0.9})])
    assert again == replace(slate, missing=tuple(item.ref for item in slate.items[2:]))
    # An answer to what was not asked does not overwrite; what is missing still stays unscored.
    assert search.take([SlateScores(scores={0: 1.0, 2: 0.4})]) == ()
    ((expansion,),) = search.steps()
    assert [mark.score for mark in expansion.items] == [0.2, 0.9, 0.4, None, None, None]
    assert (expansion.calls, expansion.failed) == (2, False)
    search.stop("budget")
    found = search.found()
    assert (found.calls, found.re_asks, found.ended) == (2, 1, "budget")


def test_an_inner_child_without_a_score_is_neither_best_nor_lost() -> None:
    search = TreeSearch(replace(PLAIN, beam=6), calibrate=mean)
    search.slates(SMALL.open(search.beam()))
    search.take([SlateScores(scores={0: 0.2, 1: 0.9, 2: 0.4})])
    search.take([SlateScores(scores={}, failed=True)])
    children = [ref.number for ref in SMALL.below[ROOT]]
    order = search.beam()
    assert order[0] == children[1]
    assert set(order[1:4]) == set(children[3:])
    assert order[4:] == (children[2], children[0])


def test_a_leaf_without_a_score_is_not_found_though_it_was_looked_at() -> None:
    world = World(5, 6)
    grade = scoring(lambda _, item: None if item.ref.number == 3 else 0.0)
    found = run_search(TreeSearch(PLAIN), world.open, grade)
    assert {leaf.row for leaf in found.leaves} == {0, 1, 2, 4}
    assert (found.looked, found.re_asks, found.ended) == (5, 1, "exhausted")


def test_a_node_that_fails_three_times_leaves_the_frontier_and_the_rest_goes_on() -> None:
    bad = SMALL.home(0)
    world = World(216, 6, truth={0: 1.0, 215: 0.9})
    search = TreeSearch(replace(PLAIN, iterations=99))
    found = run_search(search, world.open, refusing(world, {bad}))
    assert opened(search).count(bad) == MOST_FAILURES
    assert found.leaves[0].row == 215
    assert {leaf.row for leaf in found.leaves} == set(range(6, 216))
    assert (found.ended, found.re_asks) == ("exhausted", 0)


def test_a_node_that_failed_as_a_seed_does_not_come_back_with_its_parent() -> None:
    seed = SMALL.seed(0)
    search = TreeSearch(replace(PLAIN, iterations=99), [seed])
    run_search(search, SMALL.open, refusing(SMALL, {seed.path[-1]}))
    assert opened(search).count(seed.path[-1]) == MOST_FAILURES


@pytest.mark.parametrize("bad", [False, True])
def test_a_seed_opened_beside_its_parent_is_not_opened_again(bad: bool) -> None:
    world = World(36, 6)
    seeds = [world.seed(row) for row in (0, 6)]
    search = TreeSearch(replace(PLAIN, beam=3, iterations=99), seeds)
    broken = {world.home(0)} if bad else set()
    run_search(search, world.open, refusing(world, broken))
    once = [node for node in opened(search) if node not in broken]
    assert sorted(once) == sorted(set(world.below) - broken)
    assert opened(search).count(world.home(0)) == (MOST_FAILURES if bad else 1)


def test_a_model_that_never_answers_costs_three_calls() -> None:
    found = run_search(TreeSearch(), SMALL.open, refusing(SMALL, SMALL.below))
    assert (found.calls, found.leaves, found.ended) == (MOST_FAILURES, (), "exhausted")


def test_an_answer_with_scores_for_anchors_alone_is_a_failure_and_is_not_asked_again() -> None:
    search = TreeSearch(PLAIN, [SMALL.seed(0), SMALL.seed(215)])
    search.take(perfect(SMALL)(search.slates(SMALL.open(search.beam()))))
    slates = search.slates(SMALL.open(search.beam()))
    assert all(slate.anchors for slate in slates)
    assert search.take([SlateScores(scores={len(slate.items): 0.5}) for slate in slates]) == ()
    assert all(expansion.failed for expansion in search.steps()[-1])


def test_slates_of_zeros_find_everything_at_no_worth() -> None:
    found = run_search(
        TreeSearch(replace(PLAIN, iterations=99)), SMALL.open, scoring(lambda *_: 0.0)
    )
    assert len(found.leaves) == 216
    assert {leaf.relevance for leaf in found.leaves} == {0.125}  # 1 at the root, halved thrice


def test_a_node_with_nothing_visible_below_costs_neither_call_nor_iteration() -> None:
    hidden = {ref.number for ref in SMALL.below[ROOT][1:]}

    def open_(numbers: Sequence[int]) -> list[Opened]:
        found = SMALL.open(numbers)
        # Both ways to say so: without children, and not there at all.
        return [
            replace(one, items=()) if one.node in hidden else one
            for one in found
            if one.node != max(hidden)
        ]

    found = run_search(TreeSearch(replace(PLAIN, iterations=99)), open_, perfect(SMALL))
    assert {leaf.row for leaf in found.leaves} == set(range(36))
    assert (found.calls, found.ended) == (1 + 1 + 6, "exhausted")
    assert all(found.steps)


def test_seeds_are_opened_beside_the_root_and_their_branch_is_not_opened_twice() -> None:
    seeds = [SMALL.seed(100, 1.0), SMALL.seed(10, 0.9)]
    search = TreeSearch(replace(PLAIN, iterations=99), seeds)
    found = run_search(search, SMALL.open, perfect(SMALL))
    assert [expansion.node for expansion in found.steps[0]] == [ROOT, SMALL.home(100)]
    assert sorted(opened(search)) == sorted(SMALL.below)
    assert len(found.leaves) == 216


def test_a_seed_stands_by_its_prior_and_a_bad_one_pulls_its_leaves_down() -> None:
    world = World(216, 6, truth={100: 0.5})
    search = TreeSearch(
        replace(PLAIN, beam=3, iterations=1), [world.seed(0, 0.9), world.seed(100)], calibrate=mean
    )
    found = run_search(search, world.open, perfect(world))
    assert [expansion.standing for expansion in found.steps[0]] == [1, 1, 0.9]
    relevance = {leaf.row: leaf.relevance for leaf in found.leaves}
    assert relevance[100] == pytest.approx(0.5 * (0.5 * 1 + 0.5 * 0.5) + 0.5 * 0.5)
    assert relevance[0] == pytest.approx(0.5 * (0.5 * 0.9 + 0.5 * 0))


def test_the_search_ends_early_once_its_best_stand_firm_and_nothing_promising_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One branch holds all that is relevant.
    world = World(1296, 6, truth=dict.fromkeys(range(12), 1.0))
    settings_ = TreeSearchSettings(iterations=99, explore_every=0, stable=10, patience=5, alpha=0.2)
    search = TreeSearch(settings_)
    found = run_search(search, world.open, perfect(world))
    assert found.ended == "stable"
    assert found.calls < 20
    assert {leaf.row for leaf in found.leaves[:12]} == set(range(12))
    patient = run_search(
        TreeSearch(replace(settings_, patience=0, iterations=25)), world.open, perfect(world)
    )
    assert patient.ended == "iterations"
    monkeypatch.setattr(best_first, "CALM", 0.0)  # whatever is ahead is promising
    hopeful = run_search(TreeSearch(replace(settings_, iterations=25)), world.open, perfect(world))
    assert hopeful.ended == "iterations"


def test_no_early_stop_before_there_are_as_many_leaves_as_must_stand_firm() -> None:
    world = World(8, 4)
    found = run_search(TreeSearch(TreeSearchSettings(patience=1)), world.open, perfect(world))
    assert found.ended == "exhausted"


def test_a_search_stopped_halfway_keeps_what_was_scored() -> None:
    search = TreeSearch(PLAIN, [SMALL.seed(0)])
    slates = search.slates(SMALL.open(search.beam()))
    leaf = next(place for place, slate in enumerate(slates) if slate.leaves)
    whole = perfect(SMALL)(slates)
    part = [SlateScores(scores={0: 0.7}) if at == leaf else one for at, one in enumerate(whole)]
    assert search.take(part)
    search.stop("cancelled")
    found = search.found()
    assert [leaf.row for leaf in found.leaves] == [0]
    assert (found.ended, found.calls, search.beam()) == ("cancelled", 2, ())


@pytest.mark.parametrize("after", ["nothing", "beam", "slates"])
def test_a_search_stopped_before_any_answer_found_nothing(after: str) -> None:
    search = TreeSearch()
    if after != "nothing":
        numbers = search.beam()
        if after == "slates":
            search.slates(SMALL.open(numbers))
    search.stop("budget")
    found = search.found()
    assert (found.leaves, found.calls, found.looked, found.ended) == ((), 0, 0, "budget")


def test_one_answer_a_slate_is_wanted() -> None:
    search = TreeSearch()
    search.slates(SMALL.open(search.beam()))
    with pytest.raises(ValueError, match="zip"):
        search.take([])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"iterations": 0}, "iterations >= 1, not 0"),
        ({"beam": 0}, "beam >= 1"),
        ({"stable": 0}, "stable >= 1"),
        ({"leaf_anchors": -1}, "leaf_anchors >= 0"),
        ({"alpha": 1.5}, "alpha in 0..1, not 1.5"),
        ({"alpha": float("nan")}, "alpha in 0..1"),
        ({"prune_below": -0.1}, "prune_below in 0..1"),
        ({"calibration": "adam"}, "'adam': choose one of last, mean, ridge"),
    ],
)
def test_settings_that_no_search_can_have_are_refused(
    changed: Mapping[str, object], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        TreeSearchSettings(**changed)  # type: ignore[arg-type]
