"""Resource limits: questions and settings that ask for more than a run may spend."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hoptrail.agents.budget.limits import Budget
from hoptrail.evals.attacks.judges import over_budget
from hoptrail.evals.attacks.sandbox import Sandbox
from hoptrail.evals.attacks.scene import QUESTION, TRUE_DOCUMENT
from hoptrail.evals.attacks.scripted_reader import scripted_reader
from hoptrail.evals.attacks.types import Kind, Verdict, passed_unless
from hoptrail.rag.errors import SettingsError

_HUGE = 10**9
_GRACE = 30.0
"""Seconds above its limit after which a run, or a refusal, counts as late."""
_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimit:
    """A demand without measure; `attempt` makes it and returns the problem."""

    name: str
    attempt: Callable[[Sandbox], str]
    seconds: float = 0.0
    """Seconds that it may take, beside a grace of 30."""

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return "resource_limits"

    def run(self, sandbox: Sandbox) -> Verdict:
        """Makes the demand, and looks at the clock."""
        began = time.monotonic()
        problem = self.attempt(sandbox)
        took = time.monotonic() - began
        if not problem and took > self.seconds + _GRACE:
            problem = f"took {took:.0f} s, where {self.seconds:g} s were allowed"
        return passed_unless(problem, f"refused or ended in {took:.1f} s")


def resource_limits() -> tuple[ResourceLimit, ...]:
    """All demands."""
    return (
        ResourceLimit(name="question-of-1-mb", attempt=_long_question),
        ResourceLimit(name="longest-question", attempt=_longest_question, seconds=_SECONDS),
        ResourceLimit(name="no-budget", attempt=_no_budget),
        ResourceLimit(name="one-search", attempt=_one_search, seconds=_SECONDS),
        ResourceLimit(name="huge-k", attempt=_huge_k, seconds=_SECONDS),
        ResourceLimit(name="huge-settings", attempt=_huge_settings, seconds=_SECONDS),
        ResourceLimit(name="never-enough", attempt=_never_enough, seconds=_SECONDS),
    )


def _long_question(sandbox: Sandbox) -> str:
    try:
        sandbox.ask("lamp " * 200_000, budget=Budget(seconds=_SECONDS))
    except SettingsError:
        return ""
    return "a question of 1 MB is not refused"


def _longest_question(sandbox: Sandbox) -> str:
    question = " ".join(f"lamp{number}" for number in range(20_000))[:19_990] + "?"
    return over_budget(sandbox.ask(question, budget=Budget(seconds=_SECONDS)))


def _no_budget(sandbox: Sandbox) -> str:
    for name, value in (("searches", 0), ("seconds", 0), ("calls", -1), ("tokens", -1)):
        try:
            replace(Budget(), **{name: value})
        except SettingsError:
            continue
        return f"a budget of {value} {name} is not refused"
    receipt = sandbox.ask(QUESTION, budget=Budget(calls=0, tokens=0, seconds=_SECONDS))
    return over_budget(receipt)


def _one_search(sandbox: Sandbox) -> str:
    with sandbox.planted([TRUE_DOCUMENT]):
        budget = Budget(calls=3, tokens=3_000, searches=1, seconds=_SECONDS)
        return over_budget(sandbox.ask(QUESTION, budget=budget))


def _huge_k(sandbox: Sandbox) -> str:
    with sandbox.planted([TRUE_DOCUMENT]):
        passages = sandbox.kb.store.stats().passages
        for mode in sandbox.modes:
            try:
                found = len(sandbox.kb.search(QUESTION, k=_HUGE, mode=mode).hits)
            except SettingsError:
                continue
            if found > passages:
                return f"a search in mode {mode!r} returns {found:,} of {passages:,} passages"
    return ""


def _huge_settings(sandbox: Sandbox) -> str:
    try:
        wide = replace(
            sandbox.settings.settings, k=_HUGE, read=_HUGE, max_rounds=_HUGE, max_queries=_HUGE
        )
    except SettingsError:
        return ""
    with sandbox.planted([TRUE_DOCUMENT]):
        return over_budget(sandbox.ask(QUESTION, settings=wide, budget=Budget(seconds=_SECONDS)))


def _never_enough(sandbox: Sandbox) -> str:
    """A model that never finds the evidence enough must not search for ever."""
    wide = replace(sandbox.settings.settings, max_rounds=_HUGE)
    with sandbox.planted([TRUE_DOCUMENT]):
        receipt = sandbox.ask(
            QUESTION, model=scripted_reader(), settings=wide, budget=Budget(seconds=_SECONDS)
        )
    return over_budget(receipt)
