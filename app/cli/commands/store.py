"""`hoptrail search`, `delete`, `stats`, `fsck` and `compact`: searches and maintains a store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands.tree_sync import sync_tree
from hoptrail.app.cli.output import FAILED, emit, note, say
from hoptrail.app.cli.resolve import (
    WAIT,
    embedder_flags,
    embedder_of,
    open_store,
    spec_of,
    store_location,
    where_of,
)
from hoptrail.app.cli.settings import StoreTable, load_settings
from hoptrail.app.text import indented, plural, shortened

if TYPE_CHECKING:
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.fsck import FsckReport
    from hoptrail.rag.types import Ranking

_SNIPPET = 280
_DEFAULT_K = 10

Folder = Annotated[Path | None, typer.Argument(metavar="DIR", help="Folder of the store.")]


def search(  # noqa: PLR0913 (a command's options are its parameters)
    query: Annotated[str, typer.Argument(help="What to look for.")],
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    k: Annotated[
        int | None, typer.Option("-k", metavar="N", help="Passages wanted.  [default: 10]")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="graph, hybrid, lexical or dense.  [default: graph if the store has one]",
        ),
    ] = None,
    where: options.Where = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Find the passages that bear on a query, best first."""
    from hoptrail.rag.retrieval.retriever import Retriever
    from hoptrail.rag.store.store import Store

    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    mode = mode or tables.search.mode
    embedder_options = embedder_flags(embedder, embedder_folder, embedder_key_file)
    encoder = (
        _placeholder_embedder(root, name)
        if mode == "lexical"
        else embedder_of(root, name, embedder_options, tables.store)
    )
    with Store.open(root, tenant=name, embedder=encoder) as opened:
        ranking = Retriever(opened, encoder).search(
            query,
            k=k if k is not None else tables.search.k or _DEFAULT_K,
            mode=mode,  # type: ignore[arg-type]  # the retriever refuses unknown modes
            where=where_of(where),
        )
    if as_json:
        emit(_ranking_record(ranking))
    else:
        _show_ranking(ranking)


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Document ids.")],
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Delete documents by id."""
    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    with open_store(root, name, wait) as opened:
        known = opened.fingerprints().keys()
        found = [one for one in dict.fromkeys(ids) if one in known]
        missing = [one for one in dict.fromkeys(ids) if one not in known]
        generation = opened.commit((), found)
        for one in found:
            if as_json:
                emit({"event": "deleted", "id": one, "generation": generation})
            else:
                say(f"deleted {one}")
        if found:
            sync_tree(opened, as_json)
    for one in missing:
        if as_json:
            emit({"event": "unknown", "id": one})
        note(f"error: There is no document {one!r}.")
    if missing:
        raise typer.Exit(FAILED)


def fsck(
    folder: Folder = None,
    *,
    tenant: options.Tenant = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Prove that catalogue and indexes agree.

    Exits with 1 if they do not.
    """
    from hoptrail.rag.fsck import fsck as check

    table = load_settings(settings).store
    root, name = store_location(folder, tenant, table)
    # Loaded only where a vector has to be made again.
    at_hand = lambda: embedder_of(root, name, StoreTable(), table)  # noqa: E731
    report = check(root, tenant=name, repair=repair, wait=wait, embedder=at_hand)
    if as_json:
        emit({**asdict(report), "clean": report.clean})
    else:
        _show_report(report)
    if not report.clean:
        raise typer.Exit(FAILED)


def compact(
    folder: Folder = None,
    *,
    tenant: options.Tenant = None,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Rebuild the indexes and give space back."""
    root, name = store_location(folder, tenant, load_settings(settings).store)
    with open_store(root, name, wait) as opened:
        before = opened.stats().bytes
        opened.compact()
        after = opened.stats().bytes
    if as_json:
        emit({"event": "compacted", "bytes_before": before, "bytes": after})
    else:
        say(f"compacted {root}: {_megabytes(before)} before, {_megabytes(after)} now")


def stats(
    folder: Folder = None,
    *,
    tenant: options.Tenant = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Say what a store holds and what it was made with."""
    root, name = store_location(folder, tenant, load_settings(settings).store)
    with open_store(root, name, WAIT) as opened:
        found = opened.stats()
    if as_json:
        emit(asdict(found))
        return
    for key, value in asdict(found).items():
        say(f"{key:<11} {_megabytes(value) if key == 'bytes' else value}")


def _placeholder_embedder(root: Path, tenant: str) -> Embedder:
    """Embedder without weights, never called: a lexical search needs none."""
    from hoptrail.rag.embedders.base import PlaceholderEmbedder

    spec = spec_of(root, tenant)
    return PlaceholderEmbedder(spec.embedder, spec.dimension)


def _ranking_record(ranking: Ranking) -> dict[str, object]:
    return {
        "query": ranking.query,
        "generation": ranking.generation,
        "hits": [
            {
                "rank": rank,
                "score": round(hit.score, 6),
                "source": hit.source,
                "document_id": hit.passage.document_id,
                "passage_id": hit.passage.id,
                "title": hit.passage.title,
                "start": hit.passage.start,
                "end": hit.passage.end,
                "text": hit.passage.text,
                "via": None if hit.via is None else asdict(hit.via),
            }
            for rank, hit in enumerate(ranking.hits, 1)
        ],
    }


def _show_ranking(ranking: Ranking) -> None:
    for rank, hit in enumerate(ranking.hits, 1):
        passage = hit.passage
        title = passage.title or passage.document_id
        say(
            f"{rank:>2}. {title}  ({passage.document_id} {passage.start}:{passage.end})"
            f"  {hit.score:.3f}"
        )
        if hit.via is not None:
            say(f"    via {hit.via.name} from {hit.via.title or hit.via.passage_id}")
        say(indented(shortened(passage.text, _SNIPPET)))
    if not ranking.hits:
        note("nothing found")


def _show_report(report: FsckReport) -> None:
    for one in report.repaired:
        say(f"repaired: {one.what}")
    for one in report.problems:
        remedy = " (--repair mends it)" if one.repairable else ""
        say(f"{one.kind}: {one.what}{remedy}")
    verdict = "clean" if report.clean else plural(len(report.problems), "problem")
    say(
        f"{verdict}: {plural(report.documents, 'document')}, "
        f"{plural(report.passages, 'passage')}, generation {report.generation}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
