"""The registry of strategies by name.

A new strategy is a new file with a `wire` function, and its line in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hoptrail.agents.strategies import (
    auto,
    ircot,
    iter_retgen,
    lattice,
    monologue,
    naive,
    plan,
    pool,
    self_ask,
    single,
)
from hoptrail.agents.strategies.graph import Strategy
from hoptrail.rag.errors import SettingsError

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "auto": Strategy(name="auto", wire=auto.wire),
        "ircot": Strategy(name="ircot", wire=ircot.wire),
        "iter-retgen": Strategy(name="iter-retgen", wire=iter_retgen.wire),
        "lattice": Strategy(name="lattice", wire=lattice.wire),
        "monologue": Strategy(name="monologue", wire=monologue.wire),
        "naive": Strategy(name="naive", wire=naive.wire),
        "plan": Strategy(name="plan", wire=plan.wire),
        "pool": Strategy(name="pool", wire=pool.wire),
        "self-ask": Strategy(name="self-ask", wire=self_ask.wire),
        "single": Strategy(name="single", wire=single.wire),
    }
)


def strategy(name: str) -> Strategy:
    """The strategy of a name.

    Raises:
        SettingsError: there is none; the message lists the known ones.
    """
    if name not in STRATEGIES:
        known = ", ".join(sorted(STRATEGIES))
        raise SettingsError(f"Unknown strategy {name!r}: use one of {known}.")
    return STRATEGIES[name]
