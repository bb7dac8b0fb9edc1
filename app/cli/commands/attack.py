"""`hoptrail attack`: runs the attack suite against a copy of a store and reports on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.model_options import role_models, served_model
from hoptrail.app.cli.output import FAILED, INTERRUPTED, emit, note, say
from hoptrail.app.cli.resolve import (
    budget_of,
    embedder_flags,
    embedder_of,
    named_embedder,
    run_settings,
    store_location,
)
from hoptrail.app.cli.settings import load_settings

if TYPE_CHECKING:
    from hoptrail.app.cli.progress import BuildBar
    from hoptrail.app.cli.settings import StoreTable
    from hoptrail.evals.attacks.suite import AttackProgress
    from hoptrail.rag.embedders.base import Embedder


def attack(  # noqa: PLR0913 (a command's options are its parameters)
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only attacks of this kind; may be repeated: injection, exfiltration, poisoning, "
            "control_tokens, bomb, traversal, tenant_crossing, resource_limits, forging.",
        ),
    ] = None,
    documents: Annotated[
        int, typer.Option(metavar="N", min=0, help="Most documents of the store to copy.")
    ] = 200,
    strategy: options.Strategy = None,
    mode: options.AskMode = None,
    model: options.ModelUrl = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    role: options.RoleSettings = None,
    budget_calls: options.Calls = None,
    budget_tokens: options.Tokens = None,
    budget_searches: options.Searches = None,
    budget_seconds: options.Seconds = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Attack a copy of a store with hostile documents and questions.

    The store is only read; without one, the attacks bring their own documents. Exits with 1 if an
    attack succeeded.
    """
    from hoptrail.app.cli.progress import BuildBar
    from hoptrail.evals.attacks.report import report_lines
    from hoptrail.evals.attacks.sandbox import Sandbox, SandboxSettings
    from hoptrail.evals.attacks.suite import all_attacks, run_attacks

    tables = load_settings(settings)
    default = served_model(model, model_name, api_key_file, tables.model)
    asked = SandboxSettings(
        model=role_models(default, tables.models, role),
        strategy=strategy or tables.ask.strategy or "pool",
        budget=budget_of(
            budget_calls, budget_tokens, budget_searches, budget_seconds, tables.budget
        ),
        settings=run_settings(mode, tables.ask),
    )
    root, name, encoder = _source(
        store, tenant, embedder_flags(embedder, embedder_folder, embedder_key_file), tables.store
    )
    try:
        with (
            Sandbox.over(
                root, tenant=name, embedder=encoder, settings=asked, documents=documents
            ) as sandbox,
            BuildBar("attacking", "attacks") as bar,
        ):
            report = run_attacks(
                all_attacks(sandbox, kind or ()), sandbox, lambda event: _show(event, bar)
            )
    except KeyboardInterrupt:
        note("interrupted; the copy is removed, and the store is as it was")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        emit(report.record())
    else:
        for line in report_lines(report):
            say(line)
    if not report.passed:
        raise typer.Exit(FAILED)


def _source(
    store: Path | None, tenant: str | None, flags: StoreTable, table: StoreTable
) -> tuple[Path | None, str, Embedder | None]:
    """The store to copy, if one is named, its tenant and its embedder."""
    if store is None and table.dir is None:
        return None, "default", named_embedder(flags, table)
    root, name = store_location(store, tenant, table)
    return root, name, embedder_of(root, name, flags, table)


def _show(event: AttackProgress, bar: BuildBar) -> None:
    """Moves the bar, and notes an attack that succeeded at once."""
    bar(event.done, event.total)
    if event.result is not None and not event.result.verdict.passed:
        note(f"succeeded: {event.result.kind}/{event.result.name}")
