"""A store's tree, if it has one, brought up to what a command has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoptrail.app.cli.output import emit, note
from hoptrail.app.text import plural
from hoptrail.rag.errors import StoreError

if TYPE_CHECKING:
    from hoptrail.rag.store.store import Store


def grow(store: Store, as_json: bool) -> None:
    """Takes into the tree what came to the store, and out of it what went; says so.

    What cannot be done is only noted: the documents are committed, and a search of the tree takes
    up for itself what is missing in it.
    """
    from hoptrail.rag.tree.types import ROOT  # noqa: PLC0415
    from hoptrail.rag.tree.update import stale_nodes  # noqa: PLC0415 (heavy: loaded when used)
    from hoptrail.rag.tree.view import sync_stored_tree  # noqa: PLC0415

    try:
        growth = sync_stored_tree(store)
    except StoreError as error:
        note(f"warning: the tree did not grow: {error}")
        return
    if growth is None or growth.before == growth.tree.generation:
        return
    tree = growth.tree
    leaves, nodes = tree.nodes[ROOT].count, len(tree.nodes)
    if as_json:
        emit(
            {
                "event": "tree",
                "generation": tree.generation,
                "leaves": leaves,
                "inner_nodes": nodes,
                "changed_nodes": len(growth.touched) + len(growth.gone),
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
