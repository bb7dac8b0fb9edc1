"""Agents: a LangGraph graph that decides, searches, judges and answers within a budget."""

from hoptrail.agents.ask import ReplayResult, aask, areplay, aresume, ask, astream, replay, resume
from hoptrail.agents.budget.limits import Budget, Usage
from hoptrail.agents.budget.quota import Quota
from hoptrail.agents.corpus.run_retention import RunRetention
from hoptrail.agents.knowledge_base import KnowledgeBase, open_library
from hoptrail.agents.llm.served_model import ModelClient, ServedModel
from hoptrail.agents.runs.folder import unfinished_runs
from hoptrail.agents.runs.models import RoleModel, RoleModels
from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.runs.request import RunSettings
from hoptrail.agents.strategies.graph import Paused, Strategy
from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.agents.types import (
    AbstainReason,
    Answer,
    Claim,
    Evidence,
    Outcome,
    Plan,
    Query,
    StopReason,
    Turn,
)
from hoptrail.rag.tree.search.types import TreeSearchSettings

__all__ = [
    "STRATEGIES",
    "AbstainReason",
    "Answer",
    "Budget",
    "Claim",
    "Evidence",
    "KnowledgeBase",
    "ModelClient",
    "Outcome",
    "Paused",
    "Plan",
    "Query",
    "Quota",
    "Receipt",
    "ReplayResult",
    "RoleModel",
    "RoleModels",
    "RunRetention",
    "RunSettings",
    "ServedModel",
    "StopReason",
    "Strategy",
    "TreeSearchSettings",
    "Turn",
    "Usage",
    "aask",
    "areplay",
    "aresume",
    "ask",
    "astream",
    "open_library",
    "replay",
    "resume",
    "unfinished_runs",
]
