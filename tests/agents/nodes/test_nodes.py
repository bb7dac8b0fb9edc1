"""No node is a pass-through: without it some receipt changes, in what it says and not only how."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from pathlib import Path
from typing import Any, ClassVar

import pydantic
import pytest
from support.agents import (
    CHAIN,
    CLAIMS,
    QUESTION,
    Around,
    Reader,
    evidence,
    nodes_of,
    over,
    reading,
    said,
    substance,
)

from hoptrail.agents import Budget, Receipt, RunSettings, ask, nodes
from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.nodes.common import evidence_of
from hoptrail.agents.nodes.refining import _chosen, _unread
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import Quote
from hoptrail.agents.roles.selection import local_roles
from hoptrail.agents.strategies.graph import compiled_graph
from hoptrail.agents.types import Answer, Candidate, Query, ReadPassage
from hoptrail.rag.types import Mode, Passage, Ranking, Where

pytestmark = pytest.mark.usefixtures("fresh_graphs")


@pytest.fixture(scope="module")
def whole(library: KnowledgeBase) -> Receipt:
    return ask(QUESTION, library)


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Puts a node in another's place that changes nothing."""

    async def identity(state: RunState, run: RunContext) -> StateUpdate:
        return StateUpdate()

    identity.__name__ = name
    monkeypatch.setattr(nodes, name, identity)


def test_a_whole_run_passes_every_node(whole: Receipt) -> None:
    assert nodes_of(whole) == [
        "plan", "retrieve", "refine", "assess", "next_query", "retrieve", "refine", "assess",
        "answer", "verify",
    ]  # fmt: skip
    assert (whole.outcome.kind, whole.stop, whole.rounds) == ("quotes", "sufficient", 2)


def test_the_same_question_gives_the_same_receipt(library: KnowledgeBase, whole: Receipt) -> None:
    again = ask(QUESTION, library)
    assert substance(again) == substance(whole)
    assert again.steps == whole.steps


def test_without_plan_the_names_of_the_question_are_not_searched(
    library: KnowledgeBase, whole: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "plan")
    receipt = ask(QUESTION, library)
    assert receipt.plan is None
    assert substance(receipt)["candidates"] != substance(whole)["candidates"]
    assert "subject" in {step.action for step in whole.steps}
    assert "subject" not in {step.action for step in receipt.steps}


def test_without_retrieve_nothing_is_found(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "retrieve")
    receipt = ask(QUESTION, library)
    assert receipt.candidates == ()
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "nothing_found")


def test_without_refine_there_is_no_evidence(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "refine")
    receipt = ask(QUESTION, library)
    assert receipt.candidates
    assert receipt.evidence == ()
    assert receipt.outcome.kind == "abstained"


def test_without_assess_the_search_goes_on_when_it_has_enough(
    library: KnowledgeBase, whole: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "assess")
    receipt = ask(QUESTION, library)
    assert receipt.stop == "no_progress"
    assert receipt.rounds > whole.rounds
    assert receipt.usage.searches > whole.usage.searches
    assert substance(receipt) != substance(whole)


def test_without_next_query_no_hop_is_made(
    library: KnowledgeBase, whole: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "next_query")
    receipt = ask(QUESTION, library)
    assert "bridge" not in {step.action for step in receipt.steps}
    assert {e.query for e in receipt.evidence} != {e.query for e in whole.evidence}
    standing = {e.document_id: e.score for e in receipt.evidence}
    hopped = {e.document_id: e.score for e in whole.evidence}
    assert standing.get("d2", 0.0) < hopped["d2"]


def test_without_answer_nothing_is_said(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "answer")
    assert ask(QUESTION, library).answer == ""

    async def answer(state: RunState, run: RunContext) -> StateUpdate:
        return StateUpdate(answer=Answer(text="", claims=(), extractive=True))

    compiled_graph.cache_clear()
    monkeypatch.setattr(nodes, "answer", answer)
    receipt = ask(QUESTION, library)
    assert receipt.evidence
    assert (receipt.answer, receipt.outcome.kind) == ("", "abstained")


def test_without_verify_no_claim_holds(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "verify")
    receipt = ask(QUESTION, library)
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "nothing_verified")
    assert receipt.claims == ()


def test_without_receipt_there_is_none(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "receipt")
    with pytest.raises(pydantic.ValidationError):
        ask(QUESTION, library)


# What single nodes decide


class Liar(Reader):
    """Says what its quotes do not."""

    def answer(self, request: ChatRequest) -> object:
        shown = re.findall(r"^\[(\d+)\] .*born at", said(request), re.MULTILINE)
        claims = [{"text": "Otto Renn was born in 1999.", "evidence": [int(n) for n in shown]}]
        return {"claims": claims, "answer": "Otto Renn"}


def test_verify_keeps_a_models_invention_out_of_the_answer(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, model=reading(Liar()), settings=CLAIMS)
    assert "Renn" not in receipt.answer
    assert [c.reason for c in receipt.dropped] == ["not in its quotes: 1999"]


def test_a_passage_is_read_once(library: KnowledgeBase) -> None:
    read: list[str] = []

    class Noting(Around):
        async def passages(self, ids: Any, *, timeout: float) -> tuple[Passage | None, ...]:  # noqa: ANN401
            read.extend(ids)
            return await super().passages(ids, timeout=timeout)

    receipt = ask(QUESTION, over(library, Noting(library.corpus)))
    read = read[: -len(receipt.evidence)]  # the last ones are the receipt's checks
    assert len(read) == len(set(read)) == len(CHAIN)


def test_copies_of_a_text_take_one_place_among_what_is_read() -> None:
    """Two queries may each find another copy: what is read is another text, not the copy."""
    text = "The harbour office of Vesk was built by Tilda Roen."
    documents = {f"copy-{n}": text for n in range(3)} | {"other": "Jon Hauk built the second."}
    passages = [
        Passage(id=name, document_id=name, start=0, end=len(text), title=name, text=text)
        for name, text in documents.items()
    ]
    asked: list[list[str]] = []

    class Copies:
        async def generation(self, *, timeout: float) -> int:
            return 1

        async def passages(self, ids: list[str], *, timeout: float) -> list[Passage | None]:
            asked.append(ids)
            return [next(one for one in passages if one.id == name) for name in ids]

    class Run:
        settings = RunSettings(read=2)
        corpus = Copies()
        texts: ClassVar[dict[str, Passage]] = {}

        def read_seconds(self) -> float:
            return 1.0

    candidates = tuple(
        Candidate(passage_id=one.id, document_id=one.id, score=0.5, own=0.5, round=1, query="q")
        for one in passages
    )
    state = RunState(question=QUESTION, candidates=candidates)
    choice = asyncio.run(_chosen("refine", state, Run()))  # type: ignore[arg-type]
    chosen, readings = choice.candidates, choice.readings
    assert [one.passage.id for one in readings] == ["copy-0", "other"]
    assert [one.passage_id for one in chosen] == list(documents)
    assert asked == [["copy-0", "copy-1"], ["copy-2"], ["other"]]


def test_nothing_is_asked_twice(library: KnowledgeBase) -> None:
    corpus = Around(library.corpus)
    reader = Reader()
    reader.enough = "never"
    ask(QUESTION, over(library, corpus), model=reading(reader))
    assert corpus.searched == [QUESTION, "Heron", "Ilsa Corrin born"]


def test_the_stop_reasons_of_the_loop(library: KnowledgeBase) -> None:
    reader = Reader()
    reader.enough = "never"
    assert ask(QUESTION, library, model=reading(reader)).stop == "no_progress"
    one = ask(QUESTION, library, model=reading(reader), settings=RunSettings(max_rounds=1))
    assert (one.stop, one.rounds, one.outcome.kind) == ("max_rounds", 1, "abstained")


def test_two_rounds_without_new_evidence_are_no_progress(library: KnowledgeBase) -> None:
    reader = Reader()
    reader.enough = "never"
    numbers = iter(range(100))
    endless = {"QueriesForm": lambda _: f'{{"queries": ["tide number {next(numbers)}"]}}'}
    receipt = ask(
        QUESTION, library, model=reading(reader, by_schema=endless),
        settings=RunSettings(max_rounds=9, read=len(CHAIN)),
    )  # fmt: skip
    # The first round reads all there is, the second and third bring nothing.
    assert (receipt.stop, receipt.rounds) == ("no_progress", 3)


def test_the_settings_bound_a_run(library: KnowledgeBase) -> None:
    corpus = Around(library.corpus)
    receipt = ask(
        QUESTION,
        over(library, corpus),
        settings=RunSettings(k=3, read=1, max_rounds=2, max_queries=1),
    )
    assert corpus.searched[0] == QUESTION
    assert len(corpus.searched) == 2
    found = [step.found for step in receipt.steps if step.node == "retrieve"]
    assert max(map(len, found)) == 3
    assert len(receipt.evidence) <= 2


def test_a_filter_narrows_every_search(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, where={"kind": "d1"})
    assert {c.document_id for c in receipt.candidates} == {"d1"}


def test_queries_that_the_budget_does_not_allow_are_left_unasked(library: KnowledgeBase) -> None:
    corpus = Around(library.corpus)
    receipt = ask(QUESTION, over(library, corpus), budget=Budget(searches=1))
    assert corpus.searched == [QUESTION]
    assert (receipt.stop, receipt.outcome.kind) == ("out_of_searches", "partial")
    assert receipt.usage.searches == 1
    assert "Her first master was Ilsa Corrin" in receipt.answer


def test_searches_divide_what_is_left_before_any_is_dispatched(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    file = tmp_path / "ledger.jsonl"
    before: list[list[dict[str, Any]]] = []

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    class Watching(Around):
        async def search(self, query: str, **options: Any) -> Ranking:  # noqa: ANN401
            before.append(lines())
            return await super().search(query, **options)

    corpus = Watching(library.corpus)
    ledger = Ledger.open(file, Budget(searches=4), time.monotonic)
    spent = ledger.settle_search(ledger.reserve_search(node="earlier"))
    run = RunContext(
        question="q", strategy="pool", model="", corpus=corpus, ledger=ledger,
        roles=local_roles(corpus, ledger.seconds_left),
    )  # fmt: skip
    queries = tuple(Query(text=text, purpose="gap") for text in ("Heron", "Veil", "Orrin", "Saben"))
    update = asyncio.run(nodes.retrieve(RunState(question=QUESTION, queries=queries), run))
    ledger.close()
    reserved = [line for line in before[0] if line["op"] == "reserve"][1:]
    assert spent.searches == 1
    assert len({line["share"] for line in reserved} - {None}) == len(reserved) == 3
    assert (corpus.searched, update["stop"]) == (["Heron", "Veil", "Orrin"], "out_of_searches")
    assert [line["op"] for line in lines()].count("reserve") == 4


def test_a_quote_outside_its_passage_is_no_evidence() -> None:
    passage = Passage(id="p", document_id="d", start=10, end=20, title="t", text="0123   789")
    source = Candidate(passage_id="p", document_id="d", score=0.5, own=0.0, round=1, query="q")

    def made(start: int, end: int) -> Any:  # noqa: ANN401
        quote = Quote(passage_id="p", start=start, end=end, confidence=0.5)
        return evidence_of(quote, passage, source, round_number=1, generation=7)

    for start, end in ((9, 12), (19, 21), (12, 12), (15, 12), (14, 17)):
        assert made(start, end) is None
    whole = made(10, 20)
    assert (whole.quote, whole.score, whole.start, whole.end) == ("0123   789", 0.25, 10, 20)
    assert whole.generation == 7


@pytest.mark.parametrize(
    ("query", "quoted", "again"),
    [("another", False, True), ("first", False, False), ("another", True, False)],
)
def test_a_passage_read_in_vain_comes_back_under_another_query(
    query: str, quoted: bool, again: bool
) -> None:
    found = Candidate(passage_id="p d", document_id="d", score=1.0, own=1.0, round=2, query=query)
    state = RunState(
        question=QUESTION, candidates=(found,), round=2,
        read=(ReadPassage(passage_id="p d", query="first", round=1),),
        evidence=(evidence(1, "d", "a quote"),) if quoted else (),
    )  # fmt: skip
    assert bool(_unread(state)) == again


def test_a_passage_that_is_gone_is_read_as_nothing(library: KnowledgeBase) -> None:
    class Gone(Around):
        async def passages(self, ids: Any, *, timeout: float) -> tuple[Passage | None, ...]:  # noqa: ANN401
            return tuple(None for _ in ids)

    receipt = ask(QUESTION, over(library, Gone(library.corpus)))
    assert (receipt.outcome.reason, receipt.evidence) == ("nothing_found", ())


def test_searches_of_a_round_run_beside_each_other(library: KnowledgeBase) -> None:
    class Slow(Around):
        running = 0

        def __init__(self, corpus: Corpus) -> None:
            super().__init__(corpus)
            self.most: list[int] = []  # of each round

        async def search(
            self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
        ) -> Ranking:
            if not self.running:
                self.most.append(0)
            self.running += 1
            self.most[-1] = max(self.most[-1], self.running)
            await asyncio.sleep(0)
            found = await super().search(query, k=k, mode=mode, where=where, timeout=timeout)
            self.running -= 1
            return found

    corpus = Slow(library.corpus)
    receipt = ask(QUESTION, over(library, corpus))
    rounds = [
        len(list(steps))
        for node, steps in itertools.groupby(receipt.steps, lambda step: step.node)
        if node == "retrieve"
    ]
    assert corpus.most == rounds
    assert max(rounds) > 1
