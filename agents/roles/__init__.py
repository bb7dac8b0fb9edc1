"""The roles of a run: rewriter, planner, refiner, assessor, query writer, answerer, tree scorer.

One file a role, with its local player (rules, no model) and its served player (a language model).
"""

from hoptrail.agents.roles.base import (
    Answerer,
    Assessor,
    DeltaListener,
    PassageToRead,
    Planner,
    QueryWriter,
    Quote,
    Refiner,
    Rewriter,
    RoleInput,
    RoleResult,
    Roles,
    Scorer,
)

__all__ = [
    "Answerer",
    "Assessor",
    "DeltaListener",
    "PassageToRead",
    "Planner",
    "QueryWriter",
    "Quote",
    "Refiner",
    "Rewriter",
    "RoleInput",
    "RoleResult",
    "Roles",
    "Scorer",
]
