"""The one typed stream of what a run does; terminals, HTTP doors and tests draw from it.

Only the answer node emits `AnswerDelta`: no other node's model text ever reaches a user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hoptrail.agents.receipt import Receipt
from hoptrail.agents.types import Claim, Evidence, Plan, Query, SlateRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """What must be known to answer."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A node of the graph begins."""

    node: str
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMade:
    """A search begins."""

    query: Query


@dataclass(frozen=True, slots=True, kw_only=True)
class HitsFound:
    """A search ended; `titles` are those of its best hits."""

    query: Query
    count: int
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeOpened:
    """The corpus tree is about to be searched."""

    nodes: int
    """Inner nodes."""
    leaves: int
    """Passages in it, or documents."""
    built: bool
    """There was none, so one was built, without a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlatesScored:
    """One iteration of a tree search ended."""

    iteration: int
    """From 1."""
    slates: tuple[SlateRecord, ...]
    best: str
    """The beginning of the text that scored best; empty where nothing was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceAdded:
    """A quote entered the pool."""

    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDelta:
    """A further piece of the answer's text, not verified yet."""

    text: str
    restart: bool = False
    """What was told before is void (the reply broke off or could not be used): the text begins
    anew with this piece, which may be empty."""

    def onto(self, told: str) -> str:
        """The text so far, with this piece."""
        return self.text if self.restart else told + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimVerified:
    """A claim was checked against its quotes."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The run is over."""

    receipt: Receipt


Event = (
    PlanMade
    | StepStarted
    | QueryMade
    | HitsFound
    | TreeOpened
    | SlatesScored
    | EvidenceAdded
    | AnswerDelta
    | ClaimVerified
    | Done
)

Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who only want the receipt."""
