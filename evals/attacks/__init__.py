"""Attack suite: hostile documents and questions, run against a temporary copy of a store."""

from hoptrail.evals.attacks.report import AttackReport
from hoptrail.evals.attacks.sandbox import Sandbox, SandboxSettings
from hoptrail.evals.attacks.suite import all_attacks, run_attacks
from hoptrail.evals.attacks.types import Attack, AttackResult, Kind, Measure, Verdict

__all__ = [
    "Attack",
    "AttackReport",
    "AttackResult",
    "Kind",
    "Measure",
    "Sandbox",
    "SandboxSettings",
    "Verdict",
    "all_attacks",
    "run_attacks",
]
