"""The records of a run: plan, queries, candidates, evidence, claims, answer, steps.

All are frozen, slotted and keyword-only. Checkpoints and receipts consist of them, so they hold
ids, offsets and quotes, never whole passages.
"""

from hoptrail.agents.types.answers import (
    AbstainReason,
    Answer,
    Assessment,
    CheckedBy,
    Claim,
    ClaimsBy,
    Computation,
    Context,
    Outcome,
    OutcomeKind,
    StopReason,
)
from hoptrail.agents.types.evidence import (
    Candidate,
    Evidence,
    ReadPassage,
    Rescored,
    evidence_id,
)
from hoptrail.agents.types.plans import (
    Binding,
    Contradiction,
    Need,
    Plan,
    Purpose,
    Query,
    Source,
    SourceName,
    Step,
    StepAnswer,
    TriplePattern,
    Turn,
)
from hoptrail.agents.types.steps import (
    TREE_BUILT,
    ModelUse,
    SlateRecord,
    StepRecord,
)

__all__ = [
    "TREE_BUILT",
    "AbstainReason",
    "Answer",
    "Assessment",
    "Binding",
    "Candidate",
    "CheckedBy",
    "Claim",
    "ClaimsBy",
    "Computation",
    "Context",
    "Contradiction",
    "Evidence",
    "ModelUse",
    "Need",
    "Outcome",
    "OutcomeKind",
    "Plan",
    "Purpose",
    "Query",
    "ReadPassage",
    "Rescored",
    "SlateRecord",
    "Source",
    "SourceName",
    "Step",
    "StepAnswer",
    "StepRecord",
    "StopReason",
    "TriplePattern",
    "Turn",
    "evidence_id",
]
