"""Resolves the options of `hoptrail tree build`: leaves, method, embedder, model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast, get_args

from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents import ServedModel
    from hoptrail.agents.indexing.tree_builder import TreeBuildInputs
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.leaves import StoreLeaves
    from hoptrail.rag.tree.storage import TreeFile
    from hoptrail.rag.tree.types import Tree, TreeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildSetup:
    """Where a tree is built."""

    store: Store
    file: TreeFile
    leaves: StoreLeaves
    spec: TreeSpec
    as_json: bool
    tree: Tree | None = None
    """The one whose texts are to be written again; None: a new one is built."""


def old_site(
    store: Store, file: TreeFile, as_json: bool, served: ServedModel | None
) -> TreeBuildSetup:
    """Where the texts of a tree are to be written again.

    Raises:
        SettingsError: there is no model to write them, or none wrote the others.
        TreeMissing: there is no tree.
    """
    from hoptrail.rag.tree.leaves import StoreLeaves  # noqa: PLC0415
    from hoptrail.rag.tree.view import load_tree  # noqa: PLC0415

    if served is None:
        raise SettingsError("--refresh has a model write texts again: name its server by --model.")
    tree = load_tree(store)
    if not tree.spec.model:
        raise SettingsError(
            "No model wrote this tree: its texts are the documents' own words, and ingest renews "
            "them by itself. Leave --refresh out to have a model write a whole tree."
        )
    leaves = StoreLeaves(store, tree.spec.over)
    return TreeBuildSetup(
        store=store, file=file, leaves=leaves, spec=tree.spec, as_json=as_json, tree=tree
    )


def new_site(
    store: Store,
    file: TreeFile,
    method: str,
    fanout: int,
    over: str,
    as_json: bool,
    served: ServedModel | None,
) -> TreeBuildSetup:
    """Where and how a tree is to be built.

    Raises:
        SettingsError: a method or leaves that there are not, or too small a fan-out.
    """
    from hoptrail.rag.tree.builders.build import choose_method  # noqa: PLC0415
    from hoptrail.rag.tree.leaves import StoreLeaves  # noqa: PLC0415
    from hoptrail.rag.tree.types import LeafKind, Method, TreeSpec  # noqa: PLC0415

    for option, value, known in (
        ("--method", method, ("auto", *get_args(Method))),
        ("--over", over, get_args(LeafKind)),
    ):
        if value not in known:
            raise SettingsError(f"There is no {option} {value!r}: choose {' or '.join(known)}.")
    if fanout < 2:
        raise SettingsError(f"A tree needs --fanout 2 or more, not {fanout!r}.")
    leaves = StoreLeaves(store, cast("LeafKind", over))
    spec = TreeSpec(
        method=choose_method(leaves, served.url if served else "")
        if method == "auto"
        else cast("Method", method),
        fanout=fanout,
        over=leaves.over,
        embedder=store.spec.embedder,
        dimension=store.spec.dimension,
    )
    return TreeBuildSetup(store=store, file=file, leaves=leaves, spec=spec, as_json=as_json)


def ground_of(site: TreeBuildSetup, player: Embedder | None) -> TreeBuildInputs:
    """Where and with what a served model builds."""
    from hoptrail.agents.indexing.tree_builder import TreeBuildInputs  # noqa: PLC0415
    from hoptrail.rag.tree.builders.build import builder_for  # noqa: PLC0415
    from hoptrail.rag.tree.update import resummarize  # noqa: PLC0415

    old = site.tree
    return TreeBuildInputs(
        leaves=site.leaves,
        spec=site.spec,
        drafts=site.file,
        secret=site.store.secret,
        builder=builder_for(
            site.spec, None if player is None else partial(player.embed, kind="passage")
        )
        if old is None
        else lambda leaves, _: resummarize(old, leaves),
    )
