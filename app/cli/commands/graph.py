"""`hoptrail graph`: shows the passage graph, draws an answer's evidence, imports triples."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands import graph_build
from hoptrail.app.cli.output import FAILED, emit, note, say
from hoptrail.app.cli.resolve import (
    WAIT,
    embedder_flags,
    embedder_of,
    open_store,
    store_location,
    unmatched,
    where_of,
)
from hoptrail.app.cli.settings import load_settings
from hoptrail.app.receipts import read_receipt
from hoptrail.app.text import heading, indented, plural, shortened
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.ingest.triples import Refusal, TriplesReport
    from hoptrail.rag.passage_graph.entity_profile import EntityProfile
    from hoptrail.rag.passage_graph.neighbourhood_builder import Neighbourhood
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.types import Passage, Where

graph = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at the passage graph, draw it, feed it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
graph.command()(graph_build.build)

_LISTED = 10
_SNIPPET = 160
_REFUSALS_SHOWN = 20
"""Refusals that are printed one by one; the others are counted."""


@graph.command()
def show(  # noqa: PLR0913 (a command's options are its parameters)
    name: Annotated[str, typer.Argument(metavar="ENTITY", help="A name, in any case.")],
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    hops: Annotated[
        int, typer.Option(metavar="N", help="Links from the name to the farthest neighbour.")
    ] = 2,
    query: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Keep the neighbours nearest to this, not the rarest."),
    ] = None,
    where: options.Where = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Show what is about a name, who mentions it, and its neighbourhood."""
    from hoptrail.rag.passage_graph.entity_profile import entity_profile
    from hoptrail.rag.passage_graph.neighbourhood import neighbourhood
    from hoptrail.rag.passage_graph.neighbourhood_builder import NeighbourhoodLimits
    from hoptrail.rag.store.store import Store

    tables = load_settings(settings)
    root, tenant_name = store_location(store, tenant, tables.store)
    filters, bounds = where_of(where), NeighbourhoodLimits(hops=hops)
    embedder_options = embedder_flags(embedder, embedder_folder, embedder_key_file)
    encoder = (
        None if query is None else embedder_of(root, tenant_name, embedder_options, tables.store)
    )
    with Store.open(root, tenant=tenant_name, embedder=encoder) as opened:
        vector = None if encoder is None else _vector(query or "", encoder)
        found = entity_profile(opened, name, filters)
        ego = neighbourhood(opened, name, vector=vector, where=filters, bounds=bounds)
        if found.empty or not ego.nodes:
            raise _unknown(opened, name, filters)
    if as_json:
        emit(_record(found, ego))
    else:
        _show(found, ego)


@graph.command()
def page(
    receipt: Annotated[
        Path, typer.Argument(metavar="RECEIPT", help="What `ask --receipt` has written.")
    ],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Where to write the page (HTML).")
    ],
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    settings: options.SettingsFile = None,
) -> None:
    """Draw how the evidence of an answer hangs together.

    The page is one file: it loads nothing and runs no script.
    """
    from hoptrail.app.html.evidence_page import evidence_page
    from hoptrail.app.html.page import write_page

    read = read_receipt(receipt)
    root, name = store_location(store, tenant, load_settings(settings).store)
    with open_store(root, name, WAIT) as opened:
        written = evidence_page(read, opened)
    write_page(out, written.html)
    for warning in written.warnings:
        note(f"warning: {warning}")
    say(
        f"{out}: {plural(written.passages, 'passage')} and {plural(written.names, 'name')} "
        "that link them"
    )


@graph.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='JSON lines, also .gz: {"id": document or passage, "triples": [[s, r, o], ...]}.',
        ),
    ],
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    wait: options.Wait = WAIT,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Add triples that a language model has read out of the documents.

    What is refused is reported with its line, the rest goes on. Exits with 1 if something was.
    """
    from hoptrail.rag.ingest.triples import import_triples

    root, name = store_location(store, tenant, load_settings(settings).store)
    listener = _RefusalListener(as_json)
    with open_store(root, name, wait) as opened:
        report = import_triples(file, opened, listener)
    listener.finish(report)
    if report.refused or report.unknown:
        raise typer.Exit(FAILED)


def _vector(query: str, encoder: Embedder) -> NDArray[np.float32]:
    """Query vector by the store's embedder, (dimension,)."""
    if not query.strip():
        raise SettingsError("The query is empty: say what to look for, or leave --query out.")
    vector: NDArray[np.float32] = encoder.embed([query], "query")[0]
    return vector


def _unknown(store: Store, name: str, where: Where) -> SettingsError:
    """Error for a name without passages, with similar names."""
    from hoptrail.rag.passage_graph.entity_profile import similar_names

    if reason := unmatched(store, where):
        return SettingsError(reason)
    known = " or ".join(repr(one) for one in similar_names(store, name, where))
    kept = " that --where keeps" if where else ""
    remedy = f"did you mean {known}?" if known else "hoptrail search looks for words instead."
    return SettingsError(f"No passage{kept} is about {name!r} or mentions it: {remedy}")


def _record(found: EntityProfile, ego: Neighbourhood) -> dict[str, object]:
    from hoptrail.rag.passage_graph.neighbourhood import neighbourhood_text

    return {
        "name": ego.nodes[0].label,
        "about": [_passage(one) for one in found.about],
        "mentioned_in": [_passage(one) for one in found.mentioning],
        "mentioned": found.mentioned,
        "triples": [
            {
                "subject": one.subject,
                "relation": one.relation,
                "object": one.object,
                "passage_id": one.passage.id,
                "title": one.passage.title,
            }
            for one in found.triples
        ],
        "nodes": [
            {
                "kind": "name" if one.passage is None else "passage",
                "label": one.label,
                "level": one.level,
                "parent": one.parent,
                "passage_id": None if one.passage is None else one.passage.id,
            }
            for one in ego.nodes
        ],
        "links": [asdict(one) for one in ego.links],
        "left_out": ego.left_out,
        "text": neighbourhood_text(ego),
    }


def _passage(one: Passage) -> dict[str, object]:
    return {
        "passage_id": one.id,
        "document_id": one.document_id,
        "title": one.title,
        "start": one.start,
        "end": one.end,
    }


def _show(found: EntityProfile, ego: Neighbourhood) -> None:
    from hoptrail.rag.passage_graph.entity_profile import MANY
    from hoptrail.rag.passage_graph.neighbourhood import neighbourhood_text

    say(ego.nodes[0].label)
    _list("About it", found.about)
    if found.mentioned >= MANY:
        say("", f"Mentioned in: {MANY:,} passages or more")
    _list("Mentioned in", found.mentioning)
    if found.triples:
        say("", "Imported triples")
    for one in found.triples[:_LISTED]:
        line = f"{one.subject} | {one.relation} | {one.object}"
        say(*indented(f"{line} ({one.passage.title or one.passage.document_id})"))
    _more(len(found.triples))
    say("", "Neighbourhood")
    # Line by line: no text of a document can fake one, since the view has folded its white space.
    for line in neighbourhood_text(ego, excerpt=60).split("\n"):
        say(f"  {line}")
    if ego.left_out:
        say(f"  ({plural(ego.left_out, 'neighbour')} more left out)")


def _list(head: str, passages: Sequence[Passage]) -> None:
    if passages:
        say("", f"{head}: {plural(len(passages), 'passage')}")
    for one in passages[:_LISTED]:
        title = heading(one.title or one.document_id)
        say(f"  {title}  ({one.document_id} {one.start}:{one.end})")
        say(*indented(shortened(one.text, _SNIPPET)))
    _more(len(passages))


def _more(count: int) -> None:
    if count > _LISTED:
        say(f"    and {count - _LISTED:,} more (--json has all)")


class _RefusalListener:
    """Prints refused triples, as JSON lines on stdout or as notes on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._refused = 0

    def __call__(self, refusal: Refusal) -> None:
        if self._as_json:
            event = "unknown" if refusal.unknown else "refused"
            fields = asdict(refusal)
            del fields["unknown"]
            emit({"event": event, **fields})
            return
        self._refused += 1
        if self._refused <= _REFUSALS_SHOWN:
            note(f"refused: {refusal}")

    def finish(self, report: TriplesReport) -> None:
        """Prints the totals of the import."""
        if self._as_json:
            emit({"event": "report", **asdict(report)})
            return
        if self._refused > _REFUSALS_SHOWN:
            note(f"and {self._refused - _REFUSALS_SHOWN:,} more (--json names all)")
        say(
            f"{plural(report.added, 'triple')} added, {report.known:,} known already, "
            f"{report.refused:,} refused; {plural(report.records, 'record')}, "
            f"{report.unknown:,} of unknown documents"
        )
