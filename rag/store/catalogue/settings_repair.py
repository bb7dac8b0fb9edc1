"""Repair of table definitions and settings from their copy, of counters from what they count."""

from __future__ import annotations

from contextlib import closing

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.store.catalogue.database import Catalogue, Connection, meta
from hoptrail.rag.store.catalogue.manifest import (
    SEALS,
    ManifestDamaged,
    is_intact,
    read_manifest,
    read_schema,
    seal_meta,
)
from hoptrail.rag.store.catalogue.salvage import READ_ERRORS, lenient, salvage
from hoptrail.rag.store.catalogue.schema_page import restore_schema
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.locks import WriterLock

_NEXT_ROW = (
    "SELECT max((SELECT coalesce(max(doc + max(rows, 1)), 0) FROM documents), "
    "(SELECT coalesce(max(row) + 1, 0) FROM passages), "
    "(SELECT coalesce(max(first + rows), 0) FROM garbage), "
    "(SELECT coalesce(max(first + rows), 0) FROM log), ?)"
)


def repair_settings(layout: Layout, wait: float) -> tuple[str, ...]:
    """Restores the definitions, settings and counters of a store if they are damaged.

    Returns:
        The ids of documents that were lost with the pages of the file; mostly none.

    Raises:
        StoreDamaged: there is no sound copy to restore them from.
        StoreBusy: another writer held the lock for `wait` seconds.
    """
    catalogue = Catalogue(layout.catalogue)
    with WriterLock(layout.folder).held(wait), closing(catalogue):
        restore_schema(layout.catalogue, read_schema(layout.folder))
        connection = catalogue.connect()
        connection.text_factory = lenient
        lost: list[str] = []
        try:
            values = meta(connection)
        except READ_ERRORS:
            lost = salvage(connection, layout.folder)
            values = meta(connection)
        if values.get("format") and is_intact(values):
            return tuple(lost)
        _restore(connection, layout, values)
        return tuple(lost)


def _restore(connection: Connection, layout: Layout, values: dict[str, str | int]) -> None:
    try:
        copy = read_manifest(layout.folder)
    except ManifestDamaged:
        copy = None
    if copy is None:
        raise StoreDamaged(
            f"The settings of the store at {str(layout.root)!r} are damaged, and so is their copy. "
            "Put back a copy of the folder, or remove it and ingest again: hoptrail ingest PATH... "
            f"--store {layout.root!s}"
        )
    before, now = int(copy["generation"]), values.get("generation")
    # The copy may be one commit behind, where a process was killed between the two.
    generation = now if now in (before, before + 1) else before
    made = values.get("graph_generation")
    right = {
        **copy,
        "generation": generation,
        "graph_generation": generation if made == generation else copy.get("graph_generation", 0),
        **dict.fromkeys(SEALS),
    }
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM meta")
    connection.executemany("INSERT INTO meta VALUES (?, ?)", right.items())
    following = connection.execute(_NEXT_ROW, (copy.get("next_row", 0),)).fetchone()[0]
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('next_row', ?)", (following,))
    seal_meta(connection)
    connection.execute("COMMIT")
