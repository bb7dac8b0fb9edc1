"""`hoptrail eval`: evaluates a strategy on a data set and prints the metrics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.model_options import role_models, served_model
from hoptrail.app.cli.output import FAILED, INTERRUPTED, emit, note, say
from hoptrail.app.cli.resolve import (
    budget_of,
    embedder_flags,
    load,
    named_embedder,
    run_settings,
)
from hoptrail.app.cli.settings import StoreTable, first, given, load_settings, over
from hoptrail.app.text import plural

if TYPE_CHECKING:
    from hoptrail.evals.reports.summary import Report


def evaluate(  # noqa: PLR0913 (a command's options are its parameters)
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET_DIR", help="Has corpus.jsonl and questions.jsonl.")
    ],
    *,
    strategy: options.Strategy = None,
    mode: options.AskMode = None,
    model: options.ModelUrl = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    role: options.RoleSettings = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N questions.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Questions at a time.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep rows and report there; a stopped run goes on."),
    ] = None,
    budget_calls: options.Calls = None,
    budget_tokens: options.Tokens = None,
    budget_searches: options.Searches = None,
    budget_seconds: options.Seconds = None,
    lexical: options.Lexical = None,
    dense: options.Dense = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    store_cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the set's store is kept.  [default: user's cache]"),
    ] = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Ask a question set and measure the answers.

    The set is ingested once and kept. Budgets are those of each question. Exits with 1 if a
    question ended in an error.
    """
    from hoptrail.app.cli.progress import EvalBar
    from hoptrail.evals.runner import EvalConfig
    from hoptrail.evals.runner import aevaluate as run
    from hoptrail.evals.store_cache import StoreCache
    from hoptrail.rag.embedders.loading import DEFAULT_EMBEDDER

    tables = load_settings(settings)
    chosen: dict[str, Any] = given(
        strategy=first(strategy, tables.ask.strategy), concurrency=concurrency
    )
    trial = EvalConfig(
        model=role_models(
            served_model(model, model_name, api_key_file, tables.model), tables.models, role
        ),
        budget=budget_of(
            budget_calls, budget_tokens, budget_searches, budget_seconds, tables.budget
        ),
        settings=run_settings(mode, tables.ask),
        limit=limit,
        **chosen,
    )
    backends = StoreTable(lexical=lexical, dense=dense)
    embedder_options = embedder_flags(embedder, embedder_folder, embedder_key_file)
    cache = StoreCache(
        folder=store_cache or _cache(),
        embedder=named_embedder(embedder_options, tables.store) or load(DEFAULT_EMBEDDER),
        **over(tables.store, backends, "lexical", "dense", "language"),
    )
    try:
        with EvalBar() as bar:
            report = asyncio.run(
                run(dataset, trial, cache=cache, out=out, on_ingest=bar.ingest, on_progress=bar.ask)
            )
    except KeyboardInterrupt:
        kept = "nothing is kept without --out" if out is None else "run the same again to go on"
        note(f"interrupted; {kept}")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        emit(report.record())
    else:
        for line in report_lines(report):
            say(line)
    if report.failed:
        raise typer.Exit(FAILED)


def report_lines(report: Report) -> Iterator[str]:
    """Text lines of a report."""
    model = report.model or "no model"
    yield (
        f"{report.dataset}: {plural(report.questions, 'question')}, strategy {report.strategy}, "
        f"{model}; {report.failed} failed, {plural(report.fallbacks, 'fallback')}"
    )
    yield ""
    for name, mean in report.measures.items():
        value = "    -" if mean.value is None else f"{mean.value:.3f}"
        yield f"{name:<21} {value}  over {mean.count:,}"
    yield ""
    for name, spread in report.costs.items():
        yield (
            f"{name:<21} mean {spread.mean:,.1f}, median {spread.p50:,.1f}, "
            f"95 % below {spread.p95:,.1f}"
        )
    for name in ("outcomes", "abstain_reasons", "stop_reasons"):
        found = ", ".join(f"{key} {count:,}" for key, count in getattr(report, name).items())
        yield f"{name.replace('_', ' '):<21} {found or '-'}"
    for failure in report.failures:
        yield f"failed: {failure.id}: {failure.error}"
    if report.missing_records:
        yield f"not ingested: {', '.join(report.missing_records)}"


def _cache() -> Path:
    """Folder of cached stores in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hoptrail" / "eval"
