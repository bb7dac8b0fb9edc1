"""State and context of a run: `RunState` grows from node to node, `RunContext` never changes.

A node returns a `StateUpdate`, the fields that it changes, and the reducer beside each field puts
updates together, those of parallel branches too. The state holds ids, offsets and small records, so
that the checkpoint after every node stays small (a passage's text is in the store, not here). The
context holds what a checkpoint cannot: corpus, roles, budget ledger, settings and event listener.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, TypedDict, TypeVar

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Listener, StreamedAnswer, ignore
from hoptrail.agents.nodes.evidence_pool import merge_candidates, merge_evidence
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.roles.searching.bindings import merge_bindings
from hoptrail.agents.roles.searching.router import Route
from hoptrail.agents.runs.request import RunSettings
from hoptrail.agents.types import (
    Answer,
    Assessment,
    Binding,
    Candidate,
    Evidence,
    Plan,
    Query,
    ReadPassage,
    Rescored,
    StepAnswer,
    StepRecord,
    StopReason,
    Turn,
)
from hoptrail.rag.types import Passage, Scalar

READ_GRACE = 0.25
"""Seconds that a short read may take after the deadline, so that what was found is still read, and
the best answer so far still checked against its documents."""

T = TypeVar("T")


def appended(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    """Reducer: the new items after the old."""
    return (*old, *new)


def latest(old: T, new: T) -> T:
    """Reducer: the new value; of parallel branches, that of the last one dispatched."""
    return new


def highest(old: float, new: float) -> float:
    """Reducer: the higher number."""
    return max(old, new)


def first_given(old: T, new: T) -> T:
    """Reducer: the first value that is neither None nor empty stays."""
    return old or new


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The state of a run between two nodes: plan, queries, candidates, evidence, answer, steps."""

    question: str
    """What is to be answered; stands alone once `condense` has read the conversation before it."""
    history: tuple[Turn, ...] = ()
    """The conversation before the question, oldest turn first."""
    where: tuple[tuple[str, Scalar], ...] = ()
    generation: int = 0
    """The store's generation when the run began."""
    plan: Plan | None = None
    plans: Annotated[int, highest] = 0
    """How many plans of steps were made."""
    step: Annotated[str, latest] = ""
    """Id of the step that a parallel branch works on; empty: the question itself."""
    answers: Annotated[tuple[StepAnswer, ...], appended] = ()
    """The answers of the steps that are done."""
    route: Annotated[Route, latest] = ""
    """How far a routed run searches; empty: not decided, or not routed."""
    tree: Annotated[bool, latest] = False
    """Whether a routed run may search the corpus tree."""
    queries: Annotated[tuple[Query, ...], latest] = ()
    """Queries that the next `retrieve` makes."""
    asked: Annotated[tuple[str, ...], appended] = ()
    """Every query made so far."""
    candidates: Annotated[tuple[Candidate, ...], merge_candidates] = ()
    """Every passage found so far, best first."""
    read: Annotated[tuple[ReadPassage, ...], appended] = ()
    """Every passage read so far, in order; one may come back under another query."""
    shown_from: Annotated[int, highest] = 0
    """Passages read in rounds before this one are not shown to models any more."""
    notes: Annotated[tuple[Turn, ...], appended] = ()
    """What the loop has found out on its way: drafts, or follow-up questions and their answers."""
    progress: Annotated[tuple[int, ...], appended] = ()
    """Number of missing facts after each turn of a monologue."""
    evidence: Annotated[tuple[Evidence, ...], merge_evidence] = ()
    """The evidence pool, best first."""
    bindings: Annotated[tuple[Binding, ...], merge_bindings] = ()
    """The values found for the variables of the plan's triples."""
    round: Annotated[int, highest] = 0
    assessment: Annotated[Assessment | None, latest] = None
    answer: Annotated[Answer | None, latest] = None
    stop: Annotated[StopReason | None, first_given] = None
    steps: Annotated[tuple[StepRecord, ...], appended] = ()
    clock: Annotated[float, highest] = 0.0
    """Seconds of the run when the last node ended, by its branch's clock."""
    embedder_failure: Annotated[str, first_given] = ""
    """Why the embedder failed, so that searches go on by words alone; empty: it did not."""
    receipt: str = ""
    """The receipt's JSON, once the run is over."""

    @property
    def barren(self) -> int:
        """Rounds in a row, up to the present one, that added neither evidence nor a binding."""
        quoted = max((item.round for item in self.evidence), default=0)
        bound = max((one.round for one in self.bindings), default=0)
        return self.round - max(quoted, bound)


class StateUpdate(TypedDict, total=False):
    """What a node changes of a `RunState`; the field's reducer joins it to what was there."""

    question: str
    plan: Plan | None
    plans: int
    step: str
    answers: tuple[StepAnswer, ...]
    route: Route
    tree: bool
    queries: tuple[Query, ...]
    asked: tuple[str, ...]
    candidates: tuple[Candidate, ...] | Rescored
    read: tuple[ReadPassage, ...]
    shown_from: int
    notes: tuple[Turn, ...]
    progress: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    bindings: tuple[Binding, ...]
    round: int
    assessment: Assessment | None
    answer: Answer | None
    stop: StopReason | None
    steps: tuple[StepRecord, ...]
    clock: float
    embedder_failure: str
    receipt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The context of a run: its corpus, roles, budget ledger, settings and event listener."""

    question: str
    """As it was asked."""
    strategy: str
    model: str
    """The served model's name; empty where the roles are local."""
    corpus: Corpus
    roles: Roles
    ledger: Ledger
    settings: RunSettings = field(default_factory=RunSettings)
    emit: Listener = ignore
    streamed: StreamedAnswer = field(default_factory=StreamedAnswer)
    flags: tuple[str, ...] = ()
    """Oddities of the run's beginning, for the receipt."""
    texts: dict[str, Passage] = field(default_factory=dict)
    """Passages by id, as they were read: later prompts show the same text, and need not read."""

    def show_answer(self, text: str) -> None:
        """Makes this text the streamed one, by a further piece or anew."""
        delta = self.streamed.delta_to(text)
        if delta is not None:
            self.emit(delta)

    def read_seconds(self) -> float:
        """The deadline of a short read, in seconds: what is left, or a grace when nothing is."""
        return max(READ_GRACE, self.ledger.seconds_left())
