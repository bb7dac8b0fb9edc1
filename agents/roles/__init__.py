"""The roles of a run: those that search, those that read, verifier and tree scorer.

One file a role, with its local player (rules, no model) and its served player (a language model).
"""

from hoptrail.agents.roles.base import (
    Answerer,
    Assessor,
    DeltaListener,
    Draft,
    PassageToRead,
    Planner,
    QueryWriter,
    Quote,
    Reader,
    Reasoner,
    ReasoningStep,
    Refiner,
    Rewriter,
    RoleInput,
    RoleResult,
    Roles,
    Scorer,
    ShortAnswer,
)

__all__ = [
    "Answerer",
    "Assessor",
    "DeltaListener",
    "Draft",
    "PassageToRead",
    "Planner",
    "QueryWriter",
    "Quote",
    "Reader",
    "Reasoner",
    "ReasoningStep",
    "Refiner",
    "Rewriter",
    "RoleInput",
    "RoleResult",
    "Roles",
    "Scorer",
    "ShortAnswer",
]
