"""However a run ends, its receipt comes: nodes and reads that hang, an embedder that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from support.agents import QUESTION, Around, open_chain, over

from hoptrail.agents import Budget, KnowledgeBase, RunSettings, Strategy, ask, nodes, replay
from hoptrail.agents.nodes import state as state_module
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.strategies import graph as graph_module
from hoptrail.agents.strategies.graph import RunGraph, add_nodes
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.types import Mode, Passage, Ranking, Where

FOREVER = 3_600.0


class WithoutEmbedder(Around):
    """A corpus whose embedder fails from a certain call on."""

    def __init__(self, *arguments: Any, healthy: int = 0) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.left = healthy
        self.asked = 0

    def _embed(self) -> None:
        self.asked += 1
        self.left -= 1
        if self.left < 0:
            raise EmbedderError("The embeddings server is down: start it.")

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        if mode != "lexical":
            self._embed()
        return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        self._embed()
        return await super().similarity(query, texts, timeout=timeout)

    async def tree_start(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        self._embed()
        return await super().tree_start(*arguments, **options)


class Hanging(Around):
    """A corpus whose named read never comes back; it keeps no deadline of its own."""

    method = ""

    async def passages(self, ids: Sequence[str], *, timeout: float) -> tuple[Passage | None, ...]:
        await self._hang("passages")
        return await super().passages(ids, timeout=timeout)

    async def slice(self, document_id: str, start: int, end: int, *, timeout: float) -> str | None:
        await self._hang("slice")
        return await super().slice(document_id, start, end, timeout=timeout)

    async def generation(self, *, timeout: float) -> int:
        await self._hang("generation")
        return await super().generation(timeout=timeout)

    async def _hang(self, method: str) -> None:
        if method == self.method:
            await asyncio.sleep(FOREVER)


@pytest.mark.parametrize("strategy", ["pool", "single", "lattice"])
@pytest.mark.parametrize("healthy", [0, 1, 2])
def test_when_the_embedder_fails_the_search_goes_on_by_words_and_says_so_once(
    library: KnowledgeBase, tmp_path: Path, strategy: str, healthy: int
) -> None:
    path = tmp_path / "run.jsonl"
    corpus = WithoutEmbedder(library.corpus, healthy=healthy)
    receipt = ask(QUESTION, over(library, corpus), strategy=strategy, record=path)
    assert receipt.evidence
    said = [flag for flag in receipt.flags if "embedder" in flag]
    steps = [step for step in receipt.steps if "embed" in step.action]
    assert bool(said or steps) == (corpus.left < 0), "`single` asks the embedder twice only"
    assert len(said) <= 1
    assert all("is down: start it" in text for text in said)
    again = replay(path)
    assert again.same, again.difference


def test_an_embedder_that_failed_is_not_asked_again_in_the_run(library: KnowledgeBase) -> None:
    corpus = WithoutEmbedder(library.corpus)
    receipt = ask(QUESTION, over(library, corpus), settings=RunSettings(max_queries=1))
    assert receipt.rounds > 1
    assert corpus.asked == 1


@pytest.mark.parametrize("method", ["passages", "slice", "generation"])
def test_a_read_that_hangs_ends_the_run_with_a_receipt_that_says_so(
    library: KnowledgeBase, tmp_path: Path, method: str
) -> None:
    path = tmp_path / "run.jsonl"
    corpus = Hanging(library.corpus)
    corpus.method = method
    receipt = ask(QUESTION, over(library, corpus), budget=Budget(seconds=0.3), record=path)
    assert receipt.stop == "out_of_time"
    assert receipt.claims == ()
    again = replay(path)
    assert again.same, again.difference


def test_evidence_that_could_not_be_checked_is_not_cited(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "READ_GRACE", 0.05)
    monkeypatch.setattr(RunContext, "read_seconds", lambda _: 0.05 if Hanging.method else FOREVER)
    corpus = Hanging(library.corpus)
    whole = ask(QUESTION, over(library, corpus))
    corpus.method = "slice"
    monkeypatch.setattr(Hanging, "method", "slice")
    receipt = ask(QUESTION, over(library, corpus))
    assert whole.evidence
    assert (receipt.evidence, receipt.source_changed) == ((), ())
    assert set(receipt.unchecked) == {item.id for item in whole.evidence}
    assert (receipt.stop, receipt.outcome.reason) == ("out_of_time", "out_of_budget")
    (flag,) = receipt.flags
    assert flag.startswith(f"receipt: {len(whole.evidence)} quotes could not be checked")


@pytest.mark.parametrize("role", ["planner", "refiner", "assessor", "query_writer", "answerer"])
def test_a_role_that_hangs_is_cut_off_and_the_receipt_comes(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr(graph_module, "GRACE_SECONDS", 0.1)

    class Hung:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            async def forever(*_: object) -> None:
                await asyncio.sleep(FOREVER)

            return forever

    def hanging(roles: Roles) -> Roles:
        return replace(roles, **{role: Hung()})

    receipt = ask(QUESTION, library, roles=hanging, budget=Budget(seconds=4.0))
    assert receipt.stop in ("out_of_time", "sufficient")
    assert [step.action for step in receipt.steps].count("cut off") >= 1
    if role in ("assessor", "query_writer"):
        assert receipt.evidence, "what was found before is there"


@pytest.mark.parametrize("keep", [False, True])
def test_a_node_outside_add_nodes_that_hangs_ends_with_a_receipt(
    store: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(graph_module, "GRACE_SECONDS", 0.1)

    async def hang(state: RunState) -> StateUpdate:
        await asyncio.sleep(FOREVER)
        return StateUpdate()

    def wire(graph: RunGraph) -> None:
        add_nodes(graph, nodes.retrieve, nodes.refine)
        graph.add_node("hang", hang)
        graph.add_edge(START, "retrieve")
        graph.add_edge("retrieve", "refine")
        graph.add_edge("refine", "hang")
        graph.add_edge("hang", END)

    with open_chain(store, keep=keep) as library:
        hung = Strategy(name="hung", wire=wire)
        receipt = ask(QUESTION, library, strategy=hung, budget=Budget(seconds=0.5))
        assert receipt.stop == "out_of_time"
        assert bool(receipt.evidence) == keep, "a checkpoint knows what was found"
        assert library.unfinished_runs() == []
