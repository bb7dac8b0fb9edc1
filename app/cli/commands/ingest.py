"""`hoptrail ingest`: files and folders into a store, acknowledged document by document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands.tree_sync import grow
from hoptrail.app.cli.output import FAILED, INTERRUPTED, emit, note, say
from hoptrail.app.cli.resolve import (
    WAIT,
    embedder_flags,
    embedder_of,
    load,
    named_embedder,
    spec_of,
    store_location,
)
from hoptrail.app.cli.settings import IngestTable, StoreTable, given, load_settings, over
from hoptrail.app.text import plural
from hoptrail.rag.errors import StoreMismatch

if TYPE_CHECKING:
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.ingest.pipeline import FileFailed, IngestEvent, IngestReport, IngestSettings

_MADE_WITH = ("lexical", "dense", "language", "graph")


def ingest(  # noqa: PLR0913 (a command's options are its parameters)
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Files and folders: .txt, .md, .html, .pdf, .jsonl and .jsonl.gz are read.",
        ),
    ],
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    lexical: options.Lexical = None,
    dense: options.Dense = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="New store: of stop words and stems.  [default: english]"
        ),
    ] = None,
    graph: options.Graph = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Most tokens of a passage.  [default: 180]")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens that a passage repeats.  [default: 0]"),
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option("--prune/--no-prune", help="Delete documents that are no longer there."),
    ] = None,
    max_file_mb: Annotated[
        float | None, typer.Option(metavar="N", help="Largest file that is read whole.")
    ] = None,
    parse_seconds: Annotated[
        float | None, typer.Option(metavar="N", help="Longest time for one HTML or PDF file.")
    ] = None,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Bring a store up to date with files.

    What is unchanged is skipped; a run that was stopped goes on when it is started again. Exits
    with 1 if a file could not be read.
    """
    from hoptrail.rag.embedders.loading import DEFAULT_EMBEDDER  # noqa: PLC0415 (heavy: loaded when used)
    from hoptrail.rag.ingest.files import find_files  # noqa: PLC0415
    from hoptrail.rag.ingest.pipeline import ingest as run  # noqa: PLC0415
    from hoptrail.rag.store.store import Store  # noqa: PLC0415

    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    flags = IngestTable(
        chunk_tokens=chunk_tokens,
        overlap=overlap,
        prune=prune,
        max_file_mb=max_file_mb,
        parse_seconds=parse_seconds,
    )
    how = _settings(over(tables.ingest, flags, *IngestTable.__slots__))
    wanted = StoreTable(lexical=lexical, dense=dense, language=language, graph=graph)
    made_with = over(tables.store, wanted, *_MADE_WITH)
    typed = embedder_flags(embedder, embedder_folder, embedder_key_file)
    if (root / name).exists():
        _check_same(root, name, made_with)
        player = embedder_of(root, name, typed, tables.store)
    else:
        find_files(paths)  # nothing to read: no store
        player = named_embedder(typed, tables.store) or load(DEFAULT_EMBEDDER)
        _found(root, name, player, made_with)
    with Store.open(root, tenant=name, embedder=player, wait=wait) as opened:
        with ExitStack() as stack:
            listener = _Listener(as_json, stack)
            try:
                report = run(paths, opened, player, how, listener)
            except KeyboardInterrupt:
                listener.interrupted()
                raise typer.Exit(INTERRUPTED) from None
        _say_report(report, as_json)
        grow(opened, as_json)
    _finish(report)


def _settings(values: dict[str, Any]) -> IngestSettings:
    from hoptrail.rag.ingest.parsers.parser import ParseLimits  # noqa: PLC0415
    from hoptrail.rag.ingest.pipeline import IngestSettings  # noqa: PLC0415

    megabytes = values.pop("max_file_mb", None)
    limits = given(
        file_bytes=None if megabytes is None else int(megabytes * 1_000_000),
        seconds=values.pop("parse_seconds", None),
    )
    return IngestSettings(limits=ParseLimits(**limits), **values)


def _check_same(root: Path, tenant: str, wanted: dict[str, Any]) -> None:
    """Raises StoreMismatch if an existing store was made with something else."""
    spec = spec_of(root, tenant)
    for what, value in wanted.items():
        made_with = getattr(spec, what)
        if value != made_with:
            raise StoreMismatch(
                f"The store at {str(root)!r} was made with {what} {made_with!r}, not {value!r}, "
                "and that cannot be changed: leave the option out, or ingest into a new store."
            )


def _found(root: Path, tenant: str, player: Embedder, made_with: dict[str, Any]) -> None:
    """Makes an empty store."""
    from hoptrail.rag.store.store import Store, StoreSpec  # noqa: PLC0415

    spec = StoreSpec(embedder=player.id, dimension=player.dimension, **made_with)
    Store.create(root, spec, tenant=tenant).close()


class _Listener:
    """Tells of events: lines of JSON on stdout, or failures and a progress bar on stderr."""

    def __init__(self, as_json: bool, stack: ExitStack) -> None:
        from hoptrail.app.cli.progress import IngestBar  # noqa: PLC0415

        self._as_json = as_json
        self._committed = 0
        self._bar: Callable[[IngestEvent], None] = stack.enter_context(IngestBar())

    def __call__(self, event: IngestEvent) -> None:
        from hoptrail.rag.ingest import pipeline as ingest  # noqa: PLC0415

        self._bar(event)
        self._committed += isinstance(event, ingest.DocumentCommitted)
        if isinstance(event, ingest.FileFailed):
            note(f"failed: {_sentence(event)}")
        if self._as_json and not isinstance(event, ingest.Progress):
            names = {
                ingest.DocumentCommitted: "committed",
                ingest.DocumentSkipped: "skipped",
                ingest.DocumentDeleted: "deleted",
                ingest.FileFailed: "failed",
            }
            emit({"event": names[type(event)], **asdict(event)})

    def interrupted(self) -> None:
        """Says what is kept."""
        if self._as_json:
            emit({"event": "interrupted", "committed": self._committed})
        note(
            f"interrupted: {plural(self._committed, 'document')} of this run are committed and "
            "stay; run the same command again to go on"
        )


def _sentence(failed: FileFailed) -> str:
    line = "" if failed.line is None else f", line {failed.line},"
    return f"{failed.path}{line} {failed.reason}"


def _say_report(report: IngestReport, as_json: bool) -> None:
    if as_json:
        emit({"event": "report", **asdict(report)})
        return
    say(
        f"{plural(report.added, 'document')} added, {report.replaced:,} replaced, "
        f"{report.unchanged:,} unchanged, {report.deleted:,} deleted, "
        f"{report.failed:,} failed; "
        f"{plural(report.passages, 'passage')} in {report.seconds:.1f} s"
    )
    if report.skipped_files:
        note(f"{plural(report.skipped_files, 'file')} of other kinds were not read")


def _finish(report: IngestReport) -> None:
    if report.prune_refused is not None:
        note(f"error: nothing was pruned: {report.prune_refused}")
    if report.failed or report.prune_refused is not None:
        raise typer.Exit(FAILED)
