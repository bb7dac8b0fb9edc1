"""Update of a store's corpus tree after `hoptrail ingest` and `hoptrail delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoptrail.app.cli.output import emit, note
from hoptrail.app.text import plural
from hoptrail.rag.errors import StoreError

if TYPE_CHECKING:
    from hoptrail.rag.store.store import Store


def sync_tree(store: Store, as_json: bool) -> None:
    """Inserts new leaves into the tree and removes deleted ones; prints a summary.

    An error is only printed as a warning: the documents are committed, and the next search of the
    tree repeats the update.
    """
    from hoptrail.rag.tree.types import ROOT
    from hoptrail.rag.tree.update import stale_nodes
    from hoptrail.rag.tree.view import sync_stored_tree

    try:
        update = sync_stored_tree(store)
    except StoreError as error:
        note(f"warning: the tree did not grow: {error}")
        return
    if update is None or update.before == update.tree.generation:
        return
    tree = update.tree
    leaves, nodes = tree.nodes[ROOT].count, len(tree.nodes)
    if as_json:
        emit(
            {
                "event": "tree",
                "generation": tree.generation,
                "leaves": leaves,
                "inner_nodes": nodes,
                "changed_nodes": len(update.touched) + len(update.gone),
            }
        )
    else:
        note(
            f"the tree has grown with it: {plural(leaves, 'leaf', 'leaves')} below "
            f"{plural(nodes, 'node')}"
        )
    old = len(stale_nodes(tree)) if tree.spec.model else 0
    if old:
        note(
            f"{plural(old, 'text')} of the tree no longer tell what is below: hoptrail tree build "
            f"--refresh --store {store.root} --model URL writes them anew"
        )
