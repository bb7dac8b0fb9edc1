"""`hoptrail tree`: shows, draws and drops the corpus tree of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.commands import tree_build
from hoptrail.app.cli.output import emit, note, say
from hoptrail.app.cli.resolve import WAIT, open_store, store_location
from hoptrail.app.cli.settings import load_settings
from hoptrail.app.text import plural
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.app.html.tree_selection import TreeSearchTrace
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.types import Tree

tree = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Build the tree of a store, look at it, draw it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
tree.command()(tree_build.build)


@tree.command()
def show(
    node: Annotated[
        int, typer.Argument(metavar="[NODE]", help="Its number.  [default: the root]")
    ] = 0,
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    depth: Annotated[
        int, typer.Option(metavar="N", help="Layers below the node.  [default: 2]")
    ] = 2,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Show a tree, or what is below one of its nodes."""
    from hoptrail.app.cli import tree_text
    from hoptrail.rag.tree.view import load_tree

    if depth < 1:
        raise SettingsError(f"A tree is shown to a depth of at least 1, not {depth!r}.")
    root, name = store_location(store, tenant, load_settings(settings).store)
    with open_store(root, name, WAIT) as opened:
        found = load_tree(opened)
        if node not in found.nodes:
            raise SettingsError(
                f"The tree has no node {node}: hoptrail tree show, without a number, begins at "
                "the root and gives the numbers of those below."
            )
        if as_json:
            emit(tree_text.record(found, opened, node, depth))
        else:
            say(*tree_text.outline(found, opened, node, depth).split("\n"))


@tree.command()
def page(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the page (HTML).")],
    *,
    receipt: Annotated[
        Path | None,
        typer.Option(
            metavar="RECEIPT", help="What `ask --receipt` has written: its search is drawn."
        ),
    ] = None,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    settings: options.SettingsFile = None,
) -> None:
    """Draw a tree and, given a receipt, the search over it.

    The page is one file: it loads nothing and runs no script.
    """
    from hoptrail.app.html.page import write_page
    from hoptrail.app.html.tree_page import tree_page
    from hoptrail.app.html.tree_selection import select_nodes
    from hoptrail.rag.tree.types import ROOT
    from hoptrail.rag.tree.view import load_tree

    root, name = store_location(store, tenant, load_settings(settings).store)
    with open_store(root, name, WAIT) as opened:
        found = load_tree(opened)
        trace = None if receipt is None else _search_trace(receipt, found, opened)
        selection = select_nodes(found, opened, trace)
    write_page(out, tree_page(selection, f"The tree of {root}"))
    listed = sum(1 for _ in selection.nodes())
    of = f"{listed:,} of {len(found.nodes):,}" if listed < len(found.nodes) else f"{listed:,}"
    say(f"{out}: {of} nodes over {plural(found.nodes[ROOT].count, leaf_noun(found))}")
    if trace is not None:
        say(
            f"The search opened {plural(len(trace.opened), 'node')}; the evidence stands in "
            f"{plural(len(trace.evidence_leaves), leaf_noun(found))}"
        )


@tree.command()
def drop(
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    settings: options.SettingsFile = None,
    as_json: options.Json = False,
) -> None:
    """Remove a tree, and what a build of one has left. The documents stay."""
    from hoptrail.app.cli.resolve import spec_of
    from hoptrail.rag.store.layout import Layout
    from hoptrail.rag.tree.storage import TreeFile

    root, name = store_location(store, tenant, load_settings(settings).store)
    spec_of(root, name)
    file = TreeFile(Layout(root=root, tenant=name))
    there = file.path.exists()
    file.delete()
    if as_json:
        emit({"event": "dropped" if there else "none"})
    elif there:
        say(f"dropped the tree of {root}")
    else:
        note("there is no tree")


def leaf_noun(tree: Tree) -> str:
    """Noun for a leaf of a tree: passage or document."""
    return "passage" if tree.spec.over == "passages" else "document"


def _search_trace(receipt: Path, tree: Tree, store: Store) -> TreeSearchTrace:
    """Reads the tree search of a receipt; prints a warning for what does not fit the tree."""
    from hoptrail.app.html.tree_selection import search_trace
    from hoptrail.app.receipts import read_receipt

    found = search_trace(read_receipt(receipt), tree, store)
    if found.changed:
        quotes = plural(len(found.changed), "quote")
        note(f"warning: {quotes} no longer in the store: marked red on the page")
    if found.unplaced_quotes:
        quotes = plural(found.unplaced_quotes, "quote")
        note(f"warning: {quotes} left out, of passages that do not stand in the tree")
    if found.missing_nodes:
        nodes = plural(found.missing_nodes, "node")
        note(f"warning: {nodes} of the search left out: the tree has changed since")
    elif not found.openings:
        note("the answer was not found by a search of the tree: only its evidence is marked")
    return found
