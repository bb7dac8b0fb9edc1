"""The node that searches the tree: what it adds, what ends it, and that nothing found is lost."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langgraph.graph import END, START
from support.agents import (
    CHAIN,
    QUESTION,
    Around,
    make_chain,
    no_waiting,
    nodes_of,
    open_chain,
    over,
    page,
    reading,
    recording_lines,
    said,
)
from support.tree import plant

from hoptrail.agents import Budget, Receipt, RunSettings, TreeSearchSettings, ask, nodes, replay
from hoptrail.agents.corpus import live_tree
from hoptrail.agents.corpus.live_tree import Trees
from hoptrail.agents.corpus.protocol import Stand, TreeStart
from hoptrail.agents.events import Event, SlatesScored, StepStarted, TreeOpened
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.types import AttemptFailed, ChatRequest
from hoptrail.agents.nodes.tree_navigator import navigate
from hoptrail.agents.strategies import registry as strategies
from hoptrail.agents.strategies.graph import RunGraph, Strategy, add_nodes
from hoptrail.agents.types import SlateRecord
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import StoreBusy, StoreDamaged, TreeMismatch
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.search.types import Opened
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import Tree
from hoptrail.rag.tree.view import TreeView, open_view
from hoptrail.rag.types import Where

TOPICS = ("harbour", "violin", "glacier", "enzyme", "senate", "orchard")
WORLD = {
    **CHAIN,
    **{
        f"x{i}": (f"Record {i}", f"Record {i} tells of the {TOPICS[i % 6]} and of number {i}.")
        for i in range(40)
    },
}
NARROW = RunSettings(k=5, navigate=TreeSearchSettings(iterations=4, seeds=2))


@pytest.fixture(scope="module")
def documents() -> Mapping[str, tuple[str, str]]:
    return WORLD


@pytest.fixture(scope="module", autouse=True)
def planted(store: Path) -> None:
    """The shared store has a tree before any test opens it."""
    plant(store)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    no_waiting(monkeypatch)


def lattice(library: KnowledgeBase, question: str = QUESTION, **options: Any) -> Receipt:  # noqa: ANN401
    return ask(question, library, strategy="lattice", **{"settings": NARROW, **options})


def slates(receipt: Receipt) -> list[SlateRecord]:
    return [slate for step in receipt.steps for slate in step.slates]


def scores_of(request: ChatRequest, score: Callable[[int], object]) -> str:
    assert request.schema is not None
    wanted = request.schema["properties"]["scores"]["properties"]
    return json.dumps({"reasoning": "", "scores": {n: score(int(n)) for n in wanted}})


def grading(score: Callable[[int], object] = lambda n: n, **options: Any) -> Any:  # noqa: ANN401
    """The chain's reader, who scores the n-th of a slate as told."""
    own = {"ScoresForm": lambda request: scores_of(request, score)}
    return reading(by_schema={**own, **options.pop("by_schema", {})}, **options)


def test_the_nodes_of_a_lattice_run_and_its_receipt(library: KnowledgeBase) -> None:
    receipt = lattice(library)
    assert nodes_of(receipt) == ["retrieve", "navigate", "refine", "answer", "verify"]
    assert (receipt.strategy, receipt.rounds, receipt.usage.searches) == ("lattice", 1, 1)
    assert (receipt.stop, receipt.usage.calls) == ("unjudged", 0)
    first, *iterations, last = [step for step in receipt.steps if step.node == "navigate"]
    assert first.action == "opened the tree"
    assert first.detail == f"{len(made_nodes(library)):,} nodes, 48 leaves, 2 seeds"
    assert [step.action for step in iterations] == ["scored"] * len(iterations)
    assert 1 <= len(iterations) <= 4
    assert (last.action, len(last.found)) == ("found", len(set(last.found)))
    opened = [slate.node for slate in slates(receipt)]
    assert len(opened) == len(set(opened))
    for slate in slates(receipt):
        assert len(slate.shown) == len(slate.scores)
        assert 0 <= slate.anchors < len(slate.shown)
        assert all(score is not None and 0 <= score <= 1 for score in slate.scores)
        assert (slate.failed, slate.uses) == (False, ())
        tree = library_tree(library)
        children = tree.nodes[slate.node].rows if slate.leaves else tree.nodes[slate.node].children
        assert slate.shown[: len(slate.shown) - slate.anchors] == children


def library_tree(library: KnowledgeBase) -> Any:  # noqa: ANN401
    assert library.store is not None
    return TreeFile(Layout(root=library.store.root, tenant="default")).load()


def made_nodes(library: KnowledgeBase) -> Sequence[int]:
    return list(library_tree(library).nodes)


def test_what_the_tree_finds_joins_what_the_search_found(library: KnowledgeBase) -> None:
    cheap = ask(QUESTION, library, strategy="single", settings=NARROW)
    receipt = lattice(library)
    ids = [candidate.passage_id for candidate in receipt.candidates]
    assert {c.passage_id for c in cheap.candidates} < set(ids)
    assert len(ids) == len(set(ids))
    scores = [candidate.score for candidate in receipt.candidates]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert scores[-1] >= 0
    assert receipt.steps[-4].found[0] in ids
    by_tree = [c for c in receipt.candidates if c.passage_id not in
               {one.passage_id for one in cheap.candidates}]  # fmt: skip
    assert by_tree
    assert all((c.own, c.round, c.query) == (0.0, 1, QUESTION) for c in by_tree)


def wire_escalating(graph: RunGraph) -> None:
    """Search and read; then, whatever that gave, the tree."""
    add_nodes(
        graph, nodes.retrieve, nodes.refine, navigate, nodes.answer, nodes.verify, nodes.receipt
    )
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges(
        "refine", lambda state: "answer" if any(s.slates for s in state.steps) else "navigate",
        ["answer", "navigate"],
    )  # fmt: skip
    graph.add_edge("navigate", "refine")
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)


def test_a_strategy_escalates_to_the_tree_by_an_edge(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    escalating = Strategy(name="escalating", wire=wire_escalating)
    monkeypatch.setattr(strategies, "STRATEGIES", {"escalating": escalating})
    receipt = ask(QUESTION, library, strategy="escalating", settings=NARROW)
    assert nodes_of(receipt) == ["retrieve", "refine", "navigate", "refine", "answer", "verify"]
    read = [step.detail for step in receipt.steps if step.node == "refine"]
    assert len(read) == 2
    assert all(detail.startswith("read 5 passages") for detail in read)


def test_events_tell_the_tree_and_every_iteration(library: KnowledgeBase) -> None:
    events: list[Event] = []
    receipt = lattice(library, on_event=events.append)
    assert [e.node for e in events if isinstance(e, StepStarted)] == [
        "retrieve", "navigate", "refine", "answer", "verify", "receipt",
    ]  # fmt: skip
    assert [e for e in events if isinstance(e, TreeOpened)] == [
        TreeOpened(nodes=len(made_nodes(library)), leaves=48, built=False)
    ]
    told = [e for e in events if isinstance(e, SlatesScored)]
    assert [e.iteration for e in told] == list(range(1, len(told) + 1))
    assert [slate for e in told for slate in e.slates] == slates(receipt)
    assert all(e.best and "\n" not in e.best for e in told)


def test_a_model_scores_every_slate_of_an_iteration_side_by_side(library: KnowledgeBase) -> None:
    endpoint = grading()
    receipt = lattice(library, model=endpoint, settings=RunSettings(
        k=5, navigate=TreeSearchSettings(iterations=5, seeds=0, patience=0)))  # fmt: skip
    asked = [r for r in endpoint.requests if r.schema_name == "ScoresForm"]
    assert len(asked) == 1 + 2 * 4  # 1 + beam · (iterations - 1)
    assert len(slates(receipt)) == len(asked)
    uses = [use for slate in slates(receipt) for use in slate.uses]
    assert [use.role for use in uses] == ["slate"] * len(asked)
    of_steps = [step.use for step in receipt.steps if step.use is not None]
    spent = sum(use.prompt_tokens + use.completion_tokens for use in (*uses, *of_steps))
    assert spent == receipt.usage.tokens
    assert receipt.usage.calls == len(asked) + 1  # the answer
    assert receipt.fallbacks == 0
    scored = [step for step in receipt.steps if step.slates]
    assert all(re.fullmatch(r"iteration \d: .+ scored, [\d,]+ tokens", s.detail) for s in scored)
    root = slates(receipt)[0]
    assert root.scores == tuple(n / 100 for n in range(1, len(root.shown) + 1))


def test_what_is_left_open_is_decided_before_the_run() -> None:
    alone, served = (RunSettings().resolved("graph", served=served) for served in (False, True))
    assert (alone.mode, alone.navigate) == ("graph", TreeSearchSettings())
    assert served.navigate == TreeSearchSettings(iterations=8, stretched=True)
    told = RunSettings(mode="dense", navigate=TreeSearchSettings(beam=1))
    assert told.resolved("graph", served=True) == told


def test_missing_scores_are_asked_for_once_and_then_not_there(library: KnowledgeBase) -> None:
    endpoint = grading(lambda n: "no idea" if n == 1 else 40)
    receipt = lattice(library, model=endpoint, budget=Budget(calls=60, tokens=200_000))
    assert receipt.stop == "unjudged"
    for slate in slates(receipt):
        assert slate.scores[0] is None
        assert set(slate.scores[1:]) == {0.4}
        assert not slate.failed
        assert [(use.attempts, use.failure) for use in slate.uses] == [(1, ""), (1, "")]
    asked = [said(r) for r in endpoint.requests if r.schema_name == "ScoresForm"]
    assert sum("Score only 1." in text for text in asked) == len(slates(receipt))
    assert len(asked) == 2 * len(slates(receipt))


def test_garbage_for_every_slate_leaves_the_cheap_hits(library: KnowledgeBase) -> None:
    endpoint = grading(by_schema={"ScoresForm": lambda _: "I would rather not."})
    receipt = lattice(library, model=endpoint)
    cheap = ask(QUESTION, library, strategy="single", model=reading(), settings=NARROW)
    assert slates(receipt)
    assert all(slate.failed and set(slate.scores) == {None} for slate in slates(receipt))
    # A node that failed three times is not opened again: the root and two seeds' nodes.
    opened = [slate.node for slate in slates(receipt)]
    assert max(opened.count(node) for node in opened) <= 3
    assert receipt.candidates == cheap.candidates
    assert (receipt.answer, receipt.evidence) == (cheap.answer, cheap.evidence)
    assert receipt.fallbacks == 0


@pytest.mark.parametrize("calls", range(1, 9))
def test_a_budget_that_ends_gives_what_was_found_until_then(
    library: KnowledgeBase, calls: int
) -> None:
    endpoint = grading()
    receipt = lattice(library, model=endpoint, budget=Budget(calls=calls))
    assert receipt.usage.calls <= calls
    assert receipt.candidates
    assert receipt.evidence
    assert receipt.stop in ("out_of_calls", "unjudged")
    scored = [slate for slate in slates(receipt) if not slate.failed]
    # A part is kept for reading and answering.
    assert len(scored) <= calls - -(-calls // 4)
    if calls >= 4:
        assert scored
    if receipt.stop == "out_of_calls":
        last = [step for step in receipt.steps if step.action == "found"][-1]
        assert last.detail.startswith("budget: ")


def test_a_tree_search_ends_when_the_tokens_are_spent(library: KnowledgeBase) -> None:
    receipt = lattice(library, model=grading(), budget=Budget(tokens=3_000))
    assert (receipt.stop, receipt.usage.tokens <= 3_000) == ("out_of_tokens", True)
    assert receipt.candidates


def test_a_server_that_goes_away_ends_the_search(library: KnowledgeBase) -> None:
    count = 0

    def fails(request: ChatRequest) -> Any:  # noqa: ANN401
        nonlocal count
        count += 1
        return scores_of(request, lambda n: n) if count < 3 else AttemptFailed("connection", "gone")

    receipt = lattice(library, model=grading(by_schema={"ScoresForm": fails}))
    assert receipt.stop == "model_unavailable"
    assert any(not slate.failed for slate in slates(receipt))
    assert receipt.evidence
    assert receipt.extractive


class Doors(Around):
    """A corpus whose tree doors can be made to fail."""

    start_fails: Exception | None = None
    open_fails_at = 10**9
    open_fails: Exception = TimeoutError()
    opened = 0

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        if self.start_fails is not None:
            raise self.start_fails
        return await super().tree_start(query, found, k=k, where=where, timeout=timeout)

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        self.opened += 1
        if self.opened >= self.open_fails_at:
            raise self.open_fails
        return await super().tree_open(query, nodes, stand=stand, where=where, timeout=timeout)


def test_a_deadline_at_the_tree_brings_the_cheap_hits(library: KnowledgeBase) -> None:
    cheap = ask(QUESTION, library, strategy="single", settings=NARROW)
    doors = Doors(library.corpus)
    doors.start_fails = TimeoutError("slow")
    receipt = lattice(over(library, doors))
    assert (receipt.stop, receipt.candidates) == ("out_of_time", cheap.candidates)
    assert receipt.evidence == cheap.evidence
    assert receipt.outcome.kind == "partial"


@pytest.mark.parametrize("at", [1, 3])
def test_a_deadline_in_the_tree_keeps_what_was_found(library: KnowledgeBase, at: int) -> None:
    doors = Doors(library.corpus)
    doors.open_fails_at = at
    receipt = lattice(over(library, doors))
    assert receipt.stop == "out_of_time"
    assert len([step for step in receipt.steps if step.slates]) == at - 1
    assert receipt.steps[at + 1].action == "found"
    assert receipt.evidence


def test_a_cancelled_search_keeps_what_was_found(library: KnowledgeBase) -> None:
    cancel = asyncio.Event()

    def heard(event: Event) -> None:
        if isinstance(event, SlatesScored) and event.iteration == 2:
            cancel.set()

    receipt = lattice(library, cancel=cancel, on_event=heard)
    assert receipt.stop == "cancelled"
    assert len([step for step in receipt.steps if step.slates]) == 2
    found = [step for step in receipt.steps if step.action == "found"]
    assert found[0].detail.startswith("cancelled: ")
    assert receipt.candidates


def test_no_search_left_is_no_tree_search(library: KnowledgeBase) -> None:
    doors = Doors(library.corpus)

    class Late(Doors):
        async def search(self, query: str, **options: Any) -> Any:  # noqa: ANN401
            raise TimeoutError

    doors = Late(library.corpus)
    receipt = lattice(over(library, doors))
    assert (receipt.stop, doors.opened) == ("out_of_time", 0)
    assert "navigate" not in nodes_of(receipt)


@pytest.mark.parametrize("model", [False, True])
def test_a_run_is_replayed_without_store_or_model(
    library: KnowledgeBase, tmp_path: Path, model: bool
) -> None:
    path = tmp_path / "run.jsonl"
    receipt = lattice(library, model=grading() if model else None, record=path)
    again = replay(path)
    assert again.same, again.difference
    assert again.receipt.canonical() == receipt.canonical()
    kinds = {line.get("call") for line in recording_lines(path)}
    assert {"corpus.tree_start", "corpus.tree_open", "corpus.tree_passages"} <= kinds


def test_a_replay_of_a_cut_search_is_the_same(library: KnowledgeBase, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lattice(library, model=grading(), budget=Budget(calls=7), record=path)
    again = replay(path)
    assert again.same, again.difference


def test_a_filter_holds_in_the_tree(library: KnowledgeBase) -> None:
    receipt = lattice(library, where={"kind": "d2"})
    assert {c.document_id for c in receipt.candidates} == {"d2"}
    assert [len(slate.shown) for slate in slates(receipt)] == [1] * len(slates(receipt))
    nothing = lattice(library, where={"kind": "nobody"})
    assert (nothing.candidates, slates(nothing)) == ((), [])
    assert nothing.outcome.reason == "nothing_found"


def test_over_documents_a_leaf_stands_for_its_nearest_passage(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "store", WORLD)
    plant(store, "documents")
    with open_chain(store) as library:
        receipt = lattice(library)
        assert {c.document_id for c in receipt.candidates} > {"d1"}
    with Store.open(store) as opened:
        trees = Trees(opened, HashEmbedder())
        trees.start(QUESTION, [], k=0, where={})
        rows = StoreLeaves(opened, "documents").rows().tolist()
        found = trees.passages(QUESTION, [rows[0], 10**6])
        assert found[0] is not None
        assert found[0].document_id == "d1"
        assert found[1] is None


def test_a_missing_tree_is_built_and_kept_and_said(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "store", WORLD)
    events: list[Event] = []
    with open_chain(store) as library:
        receipt = lattice(library, on_event=events.append)
        again = lattice(library)
    actions = [step.action for step in receipt.steps if step.node == "navigate"]
    assert actions[0] == "built a tree without a model"
    (opened,) = (event for event in events if isinstance(event, TreeOpened))
    assert (opened.built, opened.leaves) == (True, len(WORLD))
    assert again.steps[1].action == "opened the tree"
    with open_chain(store) as library:
        later = lattice(library)
    assert later.steps[1].action == "opened the tree"
    assert later.steps[2:] == again.steps[2:]


def test_while_somebody_builds_one_a_tree_of_the_moment_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_chain(tmp_path / "store")
    monkeypatch.setattr(TreeFile, "building", busy)
    with open_chain(store) as library:
        receipt = lattice(library)
        again = lattice(library)
    assert receipt.steps[1].action == "built a tree without a model"
    assert again.steps[1].action == "opened the tree"
    assert not TreeFile(Layout(root=store, tenant="default")).exists()


def test_a_tree_that_somebody_else_has_just_built_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_chain(tmp_path / "store")
    building = TreeFile.building

    def after_theirs(self: TreeFile, wait: float = 0.0) -> Any:  # noqa: ANN401
        plant(store, model="theirs")
        return building(self, wait)

    monkeypatch.setattr(TreeFile, "building", after_theirs)
    with open_chain(store) as library:
        receipt = lattice(library)
        assert library_tree(library).spec.model == "theirs"
    assert receipt.steps[1].action == "opened the tree"


def busy(self: TreeFile, wait: float = 0.0) -> Any:  # noqa: ANN401
    raise StoreBusy("somebody builds")


def test_an_empty_store_has_nothing_to_navigate(tmp_path: Path) -> None:
    with open_chain(make_chain(tmp_path / "store", {})) as library:
        receipt = lattice(library)
    assert (receipt.outcome.reason, slates(receipt)) == ("nothing_found", [])


def test_a_tree_older_than_its_store_is_caught_up(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "store", WORLD)
    plant(store)
    with open_chain(store) as library:
        before = lattice(library)
        assert library.store is not None
        title, text = "Heron (bird)", "The Heron of Tarn Hollow is a bird that nests by water."
        library.store.commit([page("new", title, text)], ["d1"])
        after = lattice(library)
    assert before.steps[1].detail.split(", ")[1] == after.steps[1].detail.split(", ")[1]
    assert {"d1", "new"} & {c.document_id for c in before.candidates} == {"d1"}
    assert {"d1", "new"} & {c.document_id for c in after.candidates} == {"new"}


def test_a_store_that_moves_under_a_search_changes_nothing_of_the_nodes_it_knows(
    tmp_path: Path,
) -> None:
    store = make_chain(tmp_path / "store", WORLD)
    plant(store)
    with Store.open(store) as opened:
        trees = Trees(opened, HashEmbedder())
        start = trees.start(QUESTION, [], k=0, where={})
        before = trees.open(QUESTION, [0], stand=start.stand, where={})
        opened.commit([], [f"x{i}" for i in range(30)])
        trees.prepare()
        trees.start(QUESTION, [], k=0, where={})
        assert trees.open(QUESTION, [0], stand=start.stand, where={}) == before
        fresh = Trees(opened, HashEmbedder())
        late = fresh.open(QUESTION, [0, 10**6], stand=start.stand, where={})
        assert [(one.node, bool(one.items)) for one in late] == [(0, True), (10**6, False)]


def test_a_tree_of_another_embedder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "store")
    plant(store, embedder="other")
    with open_chain(store) as library, pytest.raises(TreeMismatch, match="hoptrail tree build"):
        lattice(library)


def test_a_broken_tree_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "store")
    Layout(root=store, tenant="default").tree.write_bytes(b"no database" * 999)
    with open_chain(store) as library, pytest.raises(StoreDamaged, match="hoptrail tree build"):
        lattice(library)


def test_views_under_many_filters_do_not_pile_up(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Where] = []

    def counted(opened: Store, tree: Tree, where: Where) -> TreeView:
        made.append(where)
        return open_view(opened, tree, where)

    monkeypatch.setattr(live_tree, "open_view", counted)
    with Store.open(store) as opened:
        trees = Trees(opened, HashEmbedder())
        stands = {trees.start("q", [], k=0, where={"kind": f"x{i}"}).stand for i in range(20)}
        assert len(stands) == 1
        (stand,) = stands
        assert len(made) == 20
        trees.open("q", [0], stand=stand, where={"kind": "x19"})
        trees.open("q", [0], stand=stand, where={"kind": "x12"})
        assert len(made) == 20  # the last eight are kept, the ninth is made anew
        trees.open("q", [0], stand=stand, where={"kind": "x11"})
        assert made[20:] == [{"kind": "x11"}]
        (first,) = trees.open("q", [0], stand=stand, where={"kind": "x0"})
        assert sum(item.count for item in first.items) == 1
        vector = HashEmbedder().embed(["q"], "query")[0]
        assert np.isclose(np.linalg.norm(vector), 1, atol=1e-3)
