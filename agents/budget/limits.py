"""The records of a budget: limits, usage, shares, reservations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from hoptrail.rag.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedUsage:
    """Token counts as a server reported them, unchecked: they may be negative or absurd."""

    prompt_tokens: int
    completion_tokens: int


BudgetStop = Literal["out_of_calls", "out_of_tokens", "out_of_searches", "out_of_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of one run.

    Zero calls or tokens are allowed and mean: no model. A run without a search or without time
    could not answer anything, so these are refused.

    Attributes:
        calls: HTTP attempts on the model server, retries included; at least 0.
        tokens: prompt and completion tokens together; at least 0.
        searches: searches of the store; at least 1.
        seconds: elapsed time; above 0.

    Raises:
        SettingsError: a limit is negative, not a number, or leaves nothing to do.
    """

    calls: int = 24
    tokens: int = 60_000
    searches: int = 48
    seconds: float = 120.0

    def __post_init__(self) -> None:
        for name, least in (("calls", 0), ("tokens", 0), ("searches", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingsError(
                    f"The budget of {name} is {value!r}: give a whole number, at least {least}."
                )
        if (
            isinstance(self.seconds, bool)
            or not isinstance(self.seconds, int | float)
            or not math.isfinite(self.seconds)
            or self.seconds <= 0
        ):
            raise SettingsError(
                f"The budget of seconds is {self.seconds!r}: give a number above 0, such as 120."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The spending of a run or call; `seconds` is elapsed time, not the sum over parallel work."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    searches: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            **{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(Usage)}
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The remaining budget: what may still be reserved."""

    calls: int
    tokens: int
    searches: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of one parallel branch in the budget that was left when the branches began.

    A plain record: it may travel in the state of a graph and come back after a crash.
    """

    id: str
    calls: int
    tokens: int
    searches: int


def parts(total: int, n: int) -> list[int]:
    """`total` divided into `n` whole numbers that differ by at most one, larger ones first."""
    return [total // n + (i < total % n) for i in range(n)]


def less(shares: Sequence[Share], keep: Usage) -> tuple[Share, ...]:
    """The shares with `keep` taken off their sum and the rest divided evenly."""
    calls = parts(max(0, sum(one.calls for one in shares) - keep.calls), len(shares))
    tokens = parts(max(0, sum(one.tokens for one in shares) - keep.tokens), len(shares))
    return tuple(replace(one, calls=calls[i], tokens=tokens[i]) for i, one in enumerate(shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A reserved call or search, to be settled with the ledger that made it."""

    id: int
    node: str
    kind: Literal["call", "search"]
    share: str | None
    prompt_tokens: int
    completion_tokens: int

    def whole(self) -> Usage:
        """The usage counted until the reservation is settled, and for good if it never is."""
        if self.kind == "search":
            return Usage(searches=1)
        return Usage(
            calls=1,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
        )

    def implausibility(self, reported: ReportedUsage | None) -> str | None:
        """The reason why a usage report cannot be true; None if it can."""
        if reported is None:
            return "no usage reported"
        for name in ("prompt_tokens", "completion_tokens"):
            value, bound = getattr(reported, name), getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                return f"{name} is no whole number"
            if not 0 <= value <= bound:
                # Printing an integer of very many digits can fail.
                shown = str(value) if abs(value) < 10**18 else "of absurd size"
                return f"{name} {shown} is outside 0..{bound}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A usage report that cannot be true; the whole reservation was counted instead."""

    node: str
    reservation: int
    reason: str


class OutOfBudget(Exception):
    """A limit of the budget is reached. A node turns it into a stop reason.

    Attributes:
        stop: the limit that was reached.
        usage: the spending of the interrupted call before that.
    """

    def __init__(self, stop: BudgetStop, usage: Usage | None = None) -> None:
        super().__init__(stop)
        self.stop: BudgetStop = stop
        self.usage = usage or Usage()
