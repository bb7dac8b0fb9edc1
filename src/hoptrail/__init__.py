"""hoptrail: agentic RAG that hops through your documents and returns an answer with a receipt.

    from hoptrail import KnowledgeBase

    with KnowledgeBase.create("mine") as kb:
        kb.ingest("notes/")
        print(kb.ask("Who led the second expedition?").answer)

Everything is loaded when it is first used: this import itself loads nothing heavy.
`hoptrail.rag`, `hoptrail.agents` and `hoptrail.evals` export what lies behind it.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.agents.ask import (
        ReplayResult,
        aask,
        areplay,
        aresume,
        ask,
        astream,
        replay,
        resume,
    )
    from hoptrail.agents.budget.limits import Budget, Usage
    from hoptrail.agents.budget.quota import Quota
    from hoptrail.agents.corpus.run_retention import RunRetention
    from hoptrail.agents.knowledge_base import KnowledgeBase
    from hoptrail.agents.llm.served_model import ModelClient, ServedModel
    from hoptrail.agents.runs.models import RoleModel, RoleModels
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.runs.request import RunSettings
    from hoptrail.agents.strategies.graph import Paused
    from hoptrail.agents.strategies.registry import STRATEGIES
    from hoptrail.agents.types import Claim, Evidence, Turn
    from hoptrail.rag.errors import HoptrailError
    from hoptrail.rag.ingest.pipeline import ingest
    from hoptrail.rag.types import Document, Passage

__version__ = version("hoptrail")

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "agents.ask": [
            "ReplayResult",
            "aask",
            "areplay",
            "aresume",
            "ask",
            "astream",
            "replay",
            "resume",
        ],
        "agents.budget.limits": ["Budget", "Usage"],
        "agents.budget.quota": ["Quota"],
        "agents.corpus.run_retention": ["RunRetention"],
        "agents.knowledge_base": ["KnowledgeBase"],
        "agents.llm.served_model": ["ModelClient", "ServedModel"],
        "agents.runs.models": ["RoleModel", "RoleModels"],
        "agents.runs.receipt": ["Receipt"],
        "agents.runs.request": ["RunSettings"],
        "agents.strategies.graph": ["Paused"],
        "agents.strategies.registry": ["STRATEGIES"],
        "agents.types": ["Claim", "Evidence", "Turn"],
        "rag.errors": ["HoptrailError"],
        "rag.ingest.pipeline": ["ingest"],
        "rag.types": ["Document", "Passage"],
    },
)

__all__ = [
    "STRATEGIES",
    "Budget",
    "Claim",
    "Document",
    "Evidence",
    "HoptrailError",
    "KnowledgeBase",
    "ModelClient",
    "Passage",
    "Paused",
    "Quota",
    "Receipt",
    "ReplayResult",
    "RoleModel",
    "RoleModels",
    "RunRetention",
    "RunSettings",
    "ServedModel",
    "Turn",
    "Usage",
    "__version__",
    "aask",
    "areplay",
    "aresume",
    "ask",
    "astream",
    "ingest",
    "replay",
    "resume",
]
