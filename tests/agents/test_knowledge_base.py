"""The one object of a script: documents in and out, search, questions, roles and strategies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION

from hoptrail.agents import STRATEGIES, KnowledgeBase, Receipt, Strategy, replay
from hoptrail.agents.roles import RoleResult, Roles
from hoptrail.agents.types import Need, Plan
from hoptrail.rag import SettingsError, StoreOptions
from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.types import Vectors


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    """The documents of the chain, ingested from files."""
    notes = tmp_path / "notes"
    notes.mkdir()
    for name, (title, text) in CHAIN.items():
        (notes / f"{name}.txt").write_text(f"{title}\n\n{text}\n", "utf-8")
    with KnowledgeBase.create(tmp_path / "mine", embedder="hash") as made:
        assert made.ingest(notes).added == len(CHAIN)
        yield made


def test_what_was_ingested_is_found_again_after_opening(kb: KnowledgeBase, tmp_path: Path) -> None:
    found = kb.search("Ilsa Corrin navigator", k=3).hits
    assert found[0].passage.document_id == "notes/d2.txt"
    with KnowledgeBase.open(tmp_path / "mine") as again:  # the store knows its embedder
        assert again.search("Ilsa Corrin navigator", k=3).hits == found


def test_deleting_counts_the_documents_that_were_there(kb: KnowledgeBase) -> None:
    assert kb.delete(["notes/d2.txt", "nobody.txt", "notes/d2.txt"]) == 1
    assert kb.delete(["notes/d2.txt"]) == 0
    hits = kb.search("Ilsa Corrin", k=20).hits
    assert "notes/d2.txt" not in {hit.passage.document_id for hit in hits}


def test_options_are_kept_and_a_second_store_is_refused(tmp_path: Path) -> None:
    options = StoreOptions(lexical="rank-bm25", graph="none")
    with KnowledgeBase.create(tmp_path, embedder="hash", options=options) as made:
        assert (made.store.spec.lexical, made.store.spec.graph) == ("rank-bm25", "none")
    with pytest.raises(SettingsError, match="There is a store"):
        KnowledgeBase.create(tmp_path, embedder="hash")


def test_a_run_that_ended_is_not_unfinished(kb: KnowledgeBase) -> None:
    assert kb.ask(QUESTION).evidence
    assert kb.unfinished_runs() == []


class Counting(HashEmbedder):
    """The hash embedder; remembers which passage texts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.passages: list[str] = []

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        self.passages += texts if kind == "passage" else ()
        return super().embed(texts, kind)


def timeless(receipt: Receipt) -> str:
    """All of a receipt that two live runs can share."""
    return replace(receipt, usage=replace(receipt.usage, seconds=0.0)).canonical()


@pytest.mark.parametrize("strategy", ["pool", "single", "lattice"])
def test_no_sentence_that_is_stored_is_embedded_by_a_question(
    kb: KnowledgeBase, tmp_path: Path, strategy: str
) -> None:
    assert kb.ask(QUESTION, strategy=strategy).evidence
    embedder, recording = Counting(), tmp_path / "run.jsonl"
    with KnowledgeBase.open(tmp_path / "mine", embedder=embedder) as cold:
        first = cold.ask(QUESTION, strategy=strategy, record=recording)
        assert embedder.passages == []
        assert timeless(cold.ask(QUESTION, strategy=strategy)) == timeless(first)
    assert timeless(kb.ask(QUESTION, strategy=strategy)) == timeless(first)
    assert replay(recording).same


def test_without_stored_sentences_they_are_embedded_at_once_and_answer_alike(
    kb: KnowledgeBase, tmp_path: Path
) -> None:
    embedder = Counting()
    with KnowledgeBase.create(tmp_path / "bare", embedder=embedder) as bare:
        bare.ingest(tmp_path / "notes", sentences=False)
        embedder.passages.clear()
        found = bare.ask(QUESTION)
        assert embedder.passages
    quotes = [(one.document_id, one.start, one.end) for one in kb.ask(QUESTION).evidence]
    assert [(one.document_id, one.start, one.end) for one in found.evidence] == quotes


class TwoNeeds:
    """A planner of the user's own."""

    async def plan(self, question: str) -> RoleResult[Plan]:
        needs = (Need(id="n1", text="mine", subject=""), Need(id="n2", text=question, subject=""))
        return RoleResult(value=Plan(needs=needs, asks="thing"))


def own_planner(roles: Roles) -> Roles:
    return replace(roles, planner=TwoNeeds())


def test_roles_of_ones_own_take_part_in_a_run_and_in_its_replay(
    kb: KnowledgeBase, tmp_path: Path
) -> None:
    recording = tmp_path / "run.jsonl"
    receipt = kb.ask(QUESTION, roles=own_planner, record=recording)
    assert receipt.plan is not None
    assert [need.text for need in receipt.plan.needs] == ["mine", QUESTION]
    assert replay(recording, roles=own_planner).same


def test_a_strategy_of_ones_own_is_given_again_for_a_replay(
    kb: KnowledgeBase, tmp_path: Path
) -> None:
    recording = tmp_path / "run.jsonl"
    mine = Strategy(name="mine", wire=STRATEGIES["single"].wire)
    assert kb.ask(QUESTION, strategy=mine, record=recording).strategy == "mine"
    assert replay(recording, strategy=mine).same
    with pytest.raises(SettingsError, match=r"a strategy of its own, 'mine': pass strategy="):
        replay(recording)
