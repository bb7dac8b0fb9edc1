"""The records that travel through the agent graph.

All are frozen, slotted and keyword-only. They are what a checkpoint holds and what a receipt is
made of, so they carry ids, offsets and quotes, never whole passages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hoptrail.rag.types import Mode, Via

StopReason = Literal[
    "sufficient",
    "no_progress",
    "max_rounds",
    "out_of_calls",
    "out_of_tokens",
    "out_of_searches",
    "out_of_time",
    "cancelled",
    "model_unavailable",
]
"""Why a run stopped searching; a closed set, apart from the outcome."""

OutcomeKind = Literal["answered", "partial", "abstained"]

AbstainReason = Literal[
    "nothing_found",
    "not_in_evidence",
    "nothing_verified",
    "source_changed",
    "out_of_budget",
    "cancelled",
]
"""Why there is no answer: the corpus gave nothing; what it gave does not bear on the question;
no claim held against its quotes; the cited documents moved; the budget ended, or the caller
stopped the run, before there was evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that must be known to answer: a subject the question names, or what it asks."""

    id: str
    text: str
    subject: str
    """The name to look for; empty where the question asks about no named thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What must be known, and what kind of answer is asked for."""

    needs: tuple[Need, ...]
    asks: str
    """The kind of answer: `person`, `place`, `date`, `number`, `choice`, `yes_no` or `thing`."""


Purpose = Literal["question", "subject", "bridge", "gap"]
"""Why a search is made: the question as it stands; a name it mentions; a name the evidence
mentions; something an assessor found missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One search to make."""

    text: str
    purpose: Purpose
    mode: Mode = "hybrid"
    weight: float = 1.0
    """0..1: what the best hit of this query is worth beside the question's own best hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage that some query found; `score` 0..1 is its standing among all of the run."""

    passage_id: str
    document_id: str
    score: float
    own: float
    """0..1: its standing under the question itself; 0 where that did not find it."""
    round: int
    query: str
    via: Via | None = None
    """The name by which the search came to it; None: by the query itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An exact quote: `document.text[start:end] == quote`, checked by code."""

    id: str
    document_id: str
    passage_id: str
    title: str
    start: int
    end: int
    quote: str
    confidence: float
    """0..1, the refiner's."""
    score: float
    """Confidence times the standing of the passage among all of the run."""
    round: int
    query: str
    via: Via | None = None
    """The name by which the search came to its passage; None: by the query itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Is the pool enough? If not, what is missing."""

    sufficient: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of the answer and the evidence it stands on."""

    text: str
    evidence: tuple[str, ...]
    verdict: Literal["unchecked", "holds", "dropped"] = "unchecked"
    reason: str = ""
    """Why it was dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said: a short answer and the claims behind it."""

    text: str
    claims: tuple[Claim, ...]
    extractive: bool
    """True: the documents' own words, no model reasoned over them."""
    abstains: bool = False
    """The answerer found that the evidence does not answer the question."""
    replaced: bool = False
    """The text said more than the claims hold, so the claims stand in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended for whoever asked."""

    kind: OutcomeKind
    reason: AbstainReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """What one role call took from the served model."""

    role: str
    prompt_hash: str
    model: str
    attempts: int
    re_asks: int
    prompt_tokens: int
    completion_tokens: int
    failure: str = ""
    """Why the role's fallback answered instead; empty where the model's reply was used."""
    left_out: int = 0
    """Blocks of evidence that did not fit into the model's context."""
    without: tuple[str, ...] = ()
    """Fields of the request that the server refused and that were therefore left out. Without
    `cache_salt` the server's prefix cache is shared with other tenants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateRecord:
    """One inner node that a tree search opened: what a scorer was shown and made of it."""

    node: int
    """Whose children were shown."""
    standing: float
    """0..1: the node's own when it was chosen."""
    reserve: bool
    """Chosen for its likeness to the question, not for its standing."""
    leaves: bool
    """Whether the children are passages; else inner nodes, and so are the anchors."""
    shown: tuple[int, ...]
    """Children in order, then anchors: numbers of nodes, or of rows of the store."""
    anchors: int
    """How many of the last were scored before and are shown for scale."""
    scores: tuple[float | None, ...]
    """0..1, in the order of `shown`; None: not scored."""
    failed: bool
    """No child was scored."""
    uses: tuple[ModelUse, ...] = ()
    """What asking took; a second time where scores were missing."""


TREE_BUILT = "built a tree without a model"
"""The action of a step that found no tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One thing a node did, for the receipt."""

    node: str
    action: str
    detail: str = ""
    found: tuple[str, ...] = ()
    """Ids: of passages for a search, of evidence for a refinement."""
    use: ModelUse | None = None
    slates: tuple[SlateRecord, ...] = ()
    """What one iteration of a tree search had scored."""
