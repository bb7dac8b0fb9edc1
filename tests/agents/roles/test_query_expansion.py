"""Query writers that expand: what is asked of the model, what is searched, what is fused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.agents import QUESTION, Around, over, reading, said

from hoptrail.agents import Receipt, RunSettings, ask, replay
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.roles.searching.query_expansion import EXPANSIONS, expanded
from hoptrail.agents.runs.request import QueryWriting
from hoptrail.prompts.loader import load
from hoptrail.rag.errors import SettingsError

GAP = "Where was Ilsa Corrin born?"
TEXTS = ["navigator village birth", "Tarn Hollow 1851"]


def run(
    library: KnowledgeBase, style: QueryWriting, reply: object, record: Path | None = None
) -> tuple[Receipt, ScriptedEndpoint, list[str]]:
    """A run of `pool` with one gap; what it searched after the question and its names."""
    endpoint = reading(by_schema={"ExpansionForm": lambda _: json.dumps(reply)})
    corpus = Around(library.corpus)
    receipt = ask(
        QUESTION, over(library, corpus), model=endpoint, record=record,
        settings=RunSettings(query_writer=style, read=1),
    )  # fmt: skip
    return receipt, endpoint, corpus.searched[2:]


def test_keywords_are_appended_to_one_query(library: KnowledgeBase) -> None:
    _, _, searched = run(library, "keywords", {"texts": TEXTS})
    assert searched[0] == f"{GAP} {TEXTS[0]} {TEXTS[1]}"


@pytest.mark.parametrize("style", ["keywords_fused", "thought", "intent"])
def test_each_text_is_searched_beside_the_plain_gap(
    library: KnowledgeBase, style: QueryWriting, tmp_path: Path
) -> None:
    receipt, endpoint, searched = run(library, style, {"texts": TEXTS}, tmp_path / "run.jsonl")
    assert searched[:3] == [GAP, f"{GAP} {TEXTS[0]}", f"{GAP} {TEXTS[1]}"]
    (request, *_) = [one for one in endpoint.requests if one.schema_name == "ExpansionForm"]
    task = load(EXPANSIONS[style].prompt).messages[-1][1].split("$missing")[1].split("\n\n")[1]
    assert task in said(request)
    assert GAP in said(request)
    assert receipt.answer == "Tarn Hollow"
    assert replay(tmp_path / "run.jsonl").same


def test_what_was_fused_ranks_by_its_places_in_all_lists(library: KnowledgeBase) -> None:
    """The lists of the receipt, fused once more by hand, are the order of their candidates."""
    receipt, _, searched = run(library, "thought", {"texts": TEXTS})
    lists = [s.found for s in receipt.steps if s.node == "retrieve" and s.detail in searched[:3]]
    scores: dict[str, float] = {}
    for found in lists:
        for rank, one in enumerate(found, 1):
            scores[one] = scores.get(one, 0) + 1 / (60 + rank)
    raised = [one for one in receipt.candidates if one.query == GAP]
    assert len(lists) == 3
    assert raised
    assert [one.passage_id for one in raised] == sorted(
        (one.passage_id for one in raised), key=lambda one: -scores[one]
    )
    assert {one.query for one in receipt.candidates} <= {QUESTION, "Heron", GAP}


@pytest.mark.parametrize("style", sorted(EXPANSIONS))
@pytest.mark.parametrize("texts", [[" ", ""], ["\n"]])
def test_blank_texts_leave_the_plain_gap(
    library: KnowledgeBase, style: QueryWriting, texts: list[str]
) -> None:
    _, _, searched = run(library, style, {"texts": texts})
    assert searched[0] == GAP
    assert all(not one.startswith(f"{GAP} ") for one in searched)


@pytest.mark.parametrize("reply", ["no idea", {"texts": []}, {"queries": ["x"]}])
def test_an_unusable_reply_leaves_the_queries_to_the_local_player(
    library: KnowledgeBase, reply: object
) -> None:
    receipt, _, searched = run(library, "thought", reply)
    (use, *_) = [step.use for step in receipt.steps if step.node == "next_query"]
    assert use is not None
    assert (use.role, use.failure) == ("next_query", "parse")
    assert "Ilsa Corrin" in searched


def test_texts_are_cut_to_one_line_and_repetitions_dropped() -> None:
    found = expanded("gap", ["a\n b", "a b", " c "], fused=True)
    assert [one.text for one in found] == ["gap", "gap a b", "gap c"]
    assert {(one.fused, one.purpose, one.weight) for one in found} == {(True, "gap", 0.95)}
    (one,) = expanded("gap", ["a\n b", "a b", " c "], fused=False)
    assert (one.text, one.fused) == ("gap a b c", False)


def test_an_unknown_query_writer_is_refused() -> None:
    with pytest.raises(SettingsError, match="Unknown query_writer 'hyde': use one of gap, "):
        RunSettings(query_writer="hyde")  # type: ignore[arg-type]
