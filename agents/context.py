"""What a run holds beside its state: the doors to the outside, the players, the purse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from hoptrail.agents.events import Listener, ignore
from hoptrail.agents.ledger import Ledger
from hoptrail.agents.outside import Corpus
from hoptrail.agents.roles import Roles
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.navigation import NavigateSettings
from hoptrail.rag.types import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How far and how wide a run searches."""

    k: int = 20
    """Passages a query brings."""
    read: int = 5
    """New passages a round hands to the refiner."""
    max_rounds: int = 4
    max_queries: int = 12
    """Queries a round may make; the search budget divides among them."""
    mode: Mode | None = None
    """How the question itself is searched. None: the best that the store has an index for; a run
    and its recording have that in its place."""
    navigate: NavigateSettings = field(default_factory=NavigateSettings)
    """How the corpus tree is searched, where a strategy does."""

    def __post_init__(self) -> None:
        """Refuses values that could not search at all."""
        for name in ("k", "read", "max_rounds", "max_queries"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise SettingsError(f"{name}={value!r}: it must be a whole number of at least 1")
        if self.mode is not None and self.mode not in get_args(Mode):
            known = ", ".join(get_args(Mode))
            raise SettingsError(f"Unknown mode {self.mode!r}: use one of {known}.")


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
