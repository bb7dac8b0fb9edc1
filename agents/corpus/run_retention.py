"""`RunRetention`: how long the folders of a store's runs are kept on disk."""

from __future__ import annotations

from dataclasses import dataclass

from hoptrail.rag.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetention:
    """How long the folders of runs that were cut off are kept, at least for an hour.

    Raises:
        SettingsError: a limit is not above 0.
    """

    days: float = 30.0
    """Since the run last did anything; above 0."""
    count: int = 200
    """The most that are kept, the latest; at least 1."""

    def __post_init__(self) -> None:
        """Refuses limits by which nothing is ever kept."""
        for name, value in (("days", self.days), ("count", self.count)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise SettingsError(
                    f"The retention of runs has {name}={value!r}: give a number above 0, or "
                    "keep_runs=False to keep none."
                )
