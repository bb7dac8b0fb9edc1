"""The records of what is asked and searched for: turns, plans of steps and triples, queries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from hoptrail.rag.types import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn of the conversation before a question: what was asked, and what was answered."""

    question: str
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A fact that must be known to answer: about a name in the question, or the answer itself."""

    id: str
    text: str
    subject: str
    """The name to look for; empty where the question asks about no named thing."""


SourceName = Literal["hybrid", "lexical", "graph", "tree", "none"]
"""Where a step of a plan looks; `none`: nowhere, it compares or counts earlier answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a run can search, as a planner is told of it."""

    name: SourceName
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a plan: its purpose, where it looks and for what, and the steps that it needs."""

    id: str
    question: str
    """Its purpose, as the question that it answers; may stand on earlier answers, as in "Where was
    {{s1.answer}} born?"."""
    depends_on: tuple[str, ...] = ()
    """Ids of earlier steps."""
    source: SourceName = "hybrid"
    query: str = ""
    """What is searched for; may refer to earlier answers. Empty: the question."""

    @property
    def text(self) -> str:
        """What is searched for, references and all."""
        return self.query or self.question


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer:
    """The answer of a step, in the words that take the place of references to it."""

    step: str
    text: str
    """Empty: nothing was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriplePattern:
    """A relation that the question states, asked from its known side; the unknown is a variable."""

    subject: str
    """A name of the question, or the variable of an earlier triple."""
    relation: str
    object: str
    """A variable: `?x1`, `?x2`, …; that of the answer is `?ans`. Triples may share one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A value of a variable, and the evidence that states it."""

    variable: str
    value: str
    evidence: tuple[str, ...]
    """Ids of quotes in the evidence pool, at least one; each has the value word for word."""
    round: int
    """The first in which it was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Values of one variable that exclude each other, each with its support, the best first."""

    variable: str
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan for a question: the facts that must be known, and the kind of answer asked for."""

    needs: tuple[Need, ...]
    asks: str
    """The kind of answer: `person`, `place`, `date`, `number`, `choice`, `yes_no` or `thing`."""
    steps: tuple[Step, ...] = ()
    """The steps to the answer, each after those it depends on; (): the planner made none."""
    triples: tuple[TriplePattern, ...] = ()
    """The question as triples, each after those whose variables it needs; (): by needs alone."""

    def ready(self, done: Collection[str]) -> tuple[Step, ...]:
        """The steps that are not done and depend on nothing that is not."""
        return tuple(
            step
            for step in self.steps
            if step.id not in done and all(one in done for one in step.depends_on)
        )


Purpose = Literal["question", "subject", "bridge", "gap"]
"""The purpose of a search: `question`, the question as it stands; `subject`, a name in the
question; `bridge`, a name in the evidence; `gap`, a fact that an assessor found missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query: text, purpose, search mode and weight."""

    text: str
    purpose: Purpose
    mode: Mode = "hybrid"
    weight: float = 1.0
    """0..1: score of this query's best hit, relative to the best hit of the question itself."""
    fused: bool = False
    """Whether its ranking and those of the round's other such queries are fused into one."""
