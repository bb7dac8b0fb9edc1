"""The state that flows through the graph: replaced by every node, never mutated.

It holds ids, offsets and small records, so that a checkpoint after every node stays small
(a passage's text lives in the store, not here).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Listener, ignore
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.runs.request import RunSettings
from hoptrail.agents.types import (
    Answer,
    Assessment,
    Candidate,
    Evidence,
    Plan,
    Query,
    StepRecord,
    StopReason,
)
from hoptrail.rag.types import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Where a run stands between two nodes."""

    question: str
    where: tuple[tuple[str, Scalar], ...] = ()
    generation: int = 0
    """The store's generation when the run began."""
    plan: Plan | None = None
    queries: tuple[Query, ...] = ()
    """To be made by the next retrieve."""
    asked: tuple[str, ...] = ()
    """Every query made so far."""
    candidates: tuple[Candidate, ...] = ()
    """Every passage found so far, best first."""
    read: tuple[str, ...] = ()
    """Ids of the passages that a refiner has read."""
    evidence: tuple[Evidence, ...] = ()
    """The evidence pool, best first."""
    round: int = 0
    barren: int = 0
    """Rounds in a row that added no evidence."""
    assessment: Assessment | None = None
    answer: Answer | None = None
    stop: StopReason | None = None
    steps: tuple[StepRecord, ...] = ()
    receipt: str = ""
    """The receipt's JSON, once the run is over."""

    def step(self, record: StepRecord) -> RunState:
        """The state with one more step in its history."""
        return replace(self, steps=(*self.steps, record))

    def stopped(self, reason: StopReason | None) -> RunState:
        """The state with a stop reason; the first one given stays."""
        return self if reason is None or self.stop is not None else replace(self, stop=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The context that every node of the graph is given."""

    strategy: str
    model: str
    """The served model's name; empty where none plays."""
    corpus: Corpus
    roles: Roles
    ledger: Ledger
    settings: RunSettings = field(default_factory=RunSettings)
    emit: Listener = ignore
