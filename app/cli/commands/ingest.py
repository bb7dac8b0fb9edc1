"""`hoptrail ingest`: ingests files and folders into a store, document by document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands.tree_sync import sync_tree
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
    from hoptrail.rag.store.store import Store

_NAMED = 5
_SPEC_KEYS = ("lexical", "dense", "language", "graph")


def ingest(  # noqa: PLR0913 (a command's options are its parameters)
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Files and folders: .txt, .md, .html, .pdf, .docx, .pptx, .xlsx, .epub, .csv, "
            ".tsv, .jsonl and .jsonl.gz are read.",
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
            metavar="NAME",
            help="New store: of stop words and stems; german+ngrams finds parts of compounds.  "
            "[default: english]",
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
        typer.Option("--prune/--no-prune", help="Delete what is no longer there under PATH."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What ids begin with.  [default: the path's last part]"),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Overwrite documents from elsewhere: a folder was moved, say."
        ),
    ] = False,
    max_file_mb: Annotated[
        float | None, typer.Option(metavar="N", help="Largest file that is read whole.")
    ] = None,
    parse_seconds: Annotated[
        float | None, typer.Option(metavar="N", help="Longest time for one HTML or PDF file.")
    ] = None,
    sentences: Annotated[
        bool | None,
        typer.Option(
            "--sentences/--no-sentences",
            help="Store the vectors of sentences too: twice the time, faster answers.",
        ),
    ] = None,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Bring a store up to date with files.

    What is unchanged is skipped; a run that was stopped goes on when it is started again. Exits
    with 1 if a file could not be read.
    """
    from hoptrail.rag.embedders.loading import DEFAULT_EMBEDDER
    from hoptrail.rag.ingest.discovery import find_files
    from hoptrail.rag.ingest.pipeline import ingest as run
    from hoptrail.rag.store.store import Store

    tables = load_settings(settings)
    root, who = store_location(store, tenant, tables.store)
    flags = IngestTable(
        chunk_tokens=chunk_tokens,
        overlap=overlap,
        prune=prune,
        max_file_mb=max_file_mb,
        parse_seconds=parse_seconds,
        sentences=sentences,
    )
    values = over(tables.ingest, flags, *IngestTable.__slots__)
    with_sentences = values.pop("sentences", True)
    ingest_settings = _settings(values | given(name=name) | {"take_over": take_over})
    spec_flags = StoreTable(lexical=lexical, dense=dense, language=language, graph=graph)
    spec_values = over(tables.store, spec_flags, *_SPEC_KEYS)
    embedder_options = embedder_flags(embedder, embedder_folder, embedder_key_file)
    if (root / who).exists():
        _check_same(root, who, spec_values)
        encoder = embedder_of(root, who, embedder_options, tables.store)
    else:
        find_files(
            paths, name=name
        )  # raises if there is nothing to read, before a store is created
        encoder = named_embedder(embedder_options, tables.store) or load(DEFAULT_EMBEDDER)
        _create_store(root, who, encoder, spec_values)
    with Store.open(root, tenant=who, embedder=encoder, wait=wait) as opened:
        with ExitStack() as stack:
            listener = _IngestListener(as_json, stack)
            try:
                report = run(paths, opened, encoder, ingest_settings, listener)
            except KeyboardInterrupt:
                listener.interrupted()
                raise typer.Exit(INTERRUPTED) from None
        _say_report(report, as_json)
        if with_sentences:
            _store_sentences(opened, encoder)
        sync_tree(opened, as_json)
    _finish(report)


def _settings(values: dict[str, Any]) -> IngestSettings:
    from hoptrail.rag.ingest.parsers.parser import ParseLimits
    from hoptrail.rag.ingest.pipeline import IngestSettings

    megabytes = values.pop("max_file_mb", None)
    limits = given(
        file_bytes=None if megabytes is None else int(megabytes * 1_000_000),
        seconds=values.pop("parse_seconds", None),
    )
    return IngestSettings(limits=ParseLimits(**limits), **values)


def _check_same(root: Path, tenant: str, spec_values: dict[str, Any]) -> None:
    """Raises StoreMismatch if an existing store was made with other backends."""
    spec = spec_of(root, tenant)
    for what, value in spec_values.items():
        recorded = getattr(spec, what)
        if value != recorded:
            raise StoreMismatch(
                f"The store at {str(root)!r} was made with {what} {recorded!r}, not {value!r}, "
                "and that cannot be changed: leave the option out, or ingest into a new store."
            )


def _create_store(root: Path, tenant: str, encoder: Embedder, spec_values: dict[str, Any]) -> None:
    """Creates an empty store."""
    from hoptrail.rag.store.store import Store, StoreSpec

    spec = StoreSpec(embedder=encoder.id, dimension=encoder.dimension, **spec_values)
    Store.create(root, spec, tenant=tenant).close()


def _store_sentences(store: Store, encoder: Embedder) -> None:
    """Stores the vectors of the sentences, which the documents do without if it is interrupted."""
    from hoptrail.app.cli.progress import BuildBar
    from hoptrail.rag.ingest.sentence_vectors import store_sentence_vectors

    passages = store.stats().passages
    with BuildBar("sentences", "passages") as bar:
        try:
            store_sentence_vectors(store, encoder, lambda done: bar(done, passages))
        except KeyboardInterrupt:
            note("interrupted: every document is committed; the same command goes on with the rest")
            raise typer.Exit(INTERRUPTED) from None


class _IngestListener:
    """Prints events of an ingest: JSON lines on stdout, failures and a progress bar on stderr."""

    def __init__(self, as_json: bool, stack: ExitStack) -> None:
        from hoptrail.app.cli.progress import IngestBar

        self._as_json = as_json
        self._committed = 0
        self._bar: Callable[[IngestEvent], None] = stack.enter_context(IngestBar())

    def __call__(self, event: IngestEvent) -> None:
        from hoptrail.rag.ingest import pipeline as ingest

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
        """Prints what is kept after Ctrl-C."""
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
    if report.skipped_links:
        note(
            f"{plural(report.skipped_links, 'symbolic link')} inside folders not followed: "
            "give what they lead to as a path of its own"
        )
    if report.adopted:
        note(
            f"{plural(report.adopted, 'document')} from before origins were recorded: found here, "
            "ids kept"
        )
    if report.left_behind:
        some = " ".join(repr(one) for one in report.left_behind[:_NAMED])
        note(
            f"{plural(len(report.left_behind), 'document')} from before origins were recorded: of "
            "another text than the file of that name here, so both are kept; to delete what is "
            f"old: hoptrail delete {some}"
        )


def _finish(report: IngestReport) -> None:
    if report.prune_refused is not None:
        note(f"error: Nothing was pruned: {report.prune_refused}")
    if report.failed or report.prune_refused is not None:
        raise typer.Exit(FAILED)
