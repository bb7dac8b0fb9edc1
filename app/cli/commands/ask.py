"""`hoptrail ask`, `resume`, `replay`: answers a question, continues a run, replays a recording."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.interrupts import interruptible
from hoptrail.app.cli.model_options import role_models, served_model
from hoptrail.app.cli.output import FAILED, INTERRUPTED, OutputLost, emit, note, say
from hoptrail.app.cli.receipt_text import model_problems, receipt_text
from hoptrail.app.cli.resolve import (
    WAIT,
    budget_of,
    embedder_flags,
    embedder_of,
    open_store,
    run_settings,
    spec_of,
    store_location,
    unmatched,
    where_of,
)
from hoptrail.app.cli.settings import StoreTable, first, load_settings
from hoptrail.app.text import escaped, shortened
from hoptrail.rag.errors import HoptrailError, SettingsError
from hoptrail.rag.store.layout import is_device, write_whole

if TYPE_CHECKING:
    from hoptrail.agents import Receipt
    from hoptrail.agents.events import Listener
    from hoptrail.agents.runs.folder import RunFolder
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.types import Where

    Run = Callable[[Listener, asyncio.Event], Coroutine[Any, Any, Receipt]]

_STOPPING = "stopping with the best answer so far; press Ctrl-C again to leave it"

ReceiptFile = Annotated[
    Path | None, typer.Option("--receipt", metavar="FILE", help="Write the receipt there (JSON).")
]


def ask(  # noqa: PLR0913 (a command's options are its parameters)
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
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
    where: options.Where = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    receipt: ReceiptFile = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Record the run there, for replay; a run that is resumed is not."
        ),
    ] = None,
    settings: options.SettingsFile = None,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> None:
    """Answer a question from the documents."""
    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    filters = where_of(where)
    chosen = first(strategy, tables.ask.strategy)
    for file in (receipt, record):
        _check_writable(file)
    embedder_options = embedder_flags(embedder, embedder_folder, embedder_key_file)
    with _embedder_beside(root, name, embedder_options, tables.store) as loading:
        from hoptrail.agents import aask

        default = served_model(model, model_name, api_key_file, tables.model)
        models = role_models(default, tables.models, role)
        budget = budget_of(
            budget_calls, budget_tokens, budget_searches, budget_seconds, tables.budget
        )
        run_options = run_settings(mode, tables.ask)
        if filters:
            _check_filter(root, name, filters)
        encoder = loading.result()
    made = _interruptible(
        root,
        name,
        lambda view, cancel: aask(
            question,
            root,
            tenant=name,
            embedder=encoder,
            strategy="pool" if chosen is None else chosen,
            model=models,
            budget=budget,
            settings=run_options,
            where=filters,
            on_event=view,
            record=record,
            cancel=cancel,
        ),
    )
    _write_and_print(made, receipt, as_json, verbose)


def resume(  # noqa: PLR0913 (a command's options are its parameters)
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Which run; none: list them.")
    ] = None,
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    model: options.ModelUrl = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    role: options.RoleSettings = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    receipt: ReceiptFile = None,
    settings: options.SettingsFile = None,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> None:
    """Go on with a run that was interrupted."""
    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    if run is None:
        _list_runs(root, name, as_json)
        return
    _check_writable(receipt)
    embedder_options = embedder_flags(embedder, embedder_folder, embedder_key_file)
    with _embedder_beside(root, name, embedder_options, tables.store) as loading:
        from hoptrail.agents import aresume

        default = served_model(model, model_name, api_key_file, tables.model)
        models = role_models(default, tables.models, role)
        encoder = loading.result()
    left = _unfinished(root, name).get(run)
    if left is not None and left.job().recorded:
        note(
            "the recording of this run broke off with it and cannot be replayed; what follows is "
            "not recorded: ask again with --record for a run that can be replayed"
        )
    made = _interruptible(
        root,
        name,
        lambda view, cancel: aresume(
            run, root, tenant=name, embedder=encoder, model=models, on_event=view, cancel=cancel
        ),
    )
    _write_and_print(made, receipt, as_json, verbose)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `ask --record` wrote.")],
    *,
    receipt: ReceiptFile = None,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
) -> None:
    """Run a recorded question again.

    Needs neither store nor model. Exits with 1 if the receipt comes out different.
    """
    from hoptrail.agents import replay as replay_recording

    _check_writable(receipt)
    replayed = replay_recording(file)
    unwritten = _write(receipt, replayed.receipt)
    if as_json:
        emit(
            {
                "same": replayed.same,
                "difference": replayed.difference,
                "receipt": json.loads(replayed.receipt.json()),
            }
        )
    else:
        say(*receipt_text(replayed.receipt, verbose=verbose).split("\n"))
        say()
        say(
            "Replayed: the same receipt as recorded."
            if replayed.same
            else f"Replayed: the receipt differs from the recorded one. {replayed.difference}"
        )
    if unwritten is not None:
        raise unwritten
    if not replayed.same:
        raise typer.Exit(FAILED)


@contextmanager
def _embedder_beside(
    root: Path, tenant: str, flags: StoreTable, table: StoreTable
) -> Iterator[Future[Embedder]]:
    """Loads the store's embedder in a thread, while the block imports the libraries of a run.

    Meanwhile nothing is collected: what imports make stays, and looking through it takes a tenth of
    their time.
    """
    gc.disable()
    try:
        with ThreadPoolExecutor(1) as beside:
            yield beside.submit(embedder_of, root, tenant, flags, table)
    finally:
        gc.freeze()
        gc.enable()


def _interruptible(root: Path, tenant: str, run: Run) -> Receipt:
    """Runs a question in a live view; Ctrl-C ends it with the best answer so far, twice stops it.

    Raises:
        typer.Exit: stopped; a line on stderr says how to continue.
    """
    from hoptrail.app.cli.live_view import LiveView

    before = set(_unfinished(root, tenant))
    try:
        with LiveView() as view:
            return asyncio.run(interruptible(partial(run, view), _STOPPING))
    except asyncio.CancelledError:
        note(f"interrupted; {_how_to_continue(root, tenant, before)}")
        raise typer.Exit(INTERRUPTED) from None


def _unfinished(root: Path, tenant: str) -> dict[str, RunFolder]:
    from hoptrail.agents import unfinished_runs

    return {one.id: one for one in unfinished_runs(root / tenant / "runs")}


def _how_to_continue(root: Path, tenant: str, before: set[str]) -> str:
    left = sorted(_unfinished(root, tenant).keys() - before)
    if not left:
        return "nothing was begun"
    place = f"--store {root}" + ("" if tenant == "default" else f" --tenant {tenant}")
    return "go on with: " + " or ".join(f"hoptrail resume {one} {place}" for one in left)


def _list_runs(root: Path, tenant: str, as_json: bool) -> None:
    spec_of(root, tenant)
    left = _unfinished(root, tenant)
    for run, folder in left.items():
        question = folder.job().question
        if as_json:
            emit({"run": run, "question": question})
        else:
            say(f"{run}  {shortened(question, 100)}")
    if not left:
        note("no unfinished runs")


def _check_filter(root: Path, tenant: str, where: Where) -> None:
    """Refuses a filter that keeps no document before the run costs anything."""
    with open_store(root, tenant, WAIT) as opened:
        if reason := unmatched(opened, where):
            raise SettingsError(reason)


def _check_writable(path: Path | None) -> None:
    """Refuses a file that cannot be written before the run costs anything."""
    if path is None or is_device(path):
        return
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(
            f"{str(path)!r} cannot be written: name a file in a folder that exists and may be "
            "written to."
        )


def _write_and_print(receipt: Receipt, path: Path | None, as_json: bool, verbose: bool) -> None:
    """The file first, for the terminal may be gone; then the answer, for the disk may be full.

    Raises:
        HoptrailError: one of them could not be had, at the end.
    """
    unwritten = _write(path, receipt)
    lines = receipt_text(receipt, verbose=verbose).split("\n")
    try:
        if as_json:
            emit(json.loads(receipt.json()))
        else:
            say(*lines)
    except OutputLost as lost:
        if path is None and not lost.reader_left:
            for line in lines:  # better there than nowhere
                note(line)
        raise
    for line in model_problems(receipt):
        note(line)
    if unwritten is not None:
        raise unwritten


def _write(path: Path | None, receipt: Receipt) -> HoptrailError | None:
    """Writes a receipt to a file; what is wrong with that comes back."""
    if path is None:
        return None
    try:
        write_whole(path, (escaped(receipt.json()) + "\n").encode())
    except OSError as error:
        return HoptrailError(f"The receipt cannot be written to {str(path)!r}: {error.strerror}.")
    return None
