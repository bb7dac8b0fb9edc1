"""`hoptrail graph build`: a served model extracts triples from passages, after a cost estimate.

Estimate and report are results; failures, questions and the progress bar go to stderr.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands.build_report import (
    build_budget,
    confirmed,
    emit_record,
    report_failure,
    run_interruptibly,
    say_cost,
    say_failures,
    say_tokens,
)
from hoptrail.app.cli.model_options import served_model
from hoptrail.app.cli.output import FAILED, INTERRUPTED, note, say
from hoptrail.app.cli.resolve import WAIT, open_store, store_location
from hoptrail.app.cli.settings import load_settings
from hoptrail.app.text import plural
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents import Budget, ServedModel
    from hoptrail.agents.indexing.graph_builder import GraphBuildEvent, GraphBuildReport
    from hoptrail.agents.indexing.graph_estimate import GraphBuildEstimate
    from hoptrail.rag.store.store import Store

_STOPPING = "finishing what is being read; press Ctrl-C again to leave that unread"
_STOPPED = "interrupted; what was read is kept, and the same command goes on"
_DONE = "every passage that it was to read was tried"

_ESTIMATE_KEYS = (
    "model", "passages", "unread", "failed_before", "prompt_tokens", "reply_tokens",
    "most_reply_tokens", "counted_by",
)  # fmt: skip
_REPORT_KEYS = (
    "model", "stop", "read", "failed", "failures", "gone", "triples", "invented", "unread",
    "usage", "flags", "without_salt",
)  # fmt: skip
"""Keys of `--json`, in order."""


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
    from hoptrail.agents.indexing.graph_estimate import estimate_graph

    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    served = served_model(model, model_name, api_key_file, tables.model)
    if served is None:
        raise SettingsError("No model is named: give --model URL, or url in [model] of a file.")
    budget = build_budget(budget_calls, budget_tokens, budget_seconds)
    with open_store(root, name, wait) as opened:
        plan = asyncio.run(estimate_graph(opened, served, limit=limit))
        _show_estimate(plan, as_json)
        if dry_run or not plan.passages:
            return
        if not confirmed("Read them now?", yes):
            note("nothing was read")
            return
        report = _read_passages(opened, served, plan, budget, parallel, as_json)
    _show_report(report, as_json)
    if report.stop == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if report.failed or report.stop == "model_unavailable":
        raise typer.Exit(FAILED)


def _read_passages(
    store: Store,
    served: ServedModel,
    plan: GraphBuildEstimate,
    budget: Budget,
    parallel: int,
    as_json: bool,
) -> GraphBuildReport:
    """Reads the passages under a progress bar.

    Raises:
        typer.Exit: stopped by a second Ctrl-C.
    """
    from hoptrail.agents.indexing.graph_builder import GraphBuildProgress, build_graph
    from hoptrail.app.cli.progress import BuildBar

    with BuildBar("reading", "passages") as bar:

        def listen(event: GraphBuildEvent) -> None:
            if isinstance(event, GraphBuildProgress):
                triples = plural(event.triples, "triple")
                bar(event.done, plan.passages, f"{triples}, {plural(event.tokens, 'token')}")
                return
            where = f"{event.document_id} {event.start}:{event.end}"
            report_failure(event, where, as_json)

        start = partial(
            build_graph, store, served, plan, budget=budget, parallel=parallel, on_event=listen
        )
        return run_interruptibly(lambda cancel: start(cancel=cancel), _STOPPING, _STOPPED)


def _show_estimate(plan: GraphBuildEstimate, as_json: bool) -> None:
    if as_json:
        emit_record("estimate", plan, _ESTIMATE_KEYS)
        return
    before = f" ({plan.failed_before:,} of them failed before)" if plan.failed_before else ""
    say(f"{plural(plan.unread, 'passage')} unread by {plan.model!r}{before}")
    if not plan.passages:
        return
    say(
        f"To read now: {plural(plan.passages, 'passage')}, one call each, two where a reply "
        "cannot be used"
    )
    say_tokens(plan)


def _show_report(report: GraphBuildReport, as_json: bool) -> None:
    if as_json:
        emit_record("report", report, _REPORT_KEYS)
        return
    say()
    say(
        f"{plural(report.read, 'passage')} read, {plural(report.triples, 'new triple')}, "
        f"{report.failed:,} failed; {report.unread:,} unread"
    )
    say_failures(report.failures)
    if report.invented:
        say(f"Left out: {plural(report.invented, 'triple')} of names that the passage has not")
    if report.gone:
        say(f"Gone meanwhile: {plural(report.gone, 'passage')} of documents that were replaced")
    say_cost(report, _DONE)
