"""Consistency check of a store: catalogue, lexical index, dense index, passage graph and tree.

The catalogue is the truth. What follows from something else in it (a passage's text from its
document, a facet from the metadata) or can be built from it (both indexes, the passage graph, a
tree without a model) is repaired; a tree that a model wrote is removed, since who paid for it may
want to be asked before another is built; a damaged document is named, so that it can be ingested
again, and so are triples.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from hoptrail.rag.fsck.check import find_problems
from hoptrail.rag.fsck.repair import (
    EmbedderAtHand,
    lost_documents,
    mend,
    restore_catalogue,
    seal,
    unmended,
)
from hoptrail.rag.fsck.tree import build_again
from hoptrail.rag.store.backends import Backends, open_backends
from hoptrail.rag.store.catalogue.audit import Problem
from hoptrail.rag.store.catalogue.database import Connection, meta
from hoptrail.rag.store.catalogue.salvage import lenient
from hoptrail.rag.store.catalogue.settings_repair import repair_settings
from hoptrail.rag.store.layout import Layout, can_write, disk_errors
from hoptrail.rag.store.spec import read_spec
from hoptrail.rag.tree.types import TreeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FsckReport:
    """The result of a consistency check."""

    tenant: str
    documents: int
    passages: int
    generation: int
    problems: tuple[Problem, ...]
    """Problems that remain."""
    repaired: tuple[Problem, ...]
    """Problems that the repair removed."""

    @property
    def clean(self) -> bool:
        """Whether no problem remains."""
        return not self.problems


def fsck(
    root: Path,
    *,
    tenant: str = "default",
    repair: bool = False,
    wait: float = 30.0,
    embedder: EmbedderAtHand | None = None,
) -> FsckReport:
    """Checks a store, and repairs what can be repaired if asked to.

    Holds the writer's lock: what it compares must not move. Readers go on. A store that can only
    be read is checked without it.

    Args:
        root: the folder of all tenants.
        tenant: which one.
        repair: repair what is derived; documents beyond repair are only named.
        wait: seconds to wait for a writer to finish.
        embedder: loads the store's embedder when a vector must be made again; a HoptrailError
            means that it is not at hand, and such vectors are only named.

    Raises:
        StoreMissing, StoreMismatch, StoreBusy: as for `Store.open`.
        StoreDamaged: the catalogue cannot be read at all, or its settings are damaged and there is
            no repair.
    """
    layout = Layout(root=Path(root), tenant=tenant)
    with disk_errors(layout.folder):
        lost: tuple[str, ...] = ()
        if repair and layout.catalogue.is_file():
            layout.check()
            lost = repair_settings(layout, wait)
        spec, _ = read_spec(layout, None)
        # What cannot be written does not move, and has no room for a lock.
        fixed = not repair and not can_write(layout.folder)
        with closing(open_backends(layout, spec)) as parts, _held(parts, wait, fixed=fixed):
            connection = parts.catalogue.connect()
            connection.text_factory = lenient
            before = find_problems(parts, connection)
            named = lost_documents(lost)
            if not repair:
                return _report(parts, connection, before, ())
            made = _repaired(parts, connection, before, named, embedder)
        if made is not None:
            build_again(layout, made)
        with closing(open_backends(layout, spec)) as parts, parts.lock.held(wait):
            connection = parts.catalogue.connect()
            connection.text_factory = lenient
            after = [*named, *unmended(find_problems(parts, connection))]
            whats = {one.what for one in after}
            done = tuple(one for one in before if one.what not in whats)
            return _report(parts, connection, after, done)


def _held(parts: Backends, wait: float, *, fixed: bool) -> AbstractContextManager[object]:
    """The writer's lock; nothing for a store that cannot be written."""
    return nullcontext() if fixed else parts.lock.held(wait)


def _repaired(
    parts: Backends,
    connection: Connection,
    problems: list[Problem],
    named: list[Problem],
    embedder: EmbedderAtHand | None,
) -> TreeSpec | None:
    """Mends the problems; adds to `named` what a repair acknowledges but cannot undo."""
    if not problems:
        seal(parts, connection)
        return None
    lost = restore_catalogue(parts, connection)
    # What else there is shows once the file can be read.
    found = (
        find_problems(parts, connection) if lost or problems[0].kind == "catalogue" else problems
    )
    named += [*lost, *(one for one in problems if one.kind == "catalogue" and not one.repairable)]
    return mend(parts, connection, [*problems, *found], embedder)


def _report(
    parts: Backends,
    connection: Connection,
    problems: list[Problem],
    repaired: tuple[Problem, ...],
) -> FsckReport:
    values = meta(connection)
    documents = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
    return FsckReport(
        tenant=parts.layout.tenant,
        documents=documents,
        passages=int(values["passages"]),
        generation=int(values["generation"]),
        problems=tuple(problems),
        repaired=repaired,
    )
