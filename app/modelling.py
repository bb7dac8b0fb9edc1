"""From options to the model that is asked, the budget and the reach of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.app.opening import read_key
from hoptrail.app.settings import AskTable, BudgetTable, ModelTable, over
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents import Budget, ServedModel, Settings


def budget_of(
    calls: int | None,
    tokens: int | None,
    searches: int | None,
    seconds: float | None,
    table: BudgetTable,
) -> Budget:
    """The budget that flags and settings give.

    Raises:
        SettingsError: it leaves nothing to do.
    """
    from hoptrail.agents import Budget  # noqa: PLC0415 (heavy: loaded when used)

    flags = BudgetTable(calls=calls, tokens=tokens, searches=searches, seconds=seconds)
    return Budget(**over(table, flags, *BudgetTable.__slots__))


def reach_of(mode: str | None, table: AskTable) -> Settings:
    """How far, wide and along what a run searches; what was typed is over the settings."""
    from hoptrail.agents import Settings  # noqa: PLC0415

    typed = AskTable(mode=mode)
    return Settings(**over(table, typed, "mode", "k", "read", "max_rounds", "max_queries"))


def served_model(
    url: str | None, name: str | None, key_file: Path | None, table: ModelTable
) -> ServedModel | None:
    """The model that flags and settings name; None: none.

    Raises:
        SettingsError: a name or key without a server, or a key file that cannot be read.
    """
    from hoptrail.agents import ServedModel  # noqa: PLC0415

    url, name = url or table.url, name or table.name
    key_file = key_file or table.api_key_file
    if url is None:
        if name is not None or key_file is not None:
            raise SettingsError(
                "A model's name or key is of no use without its server: add --model URL."
            )
        return None
    return ServedModel(url=url, name=name, api_key=None if key_file is None else read_key(key_file))
