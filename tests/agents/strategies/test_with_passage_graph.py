"""Runs over a store with a passage graph: one search hops, and the receipt says by which names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION, UNKNOWN, evidence, make_chain, open_chain

from hoptrail.agents import RunSettings, ask, replay
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.roles.base import RoleInput
from hoptrail.agents.roles.searching.planner import LocalPlanner
from hoptrail.agents.roles.searching.query_writer import FOLLOWED, GraphQueryWriter
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.app.cli.receipt_text import receipt_text
from hoptrail.rag.errors import BackendRefused, SettingsError


@pytest.fixture(scope="module")
def linked_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    with open_chain(make_chain(tmp_path_factory.mktemp("graph") / "store", graph="links")) as one:
        yield one


def searches(receipt: Receipt) -> list[str]:
    return [step.detail for step in receipt.steps if step.node == "retrieve"]


def test_one_search_hops_where_a_store_has_a_graph(linked_library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, linked_library, strategy="single")
    assert receipt.usage.searches == 1
    reached = {item.document_id: item.via for item in receipt.evidence if item.via is not None}
    assert reached["d2"] is not None
    assert (reached["d2"].name, reached["d2"].title) == ("Ilsa Corrin", CHAIN["d1"][0])
    assert "Tarn Hollow" in receipt.answer


def test_a_run_in_hybrid_mode_does_not_hop(linked_library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, linked_library, strategy="single", settings=RunSettings(mode="hybrid"))
    assert all(item.via is None for item in receipt.evidence)


def test_the_pool_asks_the_rest_of_the_question_of_names(linked_library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, linked_library, strategy="pool")
    first, *rest = searches(receipt)
    assert first == QUESTION
    assert "Ilsa Corrin first master born" in rest
    assert len(set(searches(receipt))) == len(searches(receipt))
    assert "Tarn Hollow" in receipt.answer


def test_the_terminal_says_by_which_name_a_quote_was_reached(linked_library: KnowledgeBase) -> None:
    shown = receipt_text(ask(QUESTION, linked_library, strategy="single"))
    assert 'by the name "Ilsa Corrin" in Heron (ship)' in shown


def test_a_run_on_the_graph_is_replayed_without_the_store(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    with open_chain(make_chain(tmp_path / "store", graph="links")) as library:
        receipt = ask(QUESTION, library, record=recording)
    again = replay(recording)
    assert again.same, again.difference
    assert again.receipt.evidence == receipt.evidence


def test_a_store_without_a_graph_refuses_it_and_says_what_to_do(tmp_path: Path) -> None:
    with (
        open_chain(make_chain(tmp_path / "store")) as library,
        pytest.raises(BackendRefused, match="without a passage graph"),
    ):
        ask(QUESTION, library, settings=RunSettings(mode="graph"))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(SettingsError, match="Unknown mode 'best': use one of graph, hybrid"):
        RunSettings(mode="best")  # type: ignore[arg-type]


def test_what_names_nothing_known_is_still_abstained_from(linked_library: KnowledgeBase) -> None:
    assert ask(UNKNOWN, linked_library).outcome.kind == "abstained"


def test_follow_up_queries_are_few_new_and_weaker_than_what_they_follow() -> None:
    plan = asyncio.run(LocalPlanner().plan(QUESTION)).value
    names = [f"Anna {letter}erg" for letter in "BCDFGHKL"]
    quote = f"The Heron was built with {', '.join(names[:4])} and also {', '.join(names[4:])}."
    pool = (evidence(1, "Heron (ship)", quote, score=0.8),)
    asked = f"{names[0]} first master born"
    situation = RoleInput(question=QUESTION, plan=plan, pool=pool, asked=(QUESTION, asked))
    queries = asyncio.run(GraphQueryWriter().next_queries(situation)).value
    assert len(queries) == FOLLOWED
    assert asked not in {query.text for query in queries}
    assert all(query.purpose == "gap" and 0 < query.weight < 0.8 for query in queries)
    assert not any("heron" in query.text.casefold() for query in queries)
