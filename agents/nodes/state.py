"""State and context of a run: `RunState` changes from node to node, `RunContext` never does.

Each node returns a new state and mutates none. The state holds ids, offsets and small records, so
that the checkpoint after every node stays small (a passage's text is in the store, not here). The
context holds what a checkpoint cannot: corpus, roles, budget ledger, settings and event listener.
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

READ_GRACE = 0.25
"""Seconds that a short read may take after the deadline, so that what was found is still read, and
the best answer so far still checked against its documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The state of a run between two nodes: plan, queries, candidates, evidence, answer, steps."""

    question: str
    where: tuple[tuple[str, Scalar], ...] = ()
    generation: int = 0
    """The store's generation when the run began."""
    plan: Plan | None = None
    queries: tuple[Query, ...] = ()
    """Queries that the next `retrieve` makes."""
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
    """The context of a run: its corpus, roles, budget ledger, settings and event listener."""

    strategy: str
    model: str
    """The served model's name; empty where the roles are local."""
    corpus: Corpus
    roles: Roles
    ledger: Ledger
    settings: RunSettings = field(default_factory=RunSettings)
    emit: Listener = ignore
    notes: list[str] = field(default_factory=list)
    """What went wrong outside and was made up for, for the receipt's flags."""

    def read_seconds(self) -> float:
        """The deadline of a short read, in seconds: what is left, or a grace when nothing is."""
        return max(READ_GRACE, self.ledger.seconds_left())
