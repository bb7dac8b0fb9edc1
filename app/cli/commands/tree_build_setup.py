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
    """Options of a tree build, resolved: store, tree file, leaves and settings of the tree."""

    store: Store
    file: TreeFile
    leaves: StoreLeaves
    spec: TreeSpec
    as_json: bool
    tree: Tree | None = None
    """The tree whose outdated texts are to be written again; None: a new tree is built."""


def refresh_setup(
    store: Store, file: TreeFile, as_json: bool, served: ServedModel | None
) -> TreeBuildSetup:
    """Setup that has a model rewrite the outdated texts of the stored tree (`--refresh`).

    Raises:
        SettingsError: no model is named, or no model wrote the tree.
        TreeMissing: there is no tree.
    """
    from hoptrail.rag.tree.leaves import StoreLeaves
    from hoptrail.rag.tree.view import load_tree

    if served is None:
        raise SettingsError("--refresh rewrites texts with a model: add --model URL.")
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


def new_setup(
    store: Store,
    file: TreeFile,
    method: str,
    fanout: int,
    over: str,
    as_json: bool,
    served: ServedModel | None,
) -> TreeBuildSetup:
    """Setup that builds a new tree.

    Args:
        store: whose leaves.
        file: the store's tree file.
        method: `bottom-up`, `top-down`, or `auto`: as suits documents and model.
        fanout: children of a node at most, 2 or more.
        over: the leaves: `passages` or `documents`.
        as_json: whether output is JSON.
        served: the model that writes texts; None: the documents' own words.

    Raises:
        SettingsError: an unknown method or kind of leaves, or too small a fan-out.
    """
    from hoptrail.rag.tree.builders.build import choose_method
    from hoptrail.rag.tree.leaves import StoreLeaves
    from hoptrail.rag.tree.types import LeafKind, Method, TreeSpec

    _check("--method", method, ("auto", *get_args(Method)))
    _check("--over", over, get_args(LeafKind))
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


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"There is no {option} {value!r}: choose {' or '.join(known)}.")


def build_inputs(setup: TreeBuildSetup, embedder: Embedder | None) -> TreeBuildInputs:
    """Inputs of a build by a served model; `embedder` is for texts that the model writes."""
    from hoptrail.agents.indexing.model_build import build_journal
    from hoptrail.agents.indexing.tree_builder import TreeBuildInputs
    from hoptrail.rag.tree.builders.build import builder_for
    from hoptrail.rag.tree.update import resummarize

    old = setup.tree
    return TreeBuildInputs(
        leaves=setup.leaves,
        spec=setup.spec,
        drafts=setup.file,
        secret=setup.store.secret,
        builder=builder_for(
            setup.spec, None if embedder is None else partial(embedder.embed, kind="passage")
        )
        if old is None
        else lambda leaves, _: resummarize(old, leaves),
        journal=build_journal(setup.store.root, setup.store.tenant, "tree"),
    )
