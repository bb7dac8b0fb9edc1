"""`hoptrail search`, `delete`, `stats`, `fsck` and `compact`: searches and maintains a store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from difflib import get_close_matches
from heapq import nlargest
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
    unmatched,
    where_of,
)
from hoptrail.app.cli.settings import StoreTable, first, load_settings
from hoptrail.app.text import heading, indented, plural, shortened

if TYPE_CHECKING:
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.fsck import FsckReport
    from hoptrail.rag.types import Hit, Ranking

_SNIPPET = 280
_NEAR, _COMPARED = 3, 100
"""Ids that are named for an unknown one, and those that are compared letter by letter."""
_DEFAULT_K = 10
_COPIES_NAMED = 3

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
    mode, filters = first(mode, tables.search.mode), where_of(where)
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
            where=filters,
        )
        reason = "" if ranking.hits else unmatched(opened, filters)
    if as_json:
        emit(_ranking_record(ranking))
    else:
        _show_ranking(ranking)
    if not ranking.hits:
        note(reason or "nothing found")


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
        near = {one: near_ids(one, known) for one in missing}
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
            emit({"event": "unknown", "id": one, "near": near[one]})
        meant = " or ".join(repr(other) for other in near[one])
        note(f"error: There is no document {one!r}." + (f" Is {meant} meant?" if meant else ""))
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


def near_ids(wanted: str, known: Collection[str]) -> list[str]:
    """Up to three of the known ids that may be meant: of the same file name, else spelled alike."""
    name = wanted.rpartition("/")[2]
    same = sorted(one for one in known if one.rpartition("/")[2] == name)
    if same:
        return get_close_matches(wanted, same[:_COMPARED], n=_NEAR, cutoff=0)
    pairs = _pairs(wanted)
    some = nlargest(_COMPARED, known, key=lambda one: len(pairs & _pairs(one)))
    return get_close_matches(wanted, some, n=_NEAR, cutoff=0.6)


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}


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
                "copies": [
                    {"document_id": one.document_id, "passage_id": one.id, "title": one.title}
                    for one in hit.copies
                ],
            }
            for rank, hit in enumerate(ranking.hits, 1)
        ],
    }


def _show_ranking(ranking: Ranking) -> None:
    for rank, hit in enumerate(ranking.hits, 1):
        passage = hit.passage
        title = heading(passage.title or passage.document_id)
        say(
            f"{rank:>2}. {title}  ({passage.document_id} {passage.start}:{passage.end})"
            f"  {hit.score:.3f}"
        )
        if hit.via is not None:
            origin = heading(hit.via.title or hit.via.passage_id)
            say(f"    via {heading(hit.via.name)} from {origin}")
        if hit.copies:
            say(f"    and {_others(hit)} with the same text")
        say(*indented(shortened(passage.text, _SNIPPET)))


def _others(hit: Hit) -> str:
    """The number of copies, and the first of them by document id."""
    ids = sorted({one.document_id for one in hit.copies})
    named = ", ".join(ids[:_COPIES_NAMED]) + (", …" if len(ids) > _COPIES_NAMED else "")
    return f"{plural(len(hit.copies), 'other passage')} ({named})"


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
