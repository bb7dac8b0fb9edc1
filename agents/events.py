"""The events of a run, as `on_event=` gets them: plan, queries, hits, evidence, answer, claims.

`AnswerDelta` has the text of answers alone: no other model text ever reaches a user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.types import Claim, Evidence, Plan, Query, SlateRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """As many runs go on as may at once: this one waits for its turn, and its seconds count."""

    ahead: int
    """Runs that wait and come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A run that waited begins."""

    seconds: float
    """How long it waited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """The plan was made."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRewritten:
    """The question was made to stand alone, without the conversation before it."""

    question: str


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
    """Whether the tree was built just now, without a model, since there was none."""


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
    """A further piece of the answer's text, streamed before it is verified.

    All pieces together, in order, are the receipt's answer.
    """

    text: str
    restart: bool = False
    """Discard the pieces so far (the reply broke off, or did not hold when it was verified): the
    text begins anew with this piece, which may be empty."""

    def onto(self, so_far: str) -> str:
        """The text so far, followed or replaced by this piece."""
        return self.text if self.restart else so_far + self.text


@dataclass(slots=True)
class StreamedAnswer:
    """The text of the answer as the listener of a run has it so far."""

    text: str = ""

    def hear(self, event: object) -> None:
        """Takes in what the listener gets."""
        if isinstance(event, AnswerDelta):
            self.text = event.onto(self.text)

    def delta_to(self, text: str) -> AnswerDelta | None:
        """The piece that makes the streamed text this one; None where it is."""
        if text == self.text:
            return None
        restart = not text.startswith(self.text)
        return AnswerDelta(text=text if restart else text[len(self.text) :], restart=restart)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimVerified:
    """A claim was checked against its quotes."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The run is over; its receipt."""

    receipt: Receipt


Event = (
    Waiting
    | Admitted
    | PlanMade
    | QuestionRewritten
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
    """The listener that ignores every event."""
