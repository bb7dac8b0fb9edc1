"""The roles played by a served model: a prompt file, a bounded form, and a local fallback each.

Replies are kept short and by number wherever they can be: the refiner names sentences instead of
copying them, so that a quote is exact by construction; the answerer cites evidence by number.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.llm.client import Asker
from hoptrail.agents.llm.delimiters import Fence
from hoptrail.agents.roles import DeltaListener, Played, Quote, Reading, Roles, Situation
from hoptrail.agents.roles.play import Task, play
from hoptrail.agents.roles.replies import AnswerForm, AssessForm, PlanForm, QueriesForm, RefineForm
from hoptrail.agents.roles.slates import ServedScorer
from hoptrail.agents.roles.telling import Teller
from hoptrail.agents.types import Answer, Assessment, Claim, Evidence, Need, Plan, Query
from hoptrail.prompts import Rendered, load
from hoptrail.rag.text.sentences import sentences


def served_roles(asker: Asker, fence: Fence, fallback: Roles) -> Roles:
    """All six roles, played by the asker's model; `fallback` plays where its reply fails."""
    return Roles(
        planner=ServedPlanner(asker, fallback),
        refiner=ServedRefiner(asker, fence, fallback),
        assessor=ServedAssessor(asker, fence, fallback),
        query_writer=ServedQueryWriter(asker, fence, fallback),
        answerer=ServedAnswerer(asker, fence, fallback),
        scorer=ServedScorer(asker, fence),
    )


class ServedPlanner:
    """Lists what must be known, by prompt `plan`."""

    def __init__(self, asker: Asker, fallback: Roles) -> None:
        self._asker = asker
        self._fallback = fallback

    async def plan(self, question: str) -> Played[Plan]:
        """The needs of a question; a subject that the question does not name is dropped."""
        task = Task(
            role="plan",
            form=PlanForm,
            max_tokens=640,
            render=lambda _: load("plan").render(question=question),
        )

        def use(form: PlanForm, _: Sequence[int]) -> Plan:
            named = [need.subject.strip() for need in form.needs]
            needs = tuple(
                Need(
                    id=f"n{i}",
                    text=need.text.strip(),
                    subject=subject if subject.casefold() in question.casefold() else "",
                )
                for i, (need, subject) in enumerate(zip(form.needs, named, strict=True), start=1)
            )
            return Plan(needs=needs, asks=form.asks)

        return await play(self._asker, task, use, lambda: self._fallback.planner.plan(question))


class ServedRefiner:
    """Picks the sentences that bear on the question, by prompt `refine`."""

    def __init__(self, asker: Asker, fence: Fence, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def refine(
        self, situation: Situation, readings: Sequence[Reading]
    ) -> Played[tuple[Quote, ...]]:
        """One quote for each sentence chosen."""
        if not readings:
            return Played(value=())
        numbered: list[tuple[int, int, int]] = []
        blocks = []
        for place, reading in enumerate(readings):
            lines = []
            for start, end in sentences(reading.passage.text):
                numbered.append((place, start, end))
                lines.append(f"[{len(numbered)}] {reading.passage.text[start:end]}")
            title = reading.passage.title.replace("\n", " ")
            blocks.append(self._fence.wrap("passage", "\n".join([f"Title: {title}", *lines])))

        def render(chosen: Sequence[str]) -> Rendered:
            return load("refine").render(
                question=situation.question,
                needs=_needs(self._fence, situation),
                known=_facts(self._fence, situation.pool[:6]),
                passages="\n".join(chosen),
            )

        task = Task(role="refine", form=RefineForm, max_tokens=96, render=render, blocks=blocks)

        def use(form: RefineForm, seen: Sequence[int]) -> tuple[Quote, ...]:
            named = dict.fromkeys(n for n in form.sentences if n <= len(numbered))
            chosen = [numbered[n - 1] for n in named if numbered[n - 1][0] in seen]
            return tuple(
                _sentence_quote(readings[place], start, end, rank)
                for rank, (place, start, end) in enumerate(chosen)
            )

        return await play(
            self._asker, task, use, lambda: self._fallback.refiner.refine(situation, readings)
        )


class ServedAssessor:
    """Judges whether the pool is enough, by prompt `assess`."""

    def __init__(self, asker: Asker, fence: Fence, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def assess(self, situation: Situation) -> Played[Assessment]:
        """Enough, or what is missing; an empty pool is never enough and asks nobody."""
        if not situation.pool:
            return Played(value=Assessment(sufficient=False, missing=("any evidence",)))
        task = Task(
            role="assess",
            form=AssessForm,
            max_tokens=320,
            render=lambda blocks: load("assess").render(
                question=situation.question,
                needs=_needs(self._fence, situation),
                evidence="\n".join(blocks),
            ),
            blocks=_quotes(self._fence, situation.pool),
        )

        def use(form: AssessForm, _: Sequence[int]) -> Assessment:
            missing = () if form.sufficient else tuple(m for m in form.missing if m.strip())
            return Assessment(sufficient=form.sufficient, missing=missing)

        return await play(self._asker, task, use, lambda: self._fallback.assessor.assess(situation))


class ServedQueryWriter:
    """Writes the next queries, by prompt `next_query`."""

    def __init__(self, asker: Asker, fence: Fence, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def next_queries(self, situation: Situation) -> Played[tuple[Query, ...]]:
        """Queries for what is missing; their hits count nearly as much as the question's own."""
        assessed = situation.assessment
        task = Task(
            role="next_query",
            form=QueriesForm,
            max_tokens=320,
            render=lambda blocks: load("next_query").render(
                question=situation.question,
                missing=self._fence.wrap(
                    "missing", "; ".join(assessed.missing) if assessed else ""
                ),
                # Fenced as well: names that the fallback follows are words of the documents.
                asked=self._fence.wrap("queries", "; ".join(situation.asked[-12:])),
                evidence="\n".join(blocks),
            ),
            blocks=_quotes(self._fence, situation.pool),
        )

        def use(form: QueriesForm, _: Sequence[int]) -> tuple[Query, ...]:
            texts = (text.strip() for text in form.queries)
            return tuple(Query(text=t, purpose="gap", weight=0.95) for t in texts if t)

        return await play(
            self._asker, task, use, lambda: self._fallback.query_writer.next_queries(situation)
        )


class ServedAnswerer:
    """Answers from the pool, by prompt `answer`."""

    def __init__(self, asker: Asker, fence: Fence, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def answer(self, situation: Situation, on_delta: DeltaListener) -> Played[Answer]:
        """Claims with evidence ids, and the short answer, told while it is written."""
        teller = Teller(self._fence, on_delta)
        task = Task(
            role="answer",
            form=AnswerForm,
            max_tokens=800,
            render=lambda blocks: load("answer").render(
                question=situation.question, evidence="\n".join(blocks)
            ),
            blocks=_quotes(self._fence, situation.pool),
            hear=teller.hear,
        )

        def use(form: AnswerForm, seen: Sequence[int]) -> Answer:
            return _answer(form, {situation.pool[place].id for place in seen})

        played = await play(
            self._asker, task, use, lambda: self._fallback.answerer.answer(situation, _mute)
        )
        teller.tell(played.value.text)
        return played


def _answer(form: AnswerForm, seen: Set[str]) -> Answer:
    """The reply as an answer; evidence that the model was not shown cannot be cited."""
    if not form.answered:
        return Answer(text="", claims=(), extractive=False, abstains=True)
    claims = tuple(
        Claim(text=claim.text.strip(), evidence=_cited(claim.evidence, seen))
        for claim in form.claims
    )
    return Answer(text=form.answer.strip(), claims=claims, extractive=False)


def _cited(numbers: Sequence[int], seen: Set[str]) -> tuple[str, ...]:
    return tuple(e for e in (f"e{n}" for n in dict.fromkeys(numbers)) if e in seen)


def _mute(delta: AnswerDelta) -> None:
    """Swallows the fallback's deltas: its text is told here, in the place of what is void."""


def _sentence_quote(reading: Reading, start: int, end: int, rank: int) -> Quote:
    passage = reading.passage
    return Quote(
        passage_id=passage.id,
        start=passage.start + start,
        end=passage.start + end,
        confidence=round(1.0 - 0.05 * rank, 2),
    )


def _needs(fence: Fence, situation: Situation) -> str:
    """What must be known, inside the fence: a model wrote it and a question may have led it."""
    return fence.wrap("needs", "; ".join(need.text for need in situation.plan.needs))


def _facts(fence: Fence, pool: Sequence[Evidence]) -> str:
    return "\n".join(_quotes(fence, pool)) or "nothing yet"


def _quotes(fence: Fence, pool: Sequence[Evidence]) -> list[str]:
    """The pool as numbered quotes inside the fence, best first."""
    return [
        fence.wrap(f"quote {item.id[1:]}", f"{item.title.strip()}: {item.quote.strip()}")
        for item in pool
    ]
