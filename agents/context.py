"""What a run holds beside its state: the doors to the outside, the players, the purse."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import get_args

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.events import Listener, ignore
from hoptrail.agents.outside import Corpus
from hoptrail.agents.roles import Roles
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.search.types import NavigateSettings
from hoptrail.rag.types import Mode

SERVED_ITERATIONS = 8
"""Of a tree search that a model scores, unless told: at most 15 slates of two to four thousand
tokens, and the search grows little better after the eighth (LATTICE, arXiv 2510.13217)."""


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
    navigate: NavigateSettings | None = None
    """How the corpus tree is searched, where a strategy does. None: by its defaults, with a served
    model no longer than the default budget lasts; a run and its recording have the decision."""

    def __post_init__(self) -> None:
        """Refuses values that could not search at all."""
        for name in ("k", "read", "max_rounds", "max_queries"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise SettingsError(f"{name}={value!r}: it must be a whole number of at least 1")
        if self.mode is not None and self.mode not in get_args(Mode):
            known = ", ".join(get_args(Mode))
            raise SettingsError(f"Unknown mode {self.mode!r}: use one of {known}.")

    def resolved(self, mode: Mode, *, served: bool) -> Settings:
        """With all that is None decided: `mode` is the store's best, `served`: by a model."""
        usual = (
            NavigateSettings(iterations=SERVED_ITERATIONS, stretched=True)
            if served
            else NavigateSettings()
        )
        return replace(self, mode=self.mode or mode, navigate=self.navigate or usual)


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
