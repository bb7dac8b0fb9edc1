"""What the nodes ask for: six roles of one method each, and who may play them.

A node knows the role, never the player. `local.py` plays without a model, `served.py` asks a
model and falls back on the local player, counted, when the model's reply cannot be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.types import Answer, Assessment, Evidence, ModelUse, Plan, Query, StopReason
from hoptrail.rag.tree.search.types import Slate, SlateScores
from hoptrail.rag.types import Passage, Via

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleResult(Generic[T_co]):
    """What a player gave, what it took from a model, and whether that ended the budget."""

    value: T_co
    use: ModelUse | None = None
    stop: StopReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageToRead:
    """A passage to be refined, with its standing (0..1) and the query that found it."""

    passage: Passage
    score: float
    query: str
    via: Via | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What bears on the question in a passage; offsets count from the document's start."""

    passage_id: str
    start: int
    end: int
    confidence: float
    """0..1: how sure the refiner is that it bears on the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleInput:
    """What every role after the planner may look at."""

    question: str
    plan: Plan
    pool: Sequence[Evidence]
    asked: Sequence[str]
    assessment: Assessment | None = None


class Planner(Protocol):
    """Lists what must be known."""

    async def plan(self, question: str) -> RoleResult[Plan]:
        """The needs of a question, at least one."""


class Refiner(Protocol):
    """Finds what bears on the question in passages."""

    async def refine(
        self, situation: RoleInput, readings: Sequence[PassageToRead]
    ) -> RoleResult[tuple[Quote, ...]]:
        """Exact quotes; none where nothing bears on the question."""


class Assessor(Protocol):
    """Judges whether the pool is enough."""

    async def assess(self, situation: RoleInput) -> RoleResult[Assessment]:
        """Enough, or what is missing."""


class QueryWriter(Protocol):
    """Writes the next queries."""

    async def next_queries(self, situation: RoleInput) -> RoleResult[tuple[Query, ...]]:
        """Queries for what is missing, best first; none where nothing is left to follow."""


class Answerer(Protocol):
    """Answers from the pool."""

    async def answer(self, situation: RoleInput, on_delta: DeltaListener) -> RoleResult[Answer]:
        """Claims with evidence ids; may abstain."""


class Scorer(Protocol):
    """Scores what a tree search is shown."""

    async def score(
        self, question: str, slates: Sequence[Slate]
    ) -> Sequence[RoleResult[SlateScores]]:
        """One answer a slate, in order; what could not be scored is not there, and not zero."""


class DeltaListener(Protocol):
    """Takes pieces of the answer while it is written."""

    def __call__(self, event: AnswerDelta, /) -> None:
        """One more piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who plays what in one run."""

    planner: Planner
    refiner: Refiner
    assessor: Assessor
    query_writer: QueryWriter
    answerer: Answerer
    scorer: Scorer
