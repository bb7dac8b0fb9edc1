"""The trials of a model: strategies, search modes and baselines, asked the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.runs.request import RunSettings
from hoptrail.agents.strategies.graph import RunGraph, Strategy, add_nodes
from hoptrail.agents.types import Candidate, ClaimsBy, ReadPassage
from hoptrail.evals.datasets.types import Question
from hoptrail.rag.types import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One row of the table: a strategy with its settings."""

    name: str
    strategy: str | Strategy
    settings: RunSettings = field(default_factory=RunSettings)
    served: bool = True
    """Whether the model plays the roles; False: the local players, as a baseline."""


def trials(questions: Mapping[str, Question]) -> tuple[Trial, ...]:
    """All trials, baselines first.

    Args:
        questions: by their text; the baseline of gold passages looks its passages up there.
    """
    gold = Strategy(name="naive-gold", wire=partial(_wire_gold, questions))
    return (
        Trial(name="no model", strategy="pool", served=False),
        _with("naive hybrid", "naive", "hybrid"),
        _with("naive graph", "naive", "graph"),
        Trial(name="naive gold", strategy=gold),
        _with("single graph", "single", "graph"),
        _with("single graph, claims", "single", "graph", claims_by="model"),
        _with("iter-retgen graph", "iter-retgen", "graph"),
        _with("iter-retgen graph, claims", "iter-retgen", "graph", claims_by="model"),
        _with("pool graph", "pool", "graph"),
    )


def _with(name: str, strategy: str, mode: Mode, *, claims_by: ClaimsBy = "code") -> Trial:
    """A strategy in a search mode, and who finds the claims of its answers."""
    settings = RunSettings(mode=mode, claims_by=claims_by)
    return Trial(name=name, strategy=strategy, settings=settings)


def _wire_gold(questions: Mapping[str, Question], graph: RunGraph) -> None:
    """Gold passages → answer briefly → receipt: what the model reads, were the search perfect."""

    async def gold(state: RunState, run: RunContext) -> StateUpdate:
        """Question → the passages of its supporting documents."""
        wanted = questions[state.question].supporting_ids
        found: dict[str, Candidate] = {}
        for query in (state.question, *(_title(one) for one in wanted)):
            ranking = await run.corpus.search(
                query, k=50, mode="lexical", where={}, timeout=run.read_seconds()
            )
            for hit in ranking.hits:
                one = hit.passage
                if one.document_id in wanted and one.id not in found:
                    run.texts[one.id] = one
                    found[one.id] = Candidate(
                        passage_id=one.id, document_id=one.document_id, score=1.0, own=1.0,
                        round=1, query=query,
                    )  # fmt: skip
        read = tuple(ReadPassage(passage_id=one, query="gold", round=1) for one in found)
        return StateUpdate(candidates=tuple(found.values()), read=read, round=1)

    add_nodes(graph, gold, nodes.answer_briefly, nodes.receipt)
    graph.add_edge(START, "gold")
    graph.add_edge("gold", "answer_briefly")
    graph.add_edge("answer_briefly", "receipt")
    graph.add_edge("receipt", END)


def _title(document_id: str) -> str:
    """The title that record ids of the converted data sets consist of, as words."""
    return document_id.replace("_", " ")
