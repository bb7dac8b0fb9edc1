"""The records of a run: plan, queries, candidates, evidence, claims, answer, steps.

All are frozen, slotted and keyword-only. Checkpoints and receipts consist of them, so they hold
ids, offsets and quotes, never whole passages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from hoptrail.rag.types import Mode, Via

StopReason = Literal[
    "sufficient",
    "unjudged",
    "no_progress",
    "max_rounds",
    "out_of_calls",
    "out_of_tokens",
    "out_of_searches",
    "out_of_time",
    "cancelled",
    "model_unavailable",
]
"""Why a run stopped searching; a closed set, apart from the outcome.

`sufficient`: an assessor found the evidence enough; `unjudged`: the strategy searches as far as it
is made to, and no assessor judged what it found."""

OutcomeKind = Literal["answered", "quotes", "partial", "unverified", "abstained"]
"""`quotes`: the documents' own words that bear on the question; whether they answer it, nothing
judged. `unverified`: a model's answer that no quote states; only `naive` gives one."""

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

Context = Literal["passages", "quotes", "both"]
"""What a model reads: whole passages, the sentences quoted from them, or both."""

ClaimsBy = Literal["model", "code"]
"""Who finds the claims of an answer: the model, before it answers, as a chain of thought; or the
code, in sentences that contain the model's short answer."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage that a query found; `score`, 0..1, ranks it among all passages of the run."""

    passage_id: str
    document_id: str
    score: float
    own: float
    """0..1: its score for the question itself; 0 where that query did not find it."""
    round: int
    query: str
    via: Via | None = None
    """The name by which the search came to it; None: by the query itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """Candidates with scores that replace those of before, be they higher or lower."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPassage:
    """A passage that was read, the round, and why: what had found it, and its ranks, from 1."""

    passage_id: str
    query: str
    round: int
    copy: bool = False
    """True: it is gone, or has the text of another one, which was read in its place."""
    score: float = 0.0
    """0..1, as its `Candidate` had it then, and so is the name by which the search came to it."""
    via: Via | None = None
    rank: int = 0
    """By score, among the passages not read yet; 0: recorded by an earlier version."""
    model_rank: int = 0
    """In the order that a model made; 0: none did, its score decided."""
    votes: float | None = None
    """Samples of a model that found it useful, each by its probability where that is known."""


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
    """0..1: how sure the refiner is that the quote bears on the question."""
    score: float
    """0..1: confidence times the score of the passage."""
    round: int
    query: str
    via: Via | None = None
    """The name by which the search came to its passage; None: by the query itself."""
    generation: int = 0
    """The store's generation when its passage was read; 0: the receipt is older than this field."""


def evidence_id(document_id: str, start: int, end: int) -> str:
    """The id of a quote, made from where it stands: parallel branches give it the same one."""
    place = f"{document_id}\0{start}\0{end}".encode("utf-8", "surrogatepass")
    return "e" + hashlib.sha256(place).hexdigest()[:10]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A judgement of the evidence pool: sufficient, or the facts that are missing."""

    sufficient: bool
    missing: tuple[str, ...] = ()
    found: tuple[tuple[str, str], ...] = ()
    """Variables and values that the evidence is said to state; code looks for the support."""


CheckedBy = Literal["", "code", "model", "both"]
"""Who gave a claim its verdict: the rules, a model, both in agreement; empty: not checked, or not
recorded by an earlier version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of the answer, with the ids of the evidence that it cites."""

    text: str
    evidence: tuple[str, ...]
    verdict: Literal["unchecked", "holds", "dropped"] = "unchecked"
    reason: str = ""
    """Why the claim was dropped; empty where it holds."""
    checked_by: CheckedBy = ""
    probability: float | None = None
    """0..1, that a model gave to its being stated; None: none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """A number of the short answer, worked out from what claims and quotes state."""

    operator: Literal["difference", "sum", "count"]
    operands: tuple[str, ...]
    """The numbers, the larger first; of a count, what is counted: claims, or ids of evidence."""
    result: str
    evidence: tuple[str, ...]
    """Ids of the quotes of the claims that hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: a short text, and the claims that support it."""

    text: str
    claims: tuple[Claim, ...]
    extractive: bool
    """True: the documents' own words, no model reasoned over them."""
    abstains: bool = False
    """True: the answerer found that the evidence does not answer the question."""
    replaced: bool = False
    """True: the text said more than the claims that hold, so they replace it."""
    unverified: bool = False
    """True: the text stays as it is, whatever the claims support."""
    computation: Computation | None = None
    """How a number in the text follows from the claims, where none of them states it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a run: answered, partial, or abstained with the reason."""

    kind: OutcomeKind
    reason: AbstainReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """The model usage of one role call: attempts, tokens, failure."""

    role: str
    prompt_hash: str
    model: str
    attempts: int
    re_asks: int
    prompt_tokens: int
    completion_tokens: int
    failure: str = ""
    """Why the role's fallback was used instead; empty where the model's reply was used."""
    problem: str = ""
    """The same in words: the last thing that was wrong with a reply or a request."""
    left_out: int = 0
    """Blocks of evidence that did not fit into the model's context."""
    without: tuple[str, ...] = ()
    """Fields of the request that the server refused and that were therefore left out. Without
    `cache_salt` the server's prefix cache is shared with other tenants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateRecord:
    """An inner node that a tree search opened: the slate of its children, and their scores."""

    node: int
    """The number of the node whose children were shown."""
    standing: float
    """0..1: the score of the node when it was chosen."""
    reserve: bool
    """Whether the node was chosen for its similarity to the question, not for its score."""
    leaves: bool
    """Whether the children are passages; else inner nodes, and so are the anchors."""
    shown: tuple[int, ...]
    """Children in order, then anchors: numbers of nodes, or of rows of the store."""
    anchors: int
    """How many of the last ones in `shown` were scored before and calibrate the scores."""
    scores: tuple[float | None, ...]
    """0..1, in the order of `shown`; None: not scored."""
    failed: bool
    """True: no child was scored."""
    uses: tuple[ModelUse, ...] = ()
    """The model usage of the slate; two entries where missing scores were asked for again."""


TREE_BUILT = "built a tree without a model"
"""The action of a step that found no tree, so built one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step of a run, for the receipt: the node, its action, and the ids that it found."""

    node: str
    action: str
    detail: str = ""
    found: tuple[str, ...] = ()
    """Ids: of passages for a search, of evidence for a refinement."""
    use: ModelUse | None = None
    slates: tuple[SlateRecord, ...] = ()
    """The slates of one iteration of a tree search."""
