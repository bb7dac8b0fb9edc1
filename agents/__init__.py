"""Agents: a LangGraph graph that decides, searches, judges and answers within a budget."""

from hoptrail.agents.ask import Replayed, aask, areplay, aresume, ask, replay, resume
from hoptrail.agents.budget.limits import Budget, Usage
from hoptrail.agents.corpus.knowledge_base import Library, open_library
from hoptrail.agents.llm.http import ServedModel
from hoptrail.agents.receipt import Receipt
from hoptrail.agents.runs.folder import unfinished
from hoptrail.agents.runs.request import Settings
from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.rag.tree.search.types import NavigateSettings

__all__ = [
    "STRATEGIES",
    "Budget",
    "Library",
    "NavigateSettings",
    "Receipt",
    "Replayed",
    "ServedModel",
    "Settings",
    "Usage",
    "aask",
    "areplay",
    "aresume",
    "ask",
    "open_library",
    "replay",
    "resume",
    "unfinished",
]
