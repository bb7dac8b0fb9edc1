"""What a run holds beside its state: the doors to the outside, the players, the purse."""

from __future__ import annotations

from dataclasses import dataclass, field

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import Listener, ignore
from hoptrail.agents.roles import Roles
from hoptrail.agents.runs.request import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The context that every node of the graph is given."""

    strategy: str
    model: str
    """The served model's name; empty where none plays."""
    corpus: Corpus
    roles: Roles
    ledger: Ledger
    settings: Settings = field(default_factory=Settings)
    emit: Listener = ignore
