"""Console output shared by builds with a served model: cost estimate, failures, final report."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from hoptrail.app.cli.interrupts import interruptible
from hoptrail.app.cli.output import INTERRUPTED, emit, note, say
from hoptrail.app.cli.settings import given
from hoptrail.app.text import one_line, plural

if TYPE_CHECKING:
    from hoptrail.agents import Budget
    from hoptrail.agents.indexing.build_records import BuildEstimate, BuildReport
    from hoptrail.agents.indexing.graph_builder import PassageFailed
    from hoptrail.agents.indexing.tree_builder import QuestionFailed

T = TypeVar("T")

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


def build_budget(calls: int | None, tokens: int | None, seconds: float | None) -> Budget:
    """Budget of a build from its options; without an option there is no limit."""
    from hoptrail.agents.indexing.batch_runner import NO_LIMIT

    return replace(NO_LIMIT, **given(calls=calls, tokens=tokens, seconds=seconds))  # type: ignore[arg-type]


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user agrees; asked only at a terminal, and not if `yes` was given."""
    return yes or not _at_terminal() or typer.confirm(one_line(question), err=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def run_interruptibly(
    start: Callable[[asyncio.Event], Coroutine[Any, Any, T]], stopping: str, stopped: str
) -> T:
    """Runs a build to its report; Ctrl-C once ends it well, twice at once.

    Args:
        start: begins the build; once the event is set it begins no question.
        stopping: note after the first Ctrl-C.
        stopped: note after the second.

    Raises:
        typer.Exit: after the second.
    """
    try:
        return asyncio.run(interruptible(start, stopping))
    except asyncio.CancelledError:
        note(stopped)
        raise typer.Exit(INTERRUPTED) from None


def emit_record(
    event: str, record: BuildEstimate | BuildReport, keys: tuple[str, ...], **more: str
) -> None:
    """Prints an estimate or report as a line of JSON; `keys` in order, after `more`."""
    fields = {key: getattr(record, key) for key in keys}
    if "usage" in fields:
        fields["usage"] = asdict(fields["usage"])
    emit({"event": event, **more, **fields})


def say_tokens(plan: BuildEstimate) -> None:
    """Prints the tokens of prompts and replies."""
    whose = "the server's" if plan.counted_by == "server" else "tiktoken's"
    say(f"Prompts: about {plan.prompt_tokens:,} tokens by {whose} count")
    say(
        f"Replies: about {plan.reply_tokens:,} tokens, at most {plan.most_reply_tokens:,} "
        "for the first calls"
    )


def report_failure(event: PassageFailed | QuestionFailed, where: str, as_json: bool) -> None:
    """Notes a reply that could not be used; `where` names its question."""
    detail = f" ({event.detail})" if event.detail else ""
    note(f"failed: {where} {_failure_words(event.failure)}{detail}")
    if as_json:
        emit({"event": "failed", **asdict(event)})


def _failure_words(failure: str) -> str:
    return _FAILURES.get(failure, failure)


def say_failures(failures: Mapping[str, int]) -> None:
    """Prints the number of replies that could not be used, by kind of failure."""
    for failure, count in failures.items():
        say(f"  {count:,} × {_failure_words(failure)}")


def say_cost(report: BuildReport, done: str) -> None:
    """Prints what a build spent and why it ended; `done` is the reason if nothing cut it short."""
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
