"""`hoptrail graph`: the passage graph looked at, drawn, and fed with imported triples."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands import graph_build as building
from hoptrail.app.cli.output import FAILED, emit, note, say
from hoptrail.app.cli.resolve import (
    WAIT,
    embedder_flags,
    embedder_of,
    open_store,
    store_location,
    where_of,
)
from hoptrail.app.cli.settings import load_settings
from hoptrail.app.receipts import read_receipt
from hoptrail.app.text import indented, plural, shortened
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
graph.command()(building.build)

_LISTED = 10
_SNIPPET = 160
_TOLD = 20
"""Refusals that are written out; a wrong file has as many as lines."""


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
    from hoptrail.rag.passage_graph.entity_profile import entity_profile  # noqa: PLC0415 (heavy: loaded when used)
    from hoptrail.rag.passage_graph.neighbourhood import neighbourhood  # noqa: PLC0415
    from hoptrail.rag.passage_graph.neighbourhood_builder import NeighbourhoodLimits  # noqa: PLC0415
    from hoptrail.rag.store.store import Store  # noqa: PLC0415

    tables = load_settings(settings)
    root, tenant_name = store_location(store, tenant, tables.store)
    filters, bounds = where_of(where), NeighbourhoodLimits(hops=hops)
    typed = embedder_flags(embedder, embedder_folder, embedder_key_file)
    player = None if query is None else embedder_of(root, tenant_name, typed, tables.store)
    with Store.open(root, tenant=tenant_name, embedder=player) as opened:
        vector = None if player is None else _vector(query or "", player)
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
    from hoptrail.app.html.evidence_page import evidence_page  # noqa: PLC0415
    from hoptrail.app.html.page import write_page  # noqa: PLC0415

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
    from hoptrail.rag.ingest.triples import import_triples  # noqa: PLC0415

    root, name = store_location(store, tenant, load_settings(settings).store)
    listener = _Listener(as_json)
    with open_store(root, name, wait) as opened:
        report = import_triples(file, opened, listener)
    listener.finish(report)
    if report.refused or report.unknown:
        raise typer.Exit(FAILED)


def _vector(query: str, player: Embedder) -> NDArray[np.float32]:
    """The query as the store's embedder sees it."""
    if not query.strip():
        raise SettingsError("The query is empty: say what to look for, or leave --query out.")
    vector: NDArray[np.float32] = player.embed([query], "query")[0]
    return vector


def _unknown(store: Store, name: str, where: Where) -> SettingsError:
    """What to say of a name that the store has nothing on."""
    from hoptrail.rag.passage_graph.entity_profile import similar_names  # noqa: PLC0415

    known = " or ".join(repr(one) for one in similar_names(store, name, where))
    kept = " that --where keeps" if where else ""
    remedy = f"did you mean {known}?" if known else "hoptrail search looks for words instead."
    return SettingsError(f"No passage{kept} is about {name!r} or mentions it: {remedy}")


def _record(found: EntityProfile, ego: Neighbourhood) -> dict[str, object]:
    from hoptrail.rag.passage_graph.neighbourhood import neighbourhood_text  # noqa: PLC0415

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
    from hoptrail.rag.passage_graph.entity_profile import MANY  # noqa: PLC0415
    from hoptrail.rag.passage_graph.neighbourhood import neighbourhood_text  # noqa: PLC0415

    say(ego.nodes[0].label)
    _list("About it", found.about)
    if found.mentioned >= MANY:
        say(f"\nMentioned in: {MANY:,} passages or more")
    _list("Mentioned in", found.mentioning)
    if found.triples:
        say("\nImported triples")
    for one in found.triples[:_LISTED]:
        line = f"{one.subject} | {one.relation} | {one.object}"
        say(indented(f"{line} ({one.passage.title or one.passage.document_id})"))
    _more(len(found.triples))
    say("\nNeighbourhood")
    # Line by line: no text of a document can fake one, since the view has folded its white space.
    for line in neighbourhood_text(ego, excerpt=60).splitlines():
        say(f"  {line}")
    if ego.left_out:
        say(f"  ({plural(ego.left_out, 'neighbour')} more left out)")


def _list(head: str, passages: Sequence[Passage]) -> None:
    if passages:
        say(f"\n{head}: {plural(len(passages), 'passage')}")
    for one in passages[:_LISTED]:
        title = " ".join((one.title or one.document_id).split())
        say(f"  {title}  ({one.document_id} {one.start}:{one.end})")
        say(indented(shortened(one.text, _SNIPPET)))
    _more(len(passages))


def _more(count: int) -> None:
    if count > _LISTED:
        say(f"    and {count - _LISTED:,} more (--json has all)")


class _Listener:
    """Tells what is refused, as lines of JSON on stdout or as notes on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._told = 0

    def __call__(self, refusal: Refusal) -> None:
        if self._as_json:
            event = "unknown" if refusal.unknown else "refused"
            fields = asdict(refusal)
            del fields["unknown"]
            emit({"event": event, **fields})
            return
        self._told += 1
        if self._told <= _TOLD:
            note(f"refused: {refusal}")

    def finish(self, report: TriplesReport) -> None:
        """Says what became of the file."""
        if self._as_json:
            emit({"event": "report", **asdict(report)})
            return
        if self._told > _TOLD:
            note(f"and {self._told - _TOLD:,} more (--json names all)")
        say(
            f"{plural(report.added, 'triple')} added, {report.known:,} known already, "
            f"{report.refused:,} refused; {plural(report.records, 'record')}, "
            f"{report.unknown:,} of unknown documents"
        )
