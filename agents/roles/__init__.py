"""The roles of a run, each with a local player and a served one.

Rewriter, planner, ranker, refiner, assessor, query writer, reasoner, reader, answerer, tree scorer.
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
    Ranked,
    Ranker,
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
    "Ranked",
    "Ranker",
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
