"""`hoptrail tree build`: a tree over a store, without a model or with a served one.

Estimate and report are results; failures, questions and the progress bar go to stderr.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
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
from hoptrail.app.cli.commands.tree_build_setup import (
    TreeBuildSetup,
    build_inputs,
    new_setup,
    refresh_setup,
)
from hoptrail.app.cli.model_options import served_model
from hoptrail.app.cli.output import FAILED, INTERRUPTED, emit, note, say
from hoptrail.app.cli.resolve import (
    WAIT,
    embedder_flags,
    embedder_of,
    open_store,
    store_location,
)
from hoptrail.app.cli.settings import ModelTable, load_settings
from hoptrail.app.text import duration, plural

if TYPE_CHECKING:
    from hoptrail.agents import Budget, ServedModel
    from hoptrail.agents.indexing.tree_builder import (
        TreeBuildEvent,
        TreeBuildInputs,
        TreeBuildReport,
    )
    from hoptrail.rag.tree.types import Tree, TreeSpec

_STOPPING = "finishing what is being asked; press Ctrl-C again to leave that"
_STOPPED = "interrupted; what was answered is kept, and the same command goes on"
_DONE = "the tree is whole"

_ESTIMATE_KEYS = (
    "model", "leaves", "calls", "kept", "prompt_tokens", "reply_tokens", "most_reply_tokens",
    "counted_by", "seconds",
)  # fmt: skip
_REPORT_KEYS = (
    "model", "stop", "answered", "kept", "failed", "failures", "usage", "flags", "without_salt",
)  # fmt: skip
"""Keys of `--json`, in order."""

_LEAVES_PER_SECOND = 1000
"""Of a build without a model, on one slow core."""
_WRITTEN_PER_SECOND = 100
"""Reply tokens of an unknown server: an assumption, and printed as one."""


def build(  # noqa: PLR0913 (a command's options are its parameters)
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="bottom-up, top-down, or auto: as suits documents and model.  [default: auto]",
        ),
    ] = "auto",
    fanout: Annotated[
        int, typer.Option(metavar="N", help="Children of a node at most, 2 or more.  [default: 14]")
    ] = 14,
    over: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What the leaves are: passages or documents.  [default: passages]"
        ),
    ] = "passages",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="OpenAI-compatible server that writes the nodes' texts. Without one they are the "
            "documents' own words.",
        ),
    ] = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="With --model: leave the tree as it is, and have only those texts written again "
            "that no longer tell what is below.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")
    ] = False,
    budget_calls: options.Calls = None,
    budget_tokens: options.Tokens = None,
    budget_seconds: options.Seconds = None,
    parallel: Annotated[
        int,
        typer.Option(
            metavar="N", help="Questions to the model at one time, 1 to 32.  [default: 16]"
        ),
    ] = 16,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it begins.")] = False,
    wait: options.Wait = WAIT,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Build the tree of a store, in the place of the one before.

    Without a model it takes seconds. With one it costs what it says beforehand; a build that was
    stopped goes on when it is started again. A budget of the settings file is for questions and
    does not count here, nor does its model: name the one that is to write. Exits with 1 if the tree
    did not come to be whole.
    """
    from hoptrail.rag.store.layout import Layout
    from hoptrail.rag.tree.storage import TreeFile

    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    served = served_model(model, model_name, api_key_file, tables.model if model else ModelTable())
    budget = build_budget(budget_calls, budget_tokens, budget_seconds)
    flags = embedder_flags(embedder, embedder_folder, embedder_key_file)
    file = TreeFile(Layout(root=root, tenant=name))
    with open_store(root, name, wait) as opened, file.building(wait):
        if refresh:
            setup = refresh_setup(opened, file, as_json, served)
        else:
            setup = new_setup(opened, file, method, fanout, over, as_json, served)
        if served is None:
            _build_without_model(setup, dry_run=dry_run, yes=yes)
            return
        # From the top down nothing that the model writes is embedded.
        bottom_up = setup.spec.method == "bottom-up" and setup.tree is None
        text_embedder = embedder_of(root, name, flags, tables.store) if bottom_up else None
        inputs = build_inputs(setup, text_embedder)
        if not _agreed(setup, inputs, served, dry_run=dry_run, yes=yes):
            return
        report = _build_with_model(setup, inputs, served, budget, parallel)
        _show_report(report, as_json)
    if report.stop != "done":
        raise typer.Exit(INTERRUPTED if report.stop == "interrupted" else FAILED)


def _build_without_model(setup: TreeBuildSetup, *, dry_run: bool, yes: bool) -> None:
    """Builds a tree without a model."""
    from hoptrail.app.cli.progress import BuildBar
    from hoptrail.rag.tree.builders.build import build_tree

    before = setup.file.load().spec.model if setup.file.exists() else ""
    count = len(setup.leaves.rows())
    if dry_run:
        _show_plan(setup, count)
        return
    if before and not confirmed(f"{before!r} wrote the tree that is there. Replace it?", yes):
        note("nothing was built")
        return
    began = time.monotonic()
    with BuildBar("building", "leaves") as bar:
        tree = build_tree(setup.leaves, setup.spec, bar)
    _save(setup, tree, time.monotonic() - began)


def _show_plan(setup: TreeBuildSetup, leaves: int) -> None:
    seconds = leaves / _LEAVES_PER_SECOND
    if setup.as_json:
        plan = {"method": setup.spec.method, "leaves": leaves, "calls": 0, "seconds": seconds}
        emit({"event": "estimate", **plan})
        return
    say(
        f"{_leaves(leaves, setup.spec)}, {setup.spec.method}, without a model: it costs nothing "
        f"and takes about {duration(seconds)}"
    )


def _agreed(
    setup: TreeBuildSetup, inputs: TreeBuildInputs, served: ServedModel, *, dry_run: bool, yes: bool
) -> bool:
    """Prints the cost estimate; returns whether to build."""
    from hoptrail.agents.indexing.tree_estimate import estimate_tree

    plan = asyncio.run(estimate_tree(inputs, served))
    if setup.as_json:
        emit_record("estimate", plan, _ESTIMATE_KEYS, method=setup.spec.method)
    else:
        say(f"{_leaves(plan.leaves, setup.spec)}, {setup.spec.method}, texts by {plan.model!r}")
        kept = f", {plan.kept:,} answered by an earlier build" if plan.kept else ""
        say(f"To ask now: about {plural(plan.calls, 'call')}{kept}")
        say_tokens(plan)
        say(
            f"Time: about {duration(plan.reply_tokens / _WRITTEN_PER_SECOND)} if the server writes "
            f"{_WRITTEN_PER_SECOND} tokens a second for all calls together"
        )
    if dry_run:
        return False
    agreed = confirmed("Build it now?", yes)
    if not agreed:
        note("nothing was built")
    return agreed


def _build_with_model(
    setup: TreeBuildSetup,
    inputs: TreeBuildInputs,
    served: ServedModel,
    budget: Budget,
    parallel: int,
) -> TreeBuildReport:
    """Builds a tree with a model, under a progress bar, and saves it if it is whole.

    Raises:
        typer.Exit: stopped by a second Ctrl-C.
    """
    from hoptrail.agents.indexing.tree_builder import TreeBuildProgress, build_tree
    from hoptrail.app.cli.progress import BuildBar

    with BuildBar("building", "answers") as bar:

        def listen(event: TreeBuildEvent) -> None:
            if isinstance(event, TreeBuildProgress):
                tokens = plural(event.tokens, "token")
                bar(event.done, event.asked, f"step {event.step}, {tokens}")
                return
            report_failure(event, f"{event.prompt}:", setup.as_json)

        start = partial(
            build_tree, inputs, served, budget=budget, parallel=parallel, on_event=listen
        )
        report = run_interruptibly(lambda cancel: start(cancel=cancel), _STOPPING, _STOPPED)
    if report.tree is not None:
        _save(setup, report.tree, report.usage.seconds)
    return report


def _save(setup: TreeBuildSetup, tree: Tree, seconds: float) -> None:
    """Saves a tree in place of the old one, and syncs it with what the store got meanwhile."""
    from hoptrail.rag.tree.types import ROOT
    from hoptrail.rag.tree.view import sync_stored_tree

    kept = setup.file.save(tree)
    change = sync_stored_tree(setup.store)
    tree = kept if change is None else change.tree
    depth = max(tree.depth(node.number) for node in tree.walk()) + 1
    if setup.as_json:
        emit(
            {
                "event": "built",
                **asdict(tree.spec),
                "generation": tree.generation,
                "leaves": tree.nodes[ROOT].count,
                "inner_nodes": len(tree.nodes),
                "depth": depth,
                "seconds": round(seconds, 3),
            }
        )
        return
    say(
        f"{_leaves(tree.nodes[ROOT].count, tree.spec)} below {plural(len(tree.nodes), 'node')} "
        f"in {plural(depth, 'layer')}, {tree.spec.method}; {seconds:.1f} s"
    )


def _leaves(count: int, spec: TreeSpec) -> str:
    return plural(count, "passage" if spec.over == "passages" else "document")


def _show_report(report: TreeBuildReport, as_json: bool) -> None:
    if as_json:
        emit_record("report", report, _REPORT_KEYS)
        return
    kept = f", {report.kept:,} kept from an earlier build" if report.kept else ""
    say(f"{plural(report.answered, 'question')} answered{kept}, {report.failed:,} failed")
    say_failures(report.failures)
    if report.failed and report.tree is not None:
        say("Where one failed the node has the documents' own words.")
    if report.tree is None:
        say("What was answered is kept: the same command goes on.")
    say_cost(report, _DONE)
