"""The roles played by a served model: a prompt file, a bounded form, and a local fallback each.

Replies are kept short and by number wherever they can be: the refiner names sentences instead of
copying them, so that a quote is exact by construction; the answerer cites evidence by number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from hoptrail.agents.asking import Asked, Asker
from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.fence import Fence
from hoptrail.agents.forms import json_form
from hoptrail.agents.ledger import OutOfBudget, Usage
from hoptrail.agents.roles import DeltaListener, Played, Quote, Reading, Roles, Situation
from hoptrail.agents.types import (
    Answer,
    Assessment,
    Claim,
    Evidence,
    ModelUse,
    Need,
    Plan,
    Query,
    StopReason,
)
from hoptrail.prompts import Rendered, load
from hoptrail.rag.text import sentences

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_STOPS: dict[str, StopReason] = {
    "unavailable": "model_unavailable",
    "refused_by_server": "model_unavailable",
    "cancelled": "cancelled",
}

Short = Annotated[str, Field(max_length=80)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NeedForm(_Form):
    """One thing that must be known."""

    text: Short
    subject: Annotated[str, Field(max_length=60)]


class PlanForm(_Form):
    """The planner's reply."""

    needs: Annotated[list[NeedForm], Field(min_length=1, max_length=4)]
    asks: Literal["person", "place", "date", "number", "choice", "yes_no", "thing"]


class RefineForm(_Form):
    """The refiner's reply: numbers of sentences."""

    sentences: Annotated[list[Annotated[int, Field(ge=1, le=400)]], Field(max_length=8)]


class AssessForm(_Form):
    """The assessor's reply."""

    sufficient: bool
    missing: Annotated[list[Short], Field(max_length=3)]


class QueriesForm(_Form):
    """The query writer's reply."""

    queries: Annotated[list[Short], Field(max_length=3)]


class ClaimForm(_Form):
    """One sentence of the answer."""

    text: Annotated[str, Field(max_length=160)]
    evidence: Annotated[list[Annotated[int, Field(ge=1, le=400)]], Field(max_length=4)]


class AnswerForm(_Form):
    """The answerer's reply."""

    claims: Annotated[list[ClaimForm], Field(max_length=4)]
    answer: Annotated[str, Field(max_length=120)]
    answered: bool


def served_roles(asker: Asker, fence: Fence, fallback: Roles) -> Roles:
    """All five roles, played by the asker's model; `fallback` plays where its reply fails."""
    return Roles(
        planner=ServedPlanner(asker, fallback),
        refiner=ServedRefiner(asker, fence, fallback),
        assessor=ServedAssessor(asker, fence, fallback),
        query_writer=ServedQueryWriter(asker, fence, fallback),
        answerer=ServedAnswerer(asker, fence, fallback),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task(Generic[M]):
    """One thing to ask a model: how the prompt is made, and what may be left out of it."""

    role: str
    form: type[M]
    max_tokens: int
    render: Callable[[Sequence[str]], Rendered]
    blocks: Sequence[str] = ()


async def _play(
    asker: Asker,
    task: _Task[M],
    use: Callable[[M], T],
    fallback: Callable[[], Awaitable[Played[T]]],
) -> Played[T]:
    """Asks the model; where its reply cannot be used the fallback plays, and that is noted."""
    form = json_form(task.form)
    left_out = 0
    try:
        fitted = await asker.fit(task.render, task.blocks, form=form, max_tokens=task.max_tokens)
        left_out = len(fitted.left_out)
        asked = await asker.ask(
            node=task.role, prompt=fitted.prompt, form=form, max_tokens=task.max_tokens
        )
    except OutOfBudget as error:
        note = _note(task.role, load(task.role).hash, asker, error.usage, left_out, error.stop)
        return Played(value=(await fallback()).value, use=note, stop=error.stop)
    note = _use(task.role, asked, left_out)
    if asked.value is None:
        stop = _STOPS.get(asked.failure or "")
        return Played(value=(await fallback()).value, use=note, stop=stop)
    return Played(value=use(asked.value), use=note)


def _use(role: str, asked: Asked[M], left_out: int) -> ModelUse:
    return ModelUse(
        role=role,
        prompt_hash=asked.prompt_hash,
        model=asked.model,
        attempts=asked.attempts,
        re_asks=asked.re_asks,
        prompt_tokens=asked.usage.prompt_tokens,
        completion_tokens=asked.usage.completion_tokens,
        failure=asked.failure or "",
        left_out=left_out,
    )


def _note(
    role: str, prompt_hash: str, asker: Asker, spent: Usage, left_out: int, failure: str
) -> ModelUse:
    return ModelUse(
        role=role,
        prompt_hash=prompt_hash,
        model=asker.server.model,
        attempts=spent.calls,
        re_asks=0,
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        failure=failure,
        left_out=left_out,
    )


class ServedPlanner:
    """Lists what must be known, by prompt `plan`."""

    def __init__(self, asker: Asker, fallback: Roles) -> None:
        self._asker = asker
        self._fallback = fallback

    async def plan(self, question: str) -> Played[Plan]:
        """The needs of a question; a subject that the question does not name is dropped."""
        task = _Task(
            role="plan",
            form=PlanForm,
            max_tokens=640,
            render=lambda _: load("plan").render(question=question),
        )

        def use(form: PlanForm) -> Plan:
            needs = tuple(
                Need(
                    id=f"n{i}",
                    text=need.text,
                    subject=need.subject if need.subject.casefold() in question.casefold() else "",
                )
                for i, need in enumerate(form.needs, start=1)
            )
            return Plan(needs=needs, asks=form.asks)

        return await _play(self._asker, task, use, lambda: self._fallback.planner.plan(question))


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
        numbered: list[tuple[Reading, int, int]] = []
        blocks = []
        for reading in readings:
            lines = []
            for start, end in sentences(reading.passage.text):
                numbered.append((reading, start, end))
                lines.append(f"[{len(numbered)}] {reading.passage.text[start:end]}")
            title = reading.passage.title.replace("\n", " ")
            blocks.append(self._fence.wrap("passage", "\n".join([f"Title: {title}", *lines])))

        def render(chosen: Sequence[str]) -> Rendered:
            return load("refine").render(
                question=situation.question,
                needs=_needs(situation),
                known=_facts(self._fence, situation.pool[:6]),
                passages="\n".join(chosen),
            )

        task = _Task(role="refine", form=RefineForm, max_tokens=96, render=render, blocks=blocks)

        def use(form: RefineForm) -> tuple[Quote, ...]:
            chosen = dict.fromkeys(n for n in form.sentences if n <= len(numbered))
            return tuple(_sentence_quote(*numbered[n - 1], place) for place, n in enumerate(chosen))

        return await _play(
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
        task = _Task(
            role="assess",
            form=AssessForm,
            max_tokens=320,
            render=lambda blocks: load("assess").render(
                question=situation.question, needs=_needs(situation), evidence="\n".join(blocks)
            ),
            blocks=_quotes(self._fence, situation.pool),
        )

        def use(form: AssessForm) -> Assessment:
            missing = () if form.sufficient else tuple(m for m in form.missing if m.strip())
            return Assessment(sufficient=form.sufficient, missing=missing)

        return await _play(
            self._asker, task, use, lambda: self._fallback.assessor.assess(situation)
        )


class ServedQueryWriter:
    """Writes the next queries, by prompt `next_query`."""

    def __init__(self, asker: Asker, fence: Fence, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def next_queries(self, situation: Situation) -> Played[tuple[Query, ...]]:
        """Queries for what is missing; their hits count nearly as much as the question's own."""
        assessed = situation.assessment
        task = _Task(
            role="next_query",
            form=QueriesForm,
            max_tokens=320,
            render=lambda blocks: load("next_query").render(
                question=situation.question,
                missing="; ".join(assessed.missing) if assessed else "",
                # Fenced as well: names that the fallback follows are words of the documents.
                asked=self._fence.wrap("queries", "; ".join(situation.asked[-12:])),
                evidence="\n".join(blocks),
            ),
            blocks=_quotes(self._fence, situation.pool),
        )

        def use(form: QueriesForm) -> tuple[Query, ...]:
            texts = (text.strip() for text in form.queries)
            return tuple(Query(text=t, purpose="gap", weight=0.95) for t in texts if t)

        return await _play(
            self._asker, task, use, lambda: self._fallback.query_writer.next_queries(situation)
        )


class ServedAnswerer:
    """Answers from the pool, by prompt `answer`."""

    def __init__(self, asker: Asker, fence: Fence, fallback: Roles) -> None:
        self._asker = asker
        self._fence = fence
        self._fallback = fallback

    async def answer(self, situation: Situation, on_delta: DeltaListener) -> Played[Answer]:
        """Claims with evidence ids, and the short answer."""
        task = _Task(
            role="answer",
            form=AnswerForm,
            max_tokens=800,
            render=lambda blocks: load("answer").render(
                question=situation.question, evidence="\n".join(blocks)
            ),
            blocks=_quotes(self._fence, situation.pool),
        )
        played = await _play(
            self._asker, task, _answer, lambda: self._fallback.answerer.answer(situation, _mute)
        )
        if played.value.text:
            on_delta(AnswerDelta(text=played.value.text))
        return played


def _answer(form: AnswerForm) -> Answer:
    if not form.answered:
        return Answer(text="", claims=(), extractive=False, abstains=True)
    claims = tuple(
        Claim(
            text=claim.text.strip(), evidence=tuple(f"e{n}" for n in dict.fromkeys(claim.evidence))
        )
        for claim in form.claims
    )
    return Answer(text=form.answer.strip(), claims=claims, extractive=False)


def _mute(delta: AnswerDelta) -> None:
    """Swallows the fallback's deltas: the answer's text is emitted once, here."""


def _sentence_quote(reading: Reading, start: int, end: int, place: int) -> Quote:
    passage = reading.passage
    return Quote(
        passage_id=passage.id,
        start=passage.start + start,
        end=passage.start + end,
        confidence=round(1.0 - 0.05 * place, 2),
    )


def _needs(situation: Situation) -> str:
    return "; ".join(need.text for need in situation.plan.needs)


def _facts(fence: Fence, pool: Sequence[Evidence]) -> str:
    return "\n".join(_quotes(fence, pool)) or "nothing yet"


def _quotes(fence: Fence, pool: Sequence[Evidence]) -> list[str]:
    """The pool as numbered quotes inside the fence, best first."""
    return [
        fence.wrap(f"quote {item.id[1:]}", f"{item.title.strip()}: {item.quote.strip()}")
        for item in pool
    ]
