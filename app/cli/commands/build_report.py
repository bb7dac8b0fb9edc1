"""What every build by a served model says: its cost beforehand and afterwards, and why it ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import typer

from hoptrail.app.cli.output import say
from hoptrail.app.cli.settings import given
from hoptrail.app.text import plural

if TYPE_CHECKING:
    from hoptrail.agents import Budget
    from hoptrail.agents.budget.ledger import Usage

_STOPPED = {
    "out_of_calls": "the budget has no call left",
    "out_of_tokens": "the budget has too few tokens left",
    "out_of_time": "its time was up",
    "model_unavailable": "the model server does not answer any more, or refuses everything",
    "interrupted": "it was interrupted",
}
_FAILURES = {
    "parse": "no reply that could be read",
    "length": "the reply was cut off",
    "overlong": "too long for the server's window",
    "refused_by_server": "refused by the server",
    "cancelled": "cancelled",
}


class CostEstimate(Protocol):
    """An estimate of what a model would read and write."""

    @property
    def prompt_tokens(self) -> int:
        """Of all prompts."""

    @property
    def reply_tokens(self) -> int:
        """If replies are as long as they usually are."""

    @property
    def most_reply_tokens(self) -> int:
        """The most that the first calls may have."""

    @property
    def counted_by(self) -> str:
        """`server` or `tiktoken`."""


class CostReport(Protocol):
    """A report of what was asked of a model."""

    @property
    def usage(self) -> Usage:
        """What was spent."""

    @property
    def flags(self) -> int:
        """Usage reports of the server that could not be believed."""

    @property
    def without_salt(self) -> bool:
        """Whether the server refused `cache_salt`."""

    @property
    def stop(self) -> str:
        """Why it ended."""


def build_budget(calls: int | None, tokens: int | None, seconds: float | None) -> Budget:
    """The budget that flags give; what they leave out has no limit."""
    from hoptrail.agents.indexing.batch_runner import NO_LIMIT  # noqa: PLC0415 (heavy: loaded when used)

    return replace(NO_LIMIT, **given(calls=calls, tokens=tokens, seconds=seconds))  # type: ignore[arg-type]


def confirmed(question: str, yes: bool) -> bool:
    """Whether to go on: asked only at a terminal, and not where it was answered beforehand."""
    return yes or not _at_terminal() or typer.confirm(question, err=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def say_tokens(plan: CostEstimate) -> None:
    """What prompts and replies would take."""
    whose = "the server's" if plan.counted_by == "server" else "tiktoken's"
    say(f"Prompts: about {plan.prompt_tokens:,} tokens by {whose} count")
    say(
        f"Replies: about {plan.reply_tokens:,} tokens, at most {plan.most_reply_tokens:,} "
        "for the first calls"
    )


def failure_words(failure: str) -> str:
    """Why a reply could not be used."""
    return _FAILURES.get(failure, failure)


def say_failures(failures: Mapping[str, int]) -> None:
    """How many replies could not be used, by why."""
    for failure, count in failures.items():
        say(f"  {count:,} × {failure_words(failure)}")


def say_cost(report: CostReport, done: str) -> None:
    """What was spent, and why it ended; `done` is what to say if nothing cut it short."""
    spent = report.usage
    say(
        f"Cost: {plural(spent.calls, 'model call')}, {spent.prompt_tokens:,} prompt and "
        f"{spent.completion_tokens:,} reply tokens, {spent.seconds:.1f} s"
    )
    if report.flags:
        say(f"The server's own count was missing or not credible {plural(report.flags, 'time')}.")
    if report.without_salt:
        say("The server refused cache_salt: its prompt cache is shared with other tenants.")
    say(f"It stopped because {_STOPPED.get(report.stop, done)}")
