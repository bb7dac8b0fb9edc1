"""`hoptrail graph build`: a served model reads passages into triples, once it is said at what cost.

Estimate and report are results; failures, questions and the progress bar go to stderr.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app import options
from hoptrail.app.exits import FAILED, INTERRUPTED
from hoptrail.app.interrupting import interruptible
from hoptrail.app.modelling import served_model
from hoptrail.app.opening import WAIT, open_store, place
from hoptrail.app.output import counted, emit, note, say
from hoptrail.app.settings import given, load_settings
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents import Budget, ServedModel
    from hoptrail.agents.building import BuildEvent, BuildReport
    from hoptrail.agents.estimating import Estimate
    from hoptrail.rag.store import Store

_STOPPING = "finishing what is being read; press Ctrl-C again to leave that unread"
_STOPPED = {
    "done": "every passage that it was to read was tried",
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


def build(  # noqa: PLR0913 (a command's options are its parameters)
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="OpenAI-compatible server, such as http://127.0.0.1:8000/v1."
        ),
    ] = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Read so many passages now.  [default: all]")
    ] = None,
    budget_calls: options.Calls = None,
    budget_tokens: options.Tokens = None,
    budget_seconds: options.Seconds = None,
    parallel: Annotated[
        int, typer.Option(metavar="N", help="Passages read at one time, 1 to 32.")
    ] = 16,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it begins.")] = False,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Have a served model read passages into the graph.

    Optional, and it costs what it says beforehand. Each passage is read once by a model: a build
    that was stopped goes on when it is started again. A budget of the settings file is for
    questions and does not count here. Exits with 1 if a passage failed or the server was lost.
    """
    from hoptrail.agents import estimating  # noqa: PLC0415 (heavy: loaded when used)

    tables = load_settings(settings)
    root, name = place(store, tenant, tables.store)
    served = served_model(model, model_name, api_key_file, tables.model)
    if served is None:
        raise SettingsError("No model is named: give --model URL, or url in [model] of a file.")
    budget = _budget(budget_calls, budget_tokens, budget_seconds)
    with open_store(root, name, wait) as opened:
        plan = asyncio.run(estimating.estimate(opened, served, limit=limit))
        _show_estimate(plan, as_json)
        if dry_run or not plan.passages:
            return
        if not yes and _at_terminal() and not typer.confirm("Read them now?", err=True):
            note("nothing was read")
            return
        report = _built(opened, served, plan, budget, parallel, as_json)
    _show_report(report, as_json)
    if report.stop == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if report.failed or report.stop == "model_unavailable":
        raise typer.Exit(FAILED)


def _budget(calls: int | None, tokens: int | None, seconds: float | None) -> Budget:
    """The budget that flags give; what they leave out has no limit."""
    from hoptrail.agents.pump import NO_LIMIT  # noqa: PLC0415

    return replace(NO_LIMIT, **given(calls=calls, tokens=tokens, seconds=seconds))  # type: ignore[arg-type]


def _built(
    store: Store,
    served: ServedModel,
    plan: Estimate,
    budget: Budget,
    parallel: int,
    as_json: bool,
) -> BuildReport:
    """Reads in view; the first Ctrl-C finishes what is begun, the second leaves it.

    Raises:
        typer.Exit: stopped by the second.
    """
    from hoptrail.agents import building  # noqa: PLC0415
    from hoptrail.app.progress import BuildBar  # noqa: PLC0415

    with BuildBar(plan.passages) as bar:

        def listen(event: BuildEvent) -> None:
            if isinstance(event, building.Progressed):
                bar(event.done, event.triples, event.tokens)
                return
            where = f"{event.document_id} {event.start}:{event.end}"
            detail = f" ({event.detail})" if event.detail else ""
            note(f"failed: {where} {_FAILURES.get(event.failure, event.failure)}{detail}")
            if as_json:
                emit({"event": "failed", **asdict(event)})

        read = partial(
            building.build, store, served, plan, budget=budget, parallel=parallel, on_event=listen
        )
        try:
            return asyncio.run(interruptible(lambda cancel: read(cancel=cancel), _STOPPING))
        except asyncio.CancelledError:
            note("interrupted; what was read is kept, and the same command goes on")
            raise typer.Exit(INTERRUPTED) from None


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _show_estimate(plan: Estimate, as_json: bool) -> None:
    if as_json:
        emit({"event": "estimate", **_record(plan)})
        return
    before = f" ({plan.failed_before:,} of them failed before)" if plan.failed_before else ""
    say(f"{counted(plan.unread, 'passage')} unread by {plan.model!r}{before}")
    if not plan.passages:
        return
    whose = "the server's" if plan.counted_by == "server" else "tiktoken's"
    say(
        f"To read now: {counted(plan.passages, 'passage')}, one call each, two where a reply "
        "cannot be used"
    )
    say(f"Prompts: about {plan.prompt_tokens:,} tokens by {whose} count")
    say(
        f"Replies: about {plan.reply_tokens:,} tokens, at most {plan.most_reply_tokens:,} "
        "for the first calls"
    )


def _show_report(report: BuildReport, as_json: bool) -> None:
    if as_json:
        emit({"event": "report", **asdict(report)})
        return
    say()
    say(
        f"{counted(report.read, 'passage')} read, {counted(report.triples, 'new triple')}, "
        f"{report.failed:,} failed; {report.unread:,} unread"
    )
    for failure, count in report.failures.items():
        say(f"  {count:,} × {_FAILURES.get(failure, failure)}")
    if report.invented:
        say(f"Left out: {counted(report.invented, 'triple')} of names that the passage has not")
    if report.gone:
        say(f"Gone meanwhile: {counted(report.gone, 'passage')} of documents that were replaced")
    spent = report.usage
    say(
        f"Cost: {counted(spent.calls, 'model call')}, {spent.prompt_tokens:,} prompt and "
        f"{spent.completion_tokens:,} reply tokens, {spent.seconds:.1f} s"
    )
    if report.flags:
        say(f"The server's own count was missing or not credible {counted(report.flags, 'time')}.")
    if report.without_salt:
        say("The server refused cache_salt: its prompt cache is shared with other tenants.")
    say(f"It stopped because {_STOPPED[report.stop]}")


def _record(plan: Estimate) -> dict[str, Any]:
    names = (name for name in plan.__slots__ if name != "rows")
    return {name: getattr(plan, name) for name in names}
