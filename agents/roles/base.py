"""The protocols of the roles, one method each, and the records they take and return.

A node knows the role, never the player. The local player of a role works without a model; the
served player asks a model and falls back on the local one, counted, when the model's reply cannot
be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from hoptrail.agents.budget.limits import Share
from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.types import (
    Answer,
    Assessment,
    Binding,
    ClaimsBy,
    Context,
    Evidence,
    ModelUse,
    Plan,
    Query,
    Source,
    Step,
    StopReason,
    Turn,
)
from hoptrail.rag.tree.search.types import Slate, SlateScores
from hoptrail.rag.types import Passage, Via

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleResult(Generic[T_co]):
    """The result of a role call, with its model usage and the stop reason if the budget ended."""

    value: T_co
    use: ModelUse | None = None
    stop: StopReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageToRead:
    """A passage to be refined, with its score (0..1) and the query that found it."""

    passage: Passage
    score: float
    query: str
    via: Via | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """An exact quote that bears on the question; offsets count from the document's start."""

    passage_id: str
    start: int
    end: int
    confidence: float
    """0..1: how sure the refiner is that it bears on the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleInput:
    """The input of every role after the planner: question, plan, evidence pool, queries made."""

    question: str
    plan: Plan
    pool: Sequence[Evidence]
    asked: Sequence[str]
    assessment: Assessment | None = None
    bindings: Sequence[Binding] = ()
    """The values that the variables of the plan have so far, the best supported first."""
    passages: Sequence[Passage] = ()
    """Those read so far, in order of arrival."""
    notes: Sequence[Turn] = ()
    """What the loop has found out: drafts, thoughts, or follow-up questions and their answers."""
    claims_by: ClaimsBy = "code"
    """Who finds the claims of the answer."""
    context: Context = "passages"
    """Which of them, and of the pool's quotes, a model is shown."""


class Rewriter(Protocol):
    """Conversational question rewriting: makes a question stand alone."""

    async def rewrite(self, question: str, history: Sequence[Turn]) -> RoleResult[str]:
        """The question with what it leans on in the turns before it, oldest first, put in."""


class Planner(Protocol):
    """Query planning: lists the facts that must be known to answer."""

    async def plan(self, question: str) -> RoleResult[Plan]:
        """The needs of a question, at least one."""


class StepPlanner(Protocol):
    """Decomposition of a question into searches that may depend on each other's answers."""

    async def plan_steps(
        self, question: str, sources: Sequence[Source], notes: Sequence[Turn]
    ) -> RoleResult[tuple[Step, ...]]:
        """The steps, `s1`, `s2`, …, each after those it depends on.

        Args:
            question: what is asked.
            sources: what may be searched.
            notes: what the steps of an earlier plan were answered; empty where one found nothing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An order of passages, with the model usage of each call that made it."""

    order: tuple[int, ...]
    """Positions of the passages given, best first, each once."""
    ranked: int = 0
    """How many of the first ones a model ranked; the rest are in the order given."""
    votes: tuple[float, ...] = ()
    """By position: how many samples found the passage useful; empty: none was asked."""
    uses: tuple[ModelUse, ...] = ()
    stop: StopReason | None = None


class Ranker(Protocol):
    """Reranking: puts passages into the order in which they are worth reading."""

    async def rank(self, question: str, passages: Sequence[Passage]) -> Ranked:
        """A permutation of the passages given, which are best first by the search's scores."""


class Refiner(Protocol):
    """Evidence extraction: finds the quotes in passages that bear on the question."""

    async def refine(
        self, situation: RoleInput, readings: Sequence[PassageToRead]
    ) -> RoleResult[tuple[Quote, ...]]:
        """Exact quotes; none where nothing bears on the question."""


class Assessor(Protocol):
    """Sufficiency judgement: is the evidence pool enough to answer?"""

    async def assess(self, situation: RoleInput) -> RoleResult[Assessment]:
        """Enough, or what is missing."""


class QueryWriter(Protocol):
    """Query generation: writes the queries of the next round."""

    async def next_queries(self, situation: RoleInput) -> RoleResult[tuple[Query, ...]]:
        """Queries for what is missing, best first; none where nothing is left to follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer, and exact quotes behind its claims that the evidence pool may not have yet."""

    answer: Answer
    quotes: tuple[Quote, ...] = ()


class Answerer(Protocol):
    """Answer generation from passages and the evidence pool."""

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Draft]:
        """Claims with evidence ids, those of its quotes among them; may abstain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortAnswer:
    """A short answer to one question, and the sentences that contain it."""

    text: str
    """Empty: none was found."""
    quotes: tuple[Quote, ...] = ()


class Reader(Protocol):
    """Reading comprehension: one question, a few passages, a short answer; no claims."""

    async def read(
        self, question: str, passages: Sequence[Passage], *, share: Share | None = None
    ) -> RoleResult[ShortAnswer]:
        """The answer in a few words, and what it stands on; `share`: of a parallel branch."""


ReasoningStyle = Literal["thought", "follow_up", "monologue"]
"""The next sentence of a chain of thought (IRCoT), a follow-up question (self-ask), or a thought
and a query (IM-RAG)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningStep:
    """A step of reasoning between two searches."""

    thought: str
    query: str
    """What to search for next; empty: nothing, the reasoning is complete."""


class Reasoner(Protocol):
    """Reasoning between searches: says what to find out next, or that nothing is left to."""

    async def next_step(
        self, situation: RoleInput, style: ReasoningStyle
    ) -> RoleResult[ReasoningStep]:
        """The next step of a loop."""


class Verifier(Protocol):
    """Verification of an answer: each claim by the quotes that it cites, the text by the claims."""

    async def verify(
        self, answer: Answer, pool: Sequence[Evidence], question: str
    ) -> RoleResult[Answer]:
        """The answer with a verdict on each claim; its text says no more than those that hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimToJudge:
    """A claim and the quotes that it cites, for a model to judge."""

    text: str
    quotes: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entailment:
    """A model's opinion of a claim: whether its quotes entail it, and why."""

    entailed: bool
    reason: str
    probability: float | None = None
    """0..1, that they do; None: the server gives no probabilities."""


class EntailmentModel(Protocol):
    """A model that judges whether quotes entail claims: a served one, or a small local one."""

    async def judge(
        self, claims: Sequence[ClaimToJudge]
    ) -> RoleResult[tuple[Entailment | None, ...]]:
        """One opinion a claim, in order; None: no opinion."""


class Scorer(Protocol):
    """Relevance scoring of the tree nodes and passages on the slates of a tree search."""

    async def score(
        self, question: str, slates: Sequence[Slate]
    ) -> Sequence[RoleResult[SlateScores]]:
        """One result a slate, in order; an item that could not be scored is absent, not zero."""


class DeltaListener(Protocol):
    """A callback for the pieces of an answer while it is written."""

    def __call__(self, event: AnswerDelta, /) -> None:
        """Takes one more piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The player of each role in one run."""

    rewriter: Rewriter
    planner: Planner
    step_planner: StepPlanner
    ranker: Ranker
    refiner: Refiner
    assessor: Assessor
    query_writer: QueryWriter
    answerer: Answerer
    reader: Reader
    reasoner: Reasoner
    verifier: Verifier
    scorer: Scorer
