"""The local player: what it lists, quotes, judges, follows and says, without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import CHAIN, QUESTION, UNKNOWN, evidence

from hoptrail.agents import ask
from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.roles.base import PassageToRead, Quote, RoleInput
from hoptrail.agents.roles.common import content_words
from hoptrail.agents.roles.reading.answerer import SHOWN, LocalAnswerer
from hoptrail.agents.roles.reading.refiner import QUOTE_CHARS, LocalRefiner
from hoptrail.agents.roles.searching.assessor import LocalAssessor
from hoptrail.agents.roles.searching.planner import LocalPlanner, asks_for
from hoptrail.agents.roles.searching.query_writer import BRIDGE, LocalQueryWriter
from hoptrail.agents.types import Evidence, Plan
from hoptrail.rag.types import Passage


def planned(question: str) -> Plan:
    return asyncio.run(LocalPlanner().plan(question)).value


def situation(
    question: str = QUESTION, pool: Sequence[Evidence] = (), asked: Sequence[str] = ()
) -> RoleInput:
    return RoleInput(question=question, plan=planned(question), pool=pool, asked=asked)


def passage(title: str, text: str, start: int = 0) -> Passage:
    return Passage(
        id=f"p {title}", document_id=title, start=start, end=start + len(text), title=title,
        text=text,
    )  # fmt: skip


SHIP = evidence(1, *CHAIN["d1"], score=0.8)
MASTER = evidence(2, *CHAIN["d2"], score=0.5)
FOG = evidence(3, "Fog", "it hangs low")


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("When was the Heron launched?", "date"),
        ("In which year did Renn die?", "date"),
        ("How many men did she carry?", "number"),
        ("Which is older, Corrin or Renn?", "choice"),
        ("Was Corrin a navigator?", "yes_no"),
        ("Who founded the institute?", "person"),
        ("Where was she born?", "place"),
        ("What did the Bellwether print?", "thing"),
    ],
)
def test_the_kind_of_answer_shows_in_the_words_of_a_question(question: str, asks: str) -> None:
    assert asks_for(question) == asks
    assert planned(question).asks == asks


def test_a_plan_needs_what_the_question_names_and_what_it_asks() -> None:
    plan = planned("Did Ilsa Corrin sail the Heron from Port Saben?")
    assert [(n.id, n.subject) for n in plan.needs] == [
        ("n1", "Ilsa Corrin"), ("n2", "Heron"), ("n3", "Port Saben"), ("n4", ""),
    ]  # fmt: skip
    assert plan.needs[-1].text == "the yes_no asked for"
    assert [n.subject for n in planned("who came?").needs] == [""]


def test_content_words_are_stems_without_function_words() -> None:
    assert content_words("Where was the navigator navigating?") == {"naviga"}


def refine(library: KnowledgeBase, where: RoleInput, *passages: Passage) -> tuple[Quote, ...]:
    readings = [PassageToRead(passage=p, score=1.0, query="q") for p in passages]
    refiner = LocalRefiner(library.corpus, lambda: 60.0)
    return asyncio.run(refiner.refine(where, readings)).value


def test_a_quote_is_the_run_of_sentences_nearest_to_the_question(library: KnowledgeBase) -> None:
    text = (
        "Larch is a wood. It floats well. Ropes were made there. Tar was boiled. "
        "The first master of the Heron was born here. Bread was dear. Snow fell. It thawed."
    )
    (quote,) = refine(library, situation(), passage("Yard", text, start=100))
    found = text[quote.start - 100 : quote.end - 100]
    assert "first master of the Heron" in found
    assert found.count(".") == 3
    assert quote.passage_id == "p Yard"
    assert 0.0 <= quote.confidence <= 1.0


def test_nothing_is_quoted_from_what_bears_on_nothing(library: KnowledgeBase) -> None:
    assert refine(library, situation(), passage("Cheese", "Rennet curdles milk.")) == ()
    assert refine(library, situation()) == ()
    assert refine(library, situation(), passage("Blank", "  \n ")) == ()


def test_what_shares_a_name_that_was_followed_is_quoted(library: KnowledgeBase) -> None:
    page = passage("Tarn Hollow", "Slate lay there.")
    assert refine(library, situation(asked=(QUESTION,)), page) == ()
    followed = situation(asked=(QUESTION, "Tarn Hollow"))
    (quote,) = refine(library, followed, page)
    assert (quote.start, quote.end) == (0, len(page.text))


def test_a_long_quote_is_cut(library: KnowledgeBase) -> None:
    page = passage("Heron", "The Heron " + "and the Heron " * 200)
    (quote,) = refine(library, situation(), page)
    assert quote.end - quote.start == QUOTE_CHARS


@given(st.lists(st.text(max_size=120), max_size=4), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_every_quote_lies_in_its_passage(texts: list[str], start: int) -> None:
    class Same:
        async def sentences(
            self, query: str, ids: Sequence[str], *, timeout: float
        ) -> Sequence[None]:
            return [None for _ in ids]

        async def similarity(
            self, query: str, texts: Sequence[str], *, timeout: float
        ) -> tuple[float, ...]:
            return tuple(1.0 for _ in texts)

    passages = [passage(f"T{i}", text, start) for i, text in enumerate(texts)]
    readings = [PassageToRead(passage=p, score=1.0, query="q") for p in passages]
    refiner = LocalRefiner(Same(), lambda: 60.0)  # type: ignore[arg-type]
    quotes = asyncio.run(refiner.refine(situation(), readings)).value
    assert len({quote.passage_id for quote in quotes}) == len(quotes)
    own = {p.id: p for p in passages}
    for quote in quotes:
        page = own[quote.passage_id]
        assert page.start <= quote.start < quote.end <= page.end
        assert page.text[quote.start - start : quote.end - start].strip()


def test_enough_is_when_all_that_the_question_names_is_there() -> None:
    hopped = ("the question", "its names", "more of its names", "a name that was followed")

    def assess(
        *pool: Evidence, question: str = QUESTION, asked: Sequence[str] = hopped
    ) -> tuple[bool, tuple[str, ...]]:
        found = asyncio.run(LocalAssessor().assess(situation(question, pool, asked))).value
        return found.sufficient, found.missing

    # Not before a name that the evidence brought was followed once.
    leads = "where the names in the evidence lead"
    assert assess(SHIP, MASTER, asked=(QUESTION, "Heron")) == (False, (leads,))

    assert assess(SHIP, MASTER) == (True, ())
    assert assess(SHIP) == (False, ("passages that speak of born",))
    assert assess(MASTER, question="Was Otto Renn born?")[1] == (
        "what the documents say of Otto Renn", "passages that speak of otto, renn",
    )  # fmt: skip
    undated = evidence(1, "Renn", "Otto Renn died.")
    assert assess(undated, question="When died Otto Renn?") == (False, ("a date",))
    assert assess(question="what?") == (False, ())


def test_the_names_that_the_evidence_brings_up_are_followed() -> None:
    def follow(*pool: Evidence, asked: Sequence[str] = (QUESTION,)) -> dict[str, float]:
        found = asyncio.run(LocalQueryWriter().next_queries(situation(pool=pool, asked=asked)))
        assert all(q.purpose == "bridge" and q.mode == "lexical" for q in found.value)
        return {q.text: q.weight for q in found.value}

    # not the Heron (the question names it), and each with what its source stands at
    assert follow(SHIP) == {
        "Maddock Yard": pytest.approx(BRIDGE * 0.8), "Ilsa Corrin": pytest.approx(BRIDGE * 0.8),
    }  # fmt: skip
    # not what a page is titled by itself, not what was asked already
    assert list(follow(MASTER)) == ["Tarn Hollow", "Veil Institute"]
    assert list(follow(MASTER, asked=(QUESTION, "TARN hollow"))) == ["Veil Institute"]
    # the best evidence first
    assert list(follow(MASTER, SHIP)) == [
        "Tarn Hollow", "Veil Institute", "Maddock Yard", "Ilsa Corrin",
    ]  # fmt: skip
    assert follow(FOG) == {}
    assert follow() == {}


def test_the_answer_is_the_best_quotes_word_for_word() -> None:
    pool = [evidence(i, "Heron", f"The Heron, {i}.", score=1.0 / i) for i in range(1, 9)]
    said: list[AnswerDelta] = []
    found = asyncio.run(LocalAnswerer().answer(situation(pool=pool), said.append)).value.answer
    assert [(c.text, c.evidence) for c in found.claims] == [
        (item.quote, (item.id,)) for item in pool[:SHOWN]
    ]
    assert found.extractive
    assert not found.abstains
    assert found.text == "\n".join(item.quote for item in pool[:SHOWN])
    assert said == [AnswerDelta(text=found.text)]


@pytest.mark.parametrize(
    ("question", "pool", "abstains"),
    [
        (UNKNOWN, (SHIP, MASTER), True),
        (QUESTION, (), True),
        (QUESTION, (FOG,), True),
        ("what hangs low?", (FOG,), False),
        ("what hangs low?", (), True),
        ("Was Ilsa Corrin older than Xanthippe Zebulon?", (MASTER,), False),
    ],
)
def test_the_local_answerer_abstains_when_nothing_bears_on_what_is_named(
    question: str, pool: tuple[Evidence, ...], abstains: bool
) -> None:
    said: list[AnswerDelta] = []
    found = asyncio.run(LocalAnswerer().answer(situation(question, pool), said.append)).value
    assert found.answer.abstains == abstains
    assert bool(said) != abstains


def test_a_whole_run_hops_by_names_and_says_that_it_is_extractive(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library)
    assert (receipt.outcome.kind, receipt.stop, receipt.extractive) == (
        "quotes", "sufficient", True,
    )  # fmt: skip
    assert receipt.model == ""
    assert "born at Tarn Hollow" in receipt.answer
    bridges = [step.detail for step in receipt.steps if step.action == "bridge"]
    assert "Ilsa Corrin" in bridges
    titles = {e.document_id: e for e in receipt.evidence}
    assert titles["d2"].query == "Ilsa Corrin"
    assert titles["d2"].round == 2
    for item in receipt.evidence:
        assert CHAIN[item.document_id][1][item.start : item.end] == item.quote
    assert all(claim.text in receipt.answer for claim in receipt.claims)


def test_a_whole_run_abstains_when_nothing_bears(library: KnowledgeBase) -> None:
    receipt = ask(UNKNOWN, library)
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "not_in_evidence")
    assert receipt.answer == ""
    assert receipt.claims == ()
    assert receipt.candidates
